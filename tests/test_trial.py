"""Trials: an id is made of everything that decides a result, and of nothing else."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.grid import parse
from scanner.plan import plan
from scanner.registry import Entry, defaults
from scanner.trial import AXES, Split, Training, Trial, Variant, from_json, variant

GOLDEN = Path(__file__).parent / "golden" / "trial_ids.txt"
NET = Variant("gcn_vae", (("preset", "paper"), ("width", 16)), "gcn_vae")
WIDE = Variant("gcn_vae", (("preset", "paper"), ("width", 32)), "gcn_vae[width=32]")
ALL, NONE, PLANAR = (Variant(name, (), name) for name in ("all", "none", "planar"))
TRIAL = Trial("sample", "3", ALL, NET, False, 0.5, NONE, 0)
OTHERS = {
    "dataset": "lhco",
    "channel": "2b",
    "representation": Variant("truncated", (), "truncated"),
    "architecture": WIDE,
    "hlf": True,
    "beta": 1e-6,
    "flow": PLANAR,
    "seed": 1,
    "training": Training(learning_rate=1e-3, max_epochs=100, masked=True, chamfer="l1"),
    "split": Split(test=1000, seed=4),
}
ENTRY = Entry("scanner:none", "", {"layers": 4, "rate": 0.5, "deep": False, "kind": ("a", "b")})


def test_ids_are_the_recorded_ones():
    trials = [TRIAL, *(replace(TRIAL, **{name: value}) for name, value in OTHERS.items())]
    text = "".join(f"{trial.id} {trial.to_json()}\n" for trial in trials)
    if os.environ.get("SCANNER_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text)
    assert GOLDEN.is_file(), f"no record {GOLDEN}; make it with SCANNER_UPDATE_GOLDEN=1"
    assert text == GOLDEN.read_text(), "other ids: every finished trial would run again"


def test_every_field_is_in_the_id():
    assert {field.name for field in fields(Trial)} == set(OTHERS)
    ids = {TRIAL.id, *(replace(TRIAL, **{name: value}).id for name, value in OTHERS.items())}
    assert len(ids) == len(OTHERS) + 1


@pytest.mark.parametrize("section", [Training(), Split()])
def test_every_setting_is_in_the_id(section):
    name = type(section).__name__.lower()
    for field in fields(section):
        value = getattr(section, field.name)
        other = not value if isinstance(value, bool) else value * 2 or 1
        assert replace(TRIAL, **{name: replace(section, **{field.name: other})}).id != TRIAL.id


def test_a_new_setting_leaves_earlier_ids_alone(monkeypatch):
    entry = AXES["architecture"]["gcn_vae"]
    newer = replace(entry, settings={**entry.settings, "brand_new": 3})
    monkeypatch.setitem(AXES["architecture"], "gcn_vae", newer)
    known = replace(TRIAL, architecture=variant(AXES["architecture"], "gcn_vae", {}))
    monkeypatch.setitem(AXES["architecture"], "gcn_vae", entry)
    before = replace(TRIAL, architecture=variant(AXES["architecture"], "gcn_vae", {})).id
    monkeypatch.setitem(AXES["architecture"], "gcn_vae", newer)
    assert known.id == before
    other = variant(AXES["architecture"], "gcn_vae", {"brand_new": 4})
    assert replace(TRIAL, architecture=other).id != before


def test_the_label_is_not_in_the_id():
    assert replace(TRIAL, architecture=replace(NET, label="other")).id == TRIAL.id


def test_types_do_not_change_the_id():
    whole = replace(TRIAL, beta=1, seed=True, hlf=0, split=Split(test=1000),
                    training=Training(learning_rate=1, hlf_weight=2))
    same = replace(TRIAL, beta=1.0, seed=1, hlf=False, split=Split(test=1000.0),
                   training=Training(learning_rate=1.0, hlf_weight=2.0))
    assert whole.to_json() == same.to_json()
    assert whole.id == same.id


@pytest.mark.parametrize("beta", ["1", "1.0", "1e0", "'1e0'", "1.00", "+1", "10e-1"])
def test_spelling_does_not_change_the_id(beta):
    text = """\
{name: x, dataset: sample, channels: ["3"], training: {patience: PATIENCE}, grid: {beta: BETA,
 representation: all, architecture: gcn_vae, hlf: false, score: rz, flow: none, seed: SEED}}"""
    one = text.replace("BETA", "1.0").replace("SEED", "3").replace("PATIENCE", "3")
    other = text.replace("BETA", beta).replace("SEED", "3.0").replace("PATIENCE", "0x3")
    assert plan(parse(one, "x")).trials[0].id == plan(parse(other, "x")).trials[0].id


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_json_and_back_is_the_same_trial(data):
    chosen = {axis: variant(registry, data.draw(st.sampled_from(sorted(registry))), {})
              for axis, registry in AXES.items()}
    trial = replace(
        TRIAL, **chosen, beta=data.draw(st.floats(0, 1)), seed=data.draw(st.integers(0, 2**32 - 1)),
        training=Training(learning_rate=data.draw(st.floats(1e-9, 1))))
    assert from_json(trial.to_json()) == trial
    assert from_json(trial.to_json()).id == trial.id


@pytest.mark.parametrize("name", ["seed", "beta"])
def test_packs_share_all_but_seed_and_beta(name):
    assert replace(TRIAL, **{name: OTHERS[name]}).pack_key == TRIAL.pack_key


@pytest.mark.parametrize("name", sorted(set(OTHERS) - {"seed", "beta", "training"}))
def test_packs_differ_by_everything_else(name):
    assert replace(TRIAL, **{name: OTHERS[name]}).pack_key != TRIAL.pack_key


@pytest.mark.parametrize("field", fields(Training), ids=lambda field: field.name)
def test_packs_share_training_settings_but_two(field):
    other = "x" if isinstance(field.default, str) else field.default + 1
    key = replace(TRIAL, training=Training(**{field.name: other})).pack_key
    assert (key == TRIAL.pack_key) == (field.name in ("learning_rate", "hlf_weight"))


def test_a_model_has_no_channel_seed_comma_or_blank():
    model = replace(TRIAL, architecture=WIDE, beta=1e-6).model
    assert model == "gcn_vae[width=32]-all-nohlf-beta1e-06-none"
    assert replace(TRIAL, seed=9, channel="1").model == TRIAL.model
    for name in ("representation", "architecture", "hlf", "beta", "flow"):
        assert replace(TRIAL, **{name: OTHERS[name]}).model != TRIAL.model


def test_a_label_names_what_is_not_at_its_default():
    entries = {"net": ENTRY}
    assert variant(entries, "net", {}).label == "net"
    assert variant(entries, "net", defaults(ENTRY)) == variant(entries, "net", {})
    made = variant(entries, "net", {"rate": 1, "deep": True, "kind": "b"})
    assert made.label == "net[deep=true;kind=b;rate=1]"
    assert made.get() == {"layers": 4, "rate": 1.0, "deep": True, "kind": "b"}
    assert not set(made.label) & set(", ")
