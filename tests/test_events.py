"""The event table: order of objects, derived quantities, Arrow round trip, selection."""

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.errors import DataError
from scanner.events import (
    EVENT_SCHEMA,
    KINDS,
    OBJECT_COLUMNS,
    Events,
    from_table,
    ht,
    meff,
    met,
    multiplicity,
    sort_objects,
    to_table,
)

unhurried = settings(deadline=None, max_examples=50)
floats = st.floats(0, 1e4, width=32)
objects = st.tuples(st.integers(1, len(KINDS)), floats, floats, floats, floats)
event_lists = st.lists(st.lists(objects, max_size=12), max_size=8)


def build(events):
    """Events from one list of (kind, E, pT, eta, phi) per event."""
    n = len(events)
    flat = np.array([o for event in events for o in event], float).reshape(-1, 5)
    columns = {name: flat[:, i].astype("f4") for i, name in enumerate(OBJECT_COLUMNS)}
    columns["kind"] = flat[:, 0].astype("i1")
    return Events(process=np.array([f"p{i % 3}" for i in range(n)], object),
                  event_id=np.array([str(i) for i in range(n)], object),
                  weight=np.linspace(0, 1, n), met=np.arange(n, dtype="f4"),
                  met_phi=np.zeros(n, "f4"), **columns,
                  offsets=np.cumsum([0, *map(len, events)]))


def same(left, right):
    for field in fields(Events):
        one, two = getattr(left, field.name), getattr(right, field.name)
        assert one.dtype == two.dtype, field.name
        np.testing.assert_array_equal(one, two, err_msg=field.name)


def rows(events, index):
    span = slice(*events.offsets[index:index + 2])
    return list(zip(*(getattr(events, name)[span].tolist() for name in OBJECT_COLUMNS),
                    strict=True))


@unhurried
@given(event_lists)
def test_objects_are_sorted_by_kind_then_falling_pt(raw):
    events = sort_objects(build(raw))
    for index, event in enumerate(raw):
        assert rows(events, index) == sorted(event, key=lambda o: (o[0], -o[2]))


def test_twelve_jets_keep_numeric_order():
    pts = [float(pt) for pt in range(20, 140, 10)]
    events = sort_objects(build([[(1, pt, pt, 0, 0) for pt in pts]]))
    assert events.pt.tolist() == pts[::-1]


@unhurried
@given(event_lists)
def test_arrow_round_trip(raw):
    events = build(raw)
    table = to_table(events)
    assert table.schema.equals(EVENT_SCHEMA, check_metadata=True)
    same(from_table(table), events)


@unhurried
@given(event_lists, event_lists)
def test_chunks_with_other_words_join(first, second):
    one, two = build(first), build(second)
    joined = from_table(pa.concat_tables([to_table(one), to_table(two)]))
    same(joined.take(slice(0, len(one))), one)
    same(joined.take(slice(len(one), None)), two)


@unhurried
@given(event_lists, st.data())
def test_take_is_indexing_of_events(raw, data):
    events = build(raw)
    index = data.draw(st.lists(st.integers(0, max(len(raw) - 1, 0)), max_size=8 * bool(raw)))
    taken = events.take(np.array(index, int))
    assert [rows(taken, i) for i in range(len(taken))] == [rows(events, i) for i in index]
    assert taken.event_id.tolist() == [str(i) for i in index]
    mask = np.arange(len(raw)) % 2 == 0
    same(events.take(mask), events.take(np.flatnonzero(mask)))


@unhurried
@given(event_lists)
def test_derived_quantities(raw):
    events = build(raw)
    for index, event in enumerate(raw):
        assert ht(events)[index] == pytest.approx(sum(o[2] for o in event if o[0] <= 2), rel=1e-6)
        assert multiplicity(events)[index].tolist() == [
            sum(o[0] == kind for o in event) for kind in range(1, 8)]
    np.testing.assert_array_equal(meff(events), ht(events) + met(events))
    assert ht(events).dtype == met(events).dtype == meff(events).dtype == np.float32


def test_ht_takes_b_jets_and_forward_jets_and_no_lepton():
    events = build([[(1, 9, 100, 4.9, 0), (2, 9, 50, 3.7, 0), (3, 9, 30, 0, 0), (7, 9, 7, 0, 0)]])
    assert ht(events).tolist() == [150]


def test_other_versions_and_columns_are_refused():
    table = to_table(build([[(1, 1, 1, 0, 0)]]))
    newer = dict(table.schema.metadata) | {b"scanner.schema_version": b"9"}
    with pytest.raises(DataError, match=r"schema version 9, this release reads 1; import"):
        from_table(table.replace_schema_metadata(newer))
    with pytest.raises(DataError, match="schema version none"):
        from_table(table.replace_schema_metadata(None))
    with pytest.raises(DataError, match=r"columns .* are not those of schema version 1"):
        from_table(table.drop_columns(["object_phi"]))


def test_object_lists_of_unequal_length_are_refused():
    table = to_table(build([[(1, 1, 1, 0, 0)]]))
    longer = pa.array([[1.0, 2.0]], pa.list_(pa.float32()))
    broken = table.set_column(table.schema.get_field_index("object_pt"),
                              EVENT_SCHEMA.field("object_pt"), longer)
    with pytest.raises(DataError, match="differ in length"):
        from_table(broken)
