"""Events of the user's own: arrays and Parquet become datasets; each bad one has its error."""

from __future__ import annotations

import doctest

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scanner
from scanner.channel import load_channel
from scanner.datasets import checks, custom, open_dataset, read, verify
from scanner.datasets.files import SAMPLE, parquet_name, processes
from scanner.datasets.one_file import read_file
from scanner.errors import DataError, GridError
from scanner.events import KINDS, to_table
from scanner.grid import parse
from scanner.plan import plan

GOOD = {"met": [80.0, 120.0], "met_phi": [0.1, -2.0], "object_kind": [[5, 1, 1], [2]],
        "object_e": [[40.0, 30.0, 95.0], [310.0]], "object_pt": [[38.0, 25.0, 90.0], [300.0]],
        "object_eta": [[0.3, 0.6, -0.3], [0.2]], "object_phi": [[1.0, 2.0, -1.0], [3.0]]}
GENUINE = "monojet_Zp2000.0_DM_50.0_chan3.csv"
ARRAYS = {"energy" if name == "object_e" else name.removeprefix("object_"): values
          for name, values in GOOD.items()}
GRID = """\
name: own
dataset: mine
channels: [leptons]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [kl]
  flow: [none]
  seed: [0]
"""


def many(events, seed=0):
    """Random but well-formed arrays for `make_events`."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, 6, events)
    pt = [random.exponential(50, n) + 20 for n in counts]
    return {"met": random.exponential(80, events), "met_phi": random.uniform(-3, 3, events),
            "kind": [random.choice(KINDS, n) for n in counts], "pt": pt,
            "energy": [values * 1.5 for values in pt],
            "eta": [random.normal(0, 1, n) for n in counts],
            "phi": [random.uniform(-3, 3, n) for n in counts]}


def place(folder, columns, name="chanleptons/background.parquet"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return folder


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(custom)
    assert (found.attempted, found.failed) == (3, 0)
    assert open_dataset("mine", tmp_path / "data").channels == {"leptons": ("odd",)}


def test_arrays_become_events_in_the_order_of_the_table():
    events = scanner.make_events(**ARRAYS, process=["a", "b"], weight=2)
    assert events.kind.tolist() == [1, 1, 5, 2]
    assert events.pt.tolist() == [90, 25, 38, 300]
    assert events.energy.tolist() == [95, 30, 40, 310]
    assert (events.process.tolist(), events.weight.tolist()) == (["a", "b"], [2, 2])
    words = ARRAYS | {"kind": [["e+", "j", "j"], ["b"]]}
    assert scanner.make_events(**words).kind.tolist() == [1, 1, 5, 2]
    ragged = {name: [np.array(values) for values in column] if isinstance(column[0], list)
              else np.array(column) for name, column in ARRAYS.items()}
    assert scanner.make_events(**ragged).pt.tolist() == [90, 25, 38, 300]


@pytest.mark.parametrize(("change", "text"), [
    ({"kind": [["e+", "tau", "j"], ["b"]]}, "kind: 'tau' is none of j, b, m+, m-, e+, e-, g, nor"),
    ({"kind": [[0, 1, 1], [2]]}, "kind: 0 is none of"),
    ({"pt": [[38.0, 25.0], [300.0]]}, "pt: not one entry per object, as in kind"),
    ({"eta": [["x", 0.6, -0.3], [0.2]]}, "eta: not numbers (could not convert"),
    ({"met": [80.0]}, "met: 1 entries for 2 events; give one each"),
    ({"process": ["a"]}, "process: 1 entries for 2 events"),
    ({"weight": [1.0] * 3}, "weight: 3 entries for 2 events")])
def test_arrays_that_do_not_fit(change, text):
    with pytest.raises(DataError) as error:
        scanner.make_events(**ARRAYS | change)
    assert str(error.value).startswith(text)


def test_parquet_with_the_plainest_types_becomes_a_dataset(tmp_path):
    source = place(tmp_path / "source", GOOD)
    place(source, GOOD | {"weight": [0.5, 0.5], "process": ["x", "y"], "extra": [1, 2]},
          "chanleptons/odd.parquet")
    place(source, GOOD, "chan3/background.parquet")
    made = scanner.add_dataset(source, "mine", tmp_path / "root")
    assert made.channels == {"3": (), "leptons": ("odd",)}
    assert made == open_dataset("mine", tmp_path / "root")
    verify(made)
    events = read(made, "leptons", "background")
    assert events.kind.tolist() == [1, 1, 5, 2]
    assert set(events.process) == {"background"}
    assert read(made, "leptons", "odd").weight.tolist() == [0.5, 0.5]
    assert read(made, "leptons", "odd").process.tolist() == ["x", "y"]


def test_a_dataset_survives_being_added_again(tmp_path):
    sample = open_dataset("sample")
    source = tmp_path / "source/chan3"
    source.mkdir(parents=True)
    name = parquet_name("3", "background")
    (source / "background.parquet").write_bytes((SAMPLE / name).read_bytes())
    made = scanner.add_dataset(tmp_path / "source", "again", tmp_path / "root")
    assert to_table(read(made, "3", "background")).equals(
        to_table(read(sample, "3", "background")))


def test_what_a_killed_writer_left_is_not_in_the_next_dataset(tmp_path):
    left = tmp_path / "root/.mine.import"
    (left / "chan1").mkdir(parents=True)
    for name in ("dataset.json", "README.md", "chan1/background.parquet"):
        (left / name).write_text("{}")
    made = scanner.add_dataset(place(tmp_path / "source", GOOD), "mine", tmp_path / "root")
    assert sorted(path.name for path in made.path.rglob("*")) == [
        "background.parquet", "chanleptons", "dataset.json"]


FAULTS = {
    "no object": ({"object_kind": [[5, 1, 1], []], "object_e": [[40.0, 30.0, 95.0], []],
                   "object_pt": [[38.0, 25.0, 90.0], []], "object_eta": [[0.3, 0.6, -0.3], []],
                   "object_phi": [[1.0, 2.0, -1.0], []]},
                  "{where}: the event has no object: 1 events, the first is event 1; correct"),
    "kind": ({"object_kind": [[5, 1, 8], [2]]},
             "{where}: kind is not 1 to 7 (j, b, m+, m-, e+, e-, g): 1 events, the first is"),
    "nan": ({"met": [80.0, float("nan")]}, "{where}: met is not a finite number: 1 events, the"),
    "infinite": ({"object_eta": [[0.3, float("inf"), -0.3], [0.2]]},
                 "{where}: eta is not a finite number: 1 events, the first is event 0"),
    "negative": ({"object_pt": [[38.0, 25.0, -90.0], [-300.0]]},
                 "{where}: pt is below zero: 2 events, the first is event 0"),
    "too large": ({"met": [80.0, 1e300]}, "{where}: met is not a finite number: 1 events"),
    "MeV": ({"object_e": [[4e4, 3e4, 9.5e4], [310.0]]},
            "{where}: energy is above 50,000 GeV, which no collider reaches (divide by 1000 if"),
    "missing value": ({"met": [80.0, None]}, "{file}: column met has missing values; fill them"),
    "missing inside": ({"object_phi": [[1.0, None, -1.0], [3.0]]},
                       "{file}: column object_phi has missing values"),
    "lengths": ({"object_phi": [[1.0, 2.0], [3.0]]},
                "{file}: object_phi has 2 entries where object_kind has 3: 1 events, the first is "
                "event 0; correct them or leave them out"),
    "no kinds": ({"object_kind": [[5, 1, 1], []]},
                 "{file}: object_e has 1 entries where object_kind has 0: 1 events, the first is "
                 "event 1; correct"),
    "degrees": ({"object_phi": [[1.0, 2.0, -180.0], [3.0]]},
                "{where}: phi is not from -pi to pi (is it in radians?): 1 events, the first is"),
    "MET in degrees": ({"met_phi": [0.1, 3.1417]}, "{where}: met_phi is not from -pi to pi (is"),
    "eta": ({"object_eta": [[0.3, 0.6, -0.3], [-9e5]]},
            "{where}: eta is not from -20 to 20, where all particles are: 1 events, the first is "
            "event 1"),
    "energy": ({"object_e": [[40.0, 30.0, 95.0], [299.9]]},
               "{where}: energy is below pt, which no particle's is: 1 events, the first is "
               "event 1"),
    **{f"missing inside {kind.__name__}": (
        {"object_phi": pa.array([[1.0, None, -1.0], [3.0, 2.0, 1.0]], kind(pa.float32(), *size))},
        "{file}: column object_phi has missing values; fill them")
       for kind, *size in ((pa.large_list,), (pa.list_, 3))},
    "words": ({"object_kind": [["e+", "j", "j"], ["b"]]},
              "{file}: column object_kind is list<element: string>, which cannot be read as list<"),
    "not lists": ({"object_pt": [38.0, 25.0]},
                  "{file}: column object_pt is double, which cannot be read as list<"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_column_is_one_error_and_leaves_the_old_dataset(tmp_path, name):
    change, text = FAULTS[name]
    old = scanner.add_dataset(place(tmp_path / "good", GOOD), "mine", tmp_path / "root")
    source = place(tmp_path / "source", GOOD | change)
    with pytest.raises(DataError) as error:
        scanner.add_dataset(source, "mine", tmp_path / "root")
    words = {"where": "channel leptons, background",
             "file": source / "chanleptons/background.parquet"}
    assert str(error.value).startswith(text.format(**words))
    assert open_dataset("mine", tmp_path / "root") == old
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["mine"]


def test_numbers_at_the_edge_are_taken(tmp_path):
    """Massless objects along the axes, in the rounding of float32 and of six digits."""
    pt = np.float32([1e3, 123.456, 0.1])
    edge = {"met": [1.0], "met_phi": [3.14160], "object_kind": [[1, 1, 1]],
            "object_e": [pt * (1 - np.float32(5e-6))], "object_pt": [pt],
            "object_eta": [[19.9, -19.9, 0.0]],
            "object_phi": [np.float32([np.pi, -np.pi, 3.14160])]}
    assert scanner.add_dataset(place(tmp_path, edge), "mine", tmp_path).channels == {"leptons": ()}


@pytest.mark.parametrize("channel", open_dataset("sample").channels)
def test_every_event_of_the_sample_could_be_ones_own(channel):
    sample = open_dataset("sample")
    for process in processes(sample, channel):
        checks.check_events(read(sample, channel, process), process, 0)


def test_every_event_of_the_genuine_file_could_be_ones_own(shared):
    checks.check_events(read_file(shared / "data" / GENUINE), GENUINE, 0)


def test_the_number_of_a_bad_event_is_that_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(custom, "PIECE_EVENTS", 1)
    for change in ({"met": [80.0, -1.0]}, {"object_eta": [[0.3, 0.6, -0.3], []]}):
        with pytest.raises(DataError, match=r": 1 events, the first is event 1; correct them"):
            scanner.add_dataset(place(tmp_path, GOOD | change), "mine", tmp_path)


def test_files_that_are_not_what_they_should_be(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(DataError, match=r"no chan<channel>/background\.parquet and no"):
        scanner.add_dataset(source, "mine", tmp_path)
    place(source, {"met": [1.0], "pt": [2.0]})
    with pytest.raises(DataError, match=r"columns met_phi, .* are missing; it has met, pt"):
        scanner.add_dataset(source, "mine", tmp_path)
    place(source, pa.table(GOOD).slice(0, 0))
    with pytest.raises(DataError, match="leptons, background: no event in it; leave it out"):
        scanner.add_dataset(source, "mine", tmp_path)
    (source / "chanleptons/background.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"background\.parquet: not a readable Parquet file"):
        scanner.add_dataset(source, "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, lock):
    source = place(tmp_path / "source", GOOD, "chan3/background.parquet")
    place(source, GOOD)
    lock(source / "chanleptons")
    for folder, text in ((source, r"chanleptons: Permission denied; give files and folders that"),
                         (tmp_path / "none", r"none: No such file or directory; give files")):
        with pytest.raises(DataError, match=text):
            scanner.add_dataset(folder, "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(("channels", "text"), [
    ({"../up": {"background": None}}, r"channel or process '\.\./up': use letters"),
    ({"3": {"a/b": None}}, "channel or process 'a/b': use letters"),
    ({"3": {"background": None}, "odd": {"signal": None}},
     r"channel odd: no background in it, .* add chanodd/background\.parquet, or"),
    ({}, "dataset 'mine': no events; give at least one channel")])
def test_channels_that_cannot_be_written(tmp_path, channels, text):
    events = scanner.make_events(**ARRAYS)
    given = {channel: dict.fromkeys(found, events) for channel, found in channels.items()}
    with pytest.raises(DataError, match=text):
        scanner.write_dataset("mine", given, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_channel_of_any_name_is_checked_planned_and_loaded(tmp_path):
    background, signal = (scanner.make_events(**many(n, n)) for n in (400, 60))
    made = scanner.write_dataset("mine", {"leptons": {"background": background, "odd": signal}},
                                 tmp_path)
    grid = parse(GRID, "grid.yaml", {"mine": tuple(made.channels)})
    (trial,) = plan(grid).trials
    data = load_channel("mine", "leptons", trial.representation, False, trial.split, tmp_path,
                        "cpu")
    assert len(data.test["odd"].objects) == 60
    assert len(data.train.objects) + len(data.validation.objects) + len(
        data.test["background"].objects) == 400
    with pytest.raises(GridError, match=r"'lepton' is not a channel of the dataset.*leptons"):
        parse(GRID.replace("[leptons]", "[lepton]"), "grid.yaml", {"mine": tuple(made.channels)})
    found = scanner.inspect("mine", tmp_path).summary
    assert found.processes["outside_selection"].tolist() == [0, 0]
    assert found.cuts.empty
    assert found.published.empty
