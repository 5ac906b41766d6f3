"""Grid files: every mistake is found, at its place, with a way out."""

from __future__ import annotations

import json
import os
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from scanner.errors import GridError
from scanner.grid import parse
from scanner.registry import ARCHITECTURES, FLOWS, REPRESENTATIONS, SCORES, Entry
from scanner.schema import SplitSection, TrainingSection
from scanner.trial import Split, Training

GOLDEN = Path(__file__).parent / "golden" / "grid_errors.txt"
DATASETS = {"sample": ["2a", "2b", "3"], "darkmachines": ["1", "2a", "2b", "3"]}
ENTRY = Entry("scanner:none", "")
PINNED = (
    (REPRESENTATIONS, {"all": ENTRY, "all_mult": ENTRY, "truncated": ENTRY}),
    (ARCHITECTURES, {
        "conv_vae": ENTRY,
        "gcn_vae": Entry("scanner:none", "", {
            "preset": ("paper", "plus"), "width": 16, "dropout": 0.0, "skip": False, "note": "x"}),
    }),
    (FLOWS, {"none": ENTRY, "planar": ENTRY, "iaf": Entry("scanner:none", "", {"layers": 4})}),
    (SCORES, {"reconstruction": ENTRY, "kl": ENTRY, "rz": ENTRY}),
)
GOOD = """\
name: figure4
dataset: sample
channels: ["2b", "3"]
grid:
  representation: [all]
  architecture: [conv_vae, gcn_vae]
  hlf: [false]
  beta: [1.0, 0.5]
  score: [reconstruction, kl, rz]
  flow: [none, planar]
  seed: [0, 1]
"""


@pytest.fixture(autouse=True)
def _pinned_registries():
    """Registries of a known content, so that a new flow changes no golden record."""
    saved = [(registry, dict(registry)) for registry, _ in PINNED]
    for registry, words in PINNED:
        registry.clear()
        registry.update(words)
    yield
    for registry, words in saved:
        registry.clear()
        registry.update(words)


def changed(*edits):
    """The good grid with (old, new) replaced; an old text of None appends."""
    text = GOOD
    for old, new in edits:
        assert old is None or text.count(old) == 1, old
        text = text + new if old is None else text.replace(old, new)
    return text


FLOW, SEED, BETA = "flow: [none, planar]", "seed: [0, 1]", "beta: [1.0, 0.5]"
NETS, HLF, SCORE = "[conv_vae, gcn_vae]", "hlf: [false]", "[reconstruction, kl, rz]"
WRONG = {
    "empty file": "",
    "only a comment": "# nothing yet\n",
    "not a mapping": "- name: x\n- dataset: y\n",
    "one word": "quickstart\n",
    "a tab": changed(("  seed", "\tseed")),
    "an open list": changed(("planar]", "planar")),
    "an open mapping": changed((None, "training: {patience: 3\n")),
    "an open quote": changed(('"3"]', '"3]')),
    "a lost colon": changed(("dataset: sample", "dataset sample")),
    "a colon too many": changed(("sample", "sample: x")),
    "a list on the line of its key": changed((FLOW, "flow: - none")),
    "an unknown alias": changed((NETS, "*nets")),
    "an alias inside its anchor": changed((FLOW, "flow: &a [*a]")),
    "two documents": GOOD + "---\n" + GOOD,
    "an at sign": changed(("figure4", "@figure4")),
    "a control character": changed(("figure4", "fig\x07ure4")),
    "a key that is a list": changed((None, "? [a, b]\n: 1\n")),
    "a merge of no mapping": changed((None, "training: {<<: 3}\n")),
    "unknown keys, near and far": changed(("dataset:", "datset:"), ("  hlf:", "  HLF:"),
                                          (None, "colour: red\n")),
    "missing keys": "name: x\ngrid:\n  seed: [1]\n",
    "keys without a value": "name:\ndataset:\nchannels:\ngrid:\n",
    "duplicate keys": changed((None, "name: again\nname: and again\n"),
                              (SEED, "seed: [0]\n  beta: [0.1]\n  seed: [1]")),
    "unknown values": changed(("[all]", "[al, All, jets]"), (NETS, "[gcn_vea, conv_vae]"),
                              (SCORE, "[reconstruction, k1, radius]"), (FLOW, "flow: [iaff, 3]")),
    "no flow, as null": changed((FLOW, "flow: [null, planar]")),
    "no flow, as an empty item": changed((FLOW, "flow:\n  -\n  - planar")),
    "no flow, as an empty key": changed((FLOW, "flow:")),
    "no flow, as no": changed((FLOW, "flow: [no]")),
    "no flow, as a Python word": changed((FLOW, "flow: None")),
    "empty axes": changed((SEED, "seed: []"), (FLOW, "flow: []"), ('["2b", "3"]', "[]")),
    "axis without value": changed((SEED, "seed:"), (BETA, "beta: ~")),
    "channels as numbers": changed(('["2b", "3"]', "[2b, 3, 1.5, true]")),
    "unknown dataset": changed(("sample", "darkmachine")),
    "unknown channel": changed(('["2b", "3"]', '["2c", "4", 2b]')),
    "unsafe names": changed(("figure4", "../figure 4"), ("sample", ".hidden"), ('"3"', '"a/b"')),
    "a number as name": changed(("figure4", "2026")),
    "wrong betas": changed((BETA, "beta: [half, -0.1, 1.5, .inf, .nan, true, 1e400, [1], {a: 1}]")),
    "a huge beta": changed((BETA, f"beta: [{'9' * 400}, {'9' * 5000}]")),
    "wrong seeds": changed((SEED, "seed: [1.5, -1, 4294967296, one, true, null, 1e300]")),
    "wrong HLF": changed((HLF, "hlf: [no, Yes, 1, 'true', off]")),
    "values given twice": changed((BETA, "beta: [1, 0.5, 1.0, 1e0]"), (HLF, "hlf: [false, False]"),
                                  (NETS, "[gcn_vae, conv_vae, {gcn_vae: {preset: paper}}]"),
                                  (SEED, "seed: [3, 0x3]"), ('"3"]', '"3", 2b]')),
    "a value of two names": changed((NETS, "[{gcn_vae: {}, conv_vae: {}}]")),
    "wrong settings of a value": changed(
        (NETS, "\n  - {gcn_vae: {presett: plus, width: 1.5, dropout: high}}\n"
               "  - gcn_vae: {preset: extra, skip: yes, note: 3}\n"
               "  - {conv_vae: {width: 3}}\n  - {gcn_va: {width: 3}}\n  - {gcn_vae: [1]}")),
    "wrong settings": changed((None, "settings:\n  gcn_vae: {preset: pluss, deep: 1}\n"
                                     "  gnc_vae: {preset: plus}\n  iaf: 3\n")),
    "settings as a list": changed((None, "settings: [gcn_vae]\n")),
    "wrong training": changed((None, """\
training:
  learning_rat: 1.0e-3
  learning_rate: -1.0e-3
  batch_size: 0
  max_epochs: 1.5
  patience: true
  hlf_weight: -1
  chamfer: l22
  masked: 1
  optimizer: sgd
  loss: Paper
""")),
    "training as a list": changed((None, "training: [adam]\n")),
    "wrong split": changed((None, "split: {test: 1.5, validation: 1, seed: x, tset: 0.1}\n")),
    "split of one": changed((None, "split: {test: 1}\n")),
    "wrong resources": changed((None, "resources: {gpus_per_trial: 1.5, cpus_per_trial: 0, "
                                      "pack: automatic, gpu: 1}\n")),
    "more wrong resources": changed((None, "resources: {gpus_per_trial: -1, pack: 0}\n")),
    "wrong search": changed((None, """\
search:
  sampler: grid
  trials: 0
  objective: auc
  space:
    hlf_weight: {log: [10, 1]}
    learning_rate: {log: [0, 1], lin: [1, 2]}
    beta: {log: [0.1, 1]}
""")),
    "search without space": changed((None, "search: {trials: 3, space: {}}\n")),
    "search without effect": changed(
        (None, "search: {trials: 3, space: {hlf_weight: {log: [1, 2]}}}\n")),
    "search without anything": changed((None, "search: {}\n")),
    "search with other bounds": changed(
        (None, "search: {trials: 3, space: {hlf_weight: {log: [1]}, learning_rate: {log: 3}}}\n")),
    "search with three bounds": changed(
        (None, "search: {trials: 3, space: {hlf_weight: {log: [1, 2, 3]}, learning_rate: 1}}\n")),
    "wrong exclude rules": changed((None, """\
exclude:
- {architecture: conv_vea}
- {flow: iaf}
- {flow: [iaf, planar], beta: 0.25}
- {architectur: gcn_vae}
- {architecture: "gcn_vae[preset=plus]"}
- {}
- flow
- {channel: "4"}
- {seed: [0, 1], flow: [planar, none]}
- {hlf: 0}
""")),
    "exclude as a mapping": changed((None, "exclude: {flow: planar}\n")),
    "mistakes in all parts": changed(("sample", "smaple"), (BETA, "beta: [2]"), (FLOW, "flow: [x]"),
                                     (None, "exclude: [{flow: y}]\ntraining: {patience: 0}\n")),
}


def message(text, **options):
    with pytest.raises(GridError) as caught:
        parse(text, "jobs/x.yaml", **{"datasets": DATASETS, **options})
    return str(caught.value)


def test_the_messages_are_the_recorded_ones():
    text = "".join(f"# {title}\n{message(wrong)}\n\n" for title, wrong in WRONG.items())
    if os.environ.get("SCANNER_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text)
    assert GOLDEN.is_file(), f"no record {GOLDEN}; make it with SCANNER_UPDATE_GOLDEN=1"
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("title", WRONG)
def test_every_problem_has_its_place(title):
    lines = WRONG[title].split("\n")
    for problem in message(WRONG[title]).split("\n"):
        path, line, column, text = problem.split(":", 3)
        assert path == "jobs/x.yaml"
        assert 1 <= int(line) <= len(lines)
        assert 1 <= int(column) <= len(lines[int(line) - 1]) + 1
        assert text.strip()


def test_one_mistake_more_is_one_line_more():
    one = message(changed((SEED, "seed: [x]"))).split("\n")
    two = message(changed((SEED, "seed: [x]"), (HLF, "hlf: [x]"))).split("\n")
    assert len(one) == 1
    assert len(two) == 2
    assert one[0] in two


def test_a_good_grid_is_read():
    grid = parse(GOOD, "x", DATASETS)
    assert (grid.name, grid.dataset, grid.channels) == ("figure4", "sample", ("2b", "3"))
    assert [v.label for v in grid.architecture] == ["conv_vae", "gcn_vae"]
    assert grid.architecture[1].get()["preset"] == "paper"
    assert (grid.beta, grid.seed, grid.hlf) == ((1.0, 0.5), (0, 1), (False,))
    assert (grid.training, grid.split) == (Training(), Split())
    assert (grid.resources.pack, grid.search, grid.exclude) == ("auto", None, ())


def test_a_grid_cannot_be_changed():
    search = "search: {trials: 2, space: {learning_rate: {log: [1, 2]}}}\n"
    grid = parse(changed((None, search)), "x")
    with pytest.raises(FrozenInstanceError):
        grid.name = "other"
    for section in (grid.resources, grid.search, grid.search.space):
        with pytest.raises(ValidationError):
            section.trials = 3
    hash(grid)


def test_a_single_value_is_a_list_of_one():
    single = changed((BETA, "beta: 0.5"), (SEED, "seed: 0"), (FLOW, "flow: none"),
                     (HLF, "hlf: false"), (NETS, "{gcn_vae: {width: 8}}"), ('["2b", "3"]', "2b"),
                     (SCORE, "rz"))
    listed = changed((BETA, "beta: [0.5]"), (SEED, "seed: [0]"), (FLOW, "flow: [none]"),
                     (NETS, "[{gcn_vae: {width: 8}}]"), ('["2b", "3"]', "[2b]"), (SCORE, "[rz]"))
    assert parse(single, "x") == parse(listed, "x")


@pytest.mark.parametrize(("text", "beta"), [
    ("1e-6", 1e-6), ("1.0e-6", 1e-6), ("1E-6", 1e-6), ("1.e-6", 1e-6), ("1", 1.0), ("1.0", 1.0),
    ("1e0", 1.0), ("'1e0'", 1.0), ("+.5", 0.5), ("0", 0.0), ("-0.0", 0.0), ("0x1", 1.0)])
def test_numbers_are_numbers_however_written(text, beta):
    for form in (f"beta: [{text}]", f"beta: {text}"):
        (value,) = parse(changed((BETA, form)), "x").beta
        assert repr(value) == repr(beta)


@pytest.mark.parametrize(("text", "seed"), [("012", 12), ("0o14", 12), ("1_000", 1000), ("7.0", 7),
                                            ("1e3", 1000), ("4294967295", 2**32 - 1)])
def test_whole_numbers_however_written(text, seed):
    assert parse(changed((SEED, f"seed: [{text}]")), "x").seed == (seed,)


def test_anchors_aliases_and_merge_keys_work():
    text = changed((BETA, "beta: &few [1, 0]"), (SEED, "seed: *few"))
    text += "exclude: [{flow: planar, seed: *few}]\nsplit: {test: 0.25, seed: 3}\n"
    grid = parse(text, "x")
    assert (grid.beta, grid.seed) == ((1.0, 0.0), (1, 0))
    assert grid.exclude[0].values[1] == ("seed", (1, 0))
    merged = GOOD + "split: {<<: {test: 0.25, seed: 4}, seed: 3}\n"
    assert parse(merged, "x").split == grid.split == Split(0.25, Split.validation, 3)
    several = GOOD + "split: {<<: [{test: 0.25}, {test: 0.5, seed: 3}]}\n"
    assert parse(several, "x").split == grid.split


def test_settings_of_a_value_go_over_those_of_the_grid():
    grid = parse(changed((NETS, "[gcn_vae, {gcn_vae: {width: 4}}, {gcn_vae: {preset: paper}}]"),
                         (None, "settings: {gcn_vae: {preset: plus}}\n")), "x")
    assert [v.label for v in grid.architecture] == [
        "gcn_vae[preset=plus]", "gcn_vae[preset=plus;width=4]", "gcn_vae"]
    assert [v.label for v in grid.settings] == ["gcn_vae[preset=plus]"]


def test_a_setting_takes_the_type_of_its_default():
    grid = parse(changed((NETS, "[{gcn_vae: {dropout: 0, width: 1e1}}]")), "x")
    assert grid.architecture[0].label == "gcn_vae[width=10]"
    assert repr(grid.architecture[0].get()["dropout"]) == "0.0"


def test_optional_sections_without_a_value_are_absent():
    empty = "exclude:\ntraining:\nsplit:\nsettings:\nresources:\nsearch:\n"
    assert parse(GOOD + empty, "x") == parse(GOOD, "x")


def test_another_dataset_replaces_the_one_of_the_file():
    assert parse(GOOD, "x", DATASETS, dataset="darkmachines").dataset == "darkmachines"
    without = changed(("dataset: sample\n", ""))
    assert parse(without, "x", DATASETS, dataset="sample") == parse(GOOD, "x")
    assert "'dark' is not imported" in message(GOOD, dataset="dark")
    assert "(there is none)" in message(GOOD, datasets={})


def test_a_dataset_is_checked_only_where_datasets_are_known():
    assert parse(changed(("sample", "elsewhere"), ('"3"', "5z")), "x").channels == ("2b", "5z")


def test_exclude_rules_take_names_labels_and_lists():
    grid = parse(changed((NETS, "[conv_vae, gcn_vae, {gcn_vae: {width: 4}}]"), (None, """\
exclude:
- {architecture: gcn_vae, flow: [planar, iaf]}
- {architecture: "gcn_vae[width=4]", seed: 1, beta: 1}
- {hlf: false, channel: "3", score: [kl, rz]}
""")), "x")
    first, second, third = (dict(rule.values) for rule in grid.exclude)
    assert [v.label for v in first["architecture"]] == ["gcn_vae", "gcn_vae[width=4]"]
    assert [v.label for v in first["flow"]] == ["planar"]
    assert [v.label for v in second["architecture"]] == ["gcn_vae[width=4]"]
    assert (second["seed"], second["beta"]) == ((1,), (1.0,))
    assert third == {"hlf": (False,), "channel": ("3",), "score": ("kl", "rz")}
    assert grid.exclude[0].text == "architecture: 'gcn_vae'; flow: 'planar', 'iaf'"


def test_a_search_is_read():
    text = "search: {trials: 20, space: {hlf_weight: {log: [1.0e-2, 1e3]}}}\n"
    good = GOOD.replace("hlf: [false]", "hlf: [false, true]")
    search = parse(good + text, "x").search
    assert (search.sampler, search.trials, search.objective) == ("tpe", 20, "validation_loss")
    assert search.batch == 4
    assert search.space.hlf_weight.log == (0.01, 1000.0)
    assert search.space.learning_rate is None


SECTIONS = [(TrainingSection, Training), (SplitSection, Split)]


@pytest.mark.parametrize(("section", "values"), SECTIONS)
def test_the_keys_and_defaults_are_those_of_the_trial(section, values):
    assert list(section.model_fields) == [field.name for field in fields(values)]
    assert section().model_dump() == {f.name: f.default for f in fields(values)}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["none", "gcn_vae", "rz", "beta", "log", "sample", "2b"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["flow", "log", "gcn_vae", "seed", "preset", "x"]), inner,
                      max_size=3), max_leaves=6)
FULL = changed((None, """\
exclude: [{architecture: gcn_vae, seed: 1}]
training: {learning_rate: 1.0e-3}
split: {test: 0.5}
settings: {gcn_vae: {preset: plus}}
resources: {pack: 4}
search: {trials: 2, space: {learning_rate: {log: [1, 2]}}}
"""))


def places(value, where=()):
    """Every path in a document."""
    yield where
    inside = value if isinstance(value, dict | list) else ()
    for key, inner in inside.items() if isinstance(value, dict) else enumerate(inside):
        yield from places(inner, (*where, key))


def read_or_refused(text):
    """Whether a text is a grid; any error but a `GridError` with problems fails the test."""
    try:
        parse(text, "x", DATASETS)
    except GridError as error:
        if not error.problems:
            raise
        return False
    return True


def test_the_full_grid_is_good():
    assert read_or_refused(FULL)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), value=ANY)
def test_any_value_anywhere_is_read_or_refused(data, value):
    document = YAML(typ="safe").load(FULL)
    where = data.draw(st.sampled_from(list(places(document))))
    if not where:
        document = value
    else:
        inner = document
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = value
    read_or_refused(json.dumps(document).replace("NaN", ".nan").replace("Infinity", ".inf"))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, len(FULL)), length=st.integers(0, 20), text=st.text(max_size=4)
       | st.sampled_from(["\t", "&a ", "*a", "<<: ", "- ", ": ", "{", "[", "'", "!x ", "%", "|\n"]))
def test_any_slip_of_the_hand_is_read_or_refused(place, length, text):
    read_or_refused(FULL[:place] + text + FULL[place + length:])
