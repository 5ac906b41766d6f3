"""The grid file: its text becomes a frozen Grid, or a list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from scanner import words
from scanner.errors import GridError
from scanner.registry import Entry
from scanner.schema import (
    Beta,
    Flag,
    Resources,
    SafeName,
    Search,
    Seed,
    SplitSection,
    TrainingSection,
    check,
    check_keys,
    check_search,
    nearest,
    settings_of,
    shown,
    title,
)
from scanner.trial import AXES, Scalar, Split, Training, Variant, variant
from scanner.yaml_text import Source, Value, Where, read, report

Choice: TypeAlias = Variant | bool | float | int | str
Datasets: TypeAlias = Mapping[str, Collection[str]]
Raw: TypeAlias = dict[str, Value]
Base: TypeAlias = dict[str, dict[str, Scalar]]
Found: TypeAlias = dict[str, tuple[Any, ...]]
Reader: TypeAlias = Callable[[Where, Value], Choice | None]

GRID_AXES = ("representation", "architecture", "hlf", "beta", "score", "flow", "seed")
REQUIRED = ("name", "dataset", "channels", "grid")
OPTIONAL = ("exclude", "training", "split", "settings", "resources", "search")
RULE_AXES = ("channel", *GRID_AXES)
PLAIN_AXES = {"hlf": Flag, "beta": Beta, "seed": Seed}


@dataclass(frozen=True)
class Rule:
    """An exclude rule: a cell goes when on every axis named here its value is among these.

    Attributes:
        text: The rule in words.
        values: Axis (`channel` is one here) and the values of this grid that the rule matches.
    """

    text: str
    values: tuple[tuple[str, tuple[Choice, ...]], ...]


@dataclass(frozen=True)
class Grid:
    """A checked grid file.

    Attributes:
        name: The scan's folder.
        dataset: Name of an imported dataset.
        channels: Event selections; models are trained per channel.
        representation: Ways an event becomes arrays.
        architecture: Networks.
        hlf: Whether MET, HT and mEff are an extra input.
        beta: Weights of the KL term.
        score: Anomaly scores.
        flow: Latent flows.
        seed: Replicas of every model.
        absent: Channels of the file that are left out, because the dataset put in place of the
            file's lacks them.
        exclude: Rules that take cells out of the product.
        training: Training settings of every trial.
        split: How each channel's background is divided.
        settings: The registered names whose settings the file changes for the whole grid.
        resources: What one trial takes of a machine.
        search: The search inside every point, if any.
    """

    name: str
    dataset: str
    channels: tuple[str, ...]
    representation: tuple[Variant, ...]
    architecture: tuple[Variant, ...]
    hlf: tuple[bool, ...]
    beta: tuple[float, ...]
    score: tuple[str, ...]
    flow: tuple[Variant, ...]
    seed: tuple[int, ...]
    absent: tuple[str, ...]
    exclude: tuple[Rule, ...]
    training: Training
    split: Split
    settings: tuple[Variant, ...]
    resources: Resources
    search: Search | None


def parse(text: str, path: str, datasets: Datasets | None = None,
          dataset: str | None = None) -> Grid:
    """Check the text of a grid file and return its Grid.

    Args:
        text: The YAML text.
        path: Name of the file, for the messages.
        datasets: The imported datasets with their channels; None leaves both unchecked.
        dataset: Name of a dataset that replaces the file's; the channels that it lacks go, and
            are `Grid.absent`.

    Raises:
        GridError: With every problem of the file, each with line and column.
    """
    source = read(text)
    if not source.problems and not isinstance(source.value, dict):
        what = "the file is empty" if source.value is None else f"this is {shown(source.value)}"
        report(source, (), f"{what}; a grid file is a mapping with {', '.join(REQUIRED)}")
    if not isinstance(source.value, dict):
        raise GridError(path, source.problems)
    raw = {key: value for key, value in source.value.items()
           if value is not None or key not in OPTIONAL}
    raw |= {"dataset": dataset} if dataset else {}
    grid = _grid(source, raw, datasets, dataset is not None)
    if source.problems or grid is None:
        raise GridError(path, source.problems)
    return grid


def _grid(source: Source, raw: Raw, datasets: Datasets | None, lenient: bool) -> Grid | None:
    check_keys(source, (), raw, allowed=REQUIRED + OPTIONAL, required=REQUIRED)
    name, dataset = (_word(source, raw, key) for key in ("name", "dataset"))
    base = _base_settings(source, raw.get("settings", {}))
    channels = _channels(source, raw, _known_channels(source, dataset, datasets), lenient)
    axes = _axes(source, raw["grid"], base) if "grid" in raw else {}
    rules = _rules(source, raw.get("exclude", []), {**channels, **axes})
    training = check(source, ("training",), TrainingSection, raw.get("training", {}))
    split = check(source, ("split",), SplitSection, raw.get("split", {}))
    resources = check(source, ("resources",), Resources, raw.get("resources", {}))
    search = check_search(source, raw.get("search"), axes.get("hlf", ()))
    if source.problems:
        return None
    changed = tuple(variant(AXES[axis], word, base[word])
                    for axis in AXES for word in AXES[axis] if word in base)
    absent = tuple(str(c) for c in _listed(raw["channels"]) if c not in channels["channel"])
    return Grid(name, dataset, channels["channel"], **axes, absent=absent, exclude=rules,
                training=Training(**training.model_dump()), split=Split(**split.model_dump()),
                settings=changed, resources=resources, search=search)


def _word(source: Source, raw: Raw, key: str) -> str:
    return (check(source, (key,), SafeName, raw[key]) or "") if key in raw else ""


def _known_channels(source: Source, dataset: str, datasets: Datasets | None) -> list[str] | None:
    if datasets is None or dataset in datasets:
        return None if datasets is None else sorted(datasets[dataset])
    if dataset:
        report(source, ("dataset",), f"dataset: {dataset!r} is not imported"
               f"{nearest(dataset, sorted(datasets))}; see `scanner data list`, `... data import`")
    return None


def _listed(value: Value) -> list[Value]:
    return value if isinstance(value, list) else [value]


def _channels(source: Source, raw: Raw, known: list[str] | None, lenient: bool) -> Found:
    """The channels; those that the dataset lacks are faults, or are left out if `lenient`."""
    def item(where: Where, value: Value) -> Choice | None:
        channel: str | None = check(source, where, SafeName, value)
        if channel is None or known is None or channel in known:
            return channel
        if lenient and set(_listed(raw["channels"])) & set(known):
            return None
        text = f"channels: {channel!r} is not a channel of the dataset{nearest(channel, known)}"
        report(source, where, text)
        return None

    if "channels" not in raw:
        return {}
    return _axis(source, "channel", ("channels",), raw["channels"], item)


def _base_settings(source: Source, raw: Value) -> Base:
    entries = {name: entry for registry in AXES.values() for name, entry in registry.items()}
    if not isinstance(raw, dict):
        report(source, ("settings",), f"settings: must be a mapping, not {shown(raw)}")
        return {}
    check_keys(source, ("settings",), raw, allowed=entries)
    return {name: _settings(source, entries[name], ("settings", name), given) or {}
            for name, given in raw.items() if name in entries}


def _settings(source: Source, entry: Entry, where: Where,
              given: Value) -> dict[str, Scalar] | None:
    section = check(source, where, settings_of(entry), {} if given is None else given)
    return dict(section.model_dump(exclude_unset=True)) if section else None


def _axes(source: Source, raw: Value, base: Base) -> Found:
    if not isinstance(raw, dict):
        report(source, ("grid",), f"grid: must be a mapping of axes, not {shown(raw)}")
        return {}
    check_keys(source, ("grid",), raw, allowed=GRID_AXES, required=GRID_AXES)
    found: Found = {}
    for axis in GRID_AXES:
        if axis in raw:
            item = _reader(source, axis, base)
            found.update(_axis(source, axis, ("grid", axis), raw[axis], item))
    return found


def _reader(source: Source, axis: str, base: Base) -> Reader:
    """What turns one value of an axis, as written in the file, into a choice."""
    if axis in AXES:
        return lambda where, value: _variant(source, axis, base, where, value)
    if axis == "score":
        return lambda where, value: words.score(source, where, value)
    return lambda where, value: check(source, where, PLAIN_AXES[axis], value)


def _axis(source: Source, axis: str, where: Where, raw: Value, item: Reader) -> Found:
    """The values of an axis by its name, or nothing after reporting what is wrong."""
    before = len(source.problems)
    places = [(*where, i) for i in range(len(raw))] if isinstance(raw, list) else [where]
    pairs = list(zip(places, _listed(raw), strict=True))
    if not pairs:
        report(source, where, f"{title(where)}: the list is empty; give at least one value")
    first: dict[Choice, Where] = {}
    for place, value in pairs:
        choice = item(place, value)
        if choice in first:
            mark = ":".join(map(str, source.values[first[choice]]))
            word = choice.label if isinstance(choice, Variant) else shown(choice)
            report(source, place, f"{title(where)}: {word} is given twice, first at {mark}")
        elif choice is not None:
            first[choice] = place
    return {axis: tuple(first)} if len(source.problems) == before else {}


def _variant(source: Source, axis: str, base: Base, where: Where, value: Value) -> Variant | None:
    given: Value = {}
    if isinstance(value, dict) and len(value) == 1:
        ((value, given),) = value.items()
        where = (*where, value)
    name = words.registered(source, axis, AXES[axis], where, value)
    if name is None:
        return None
    settings = _settings(source, AXES[axis][name], where, given)
    return None if settings is None else variant(
        AXES[axis], name, {**base.get(name, {}), **settings})


def _rules(source: Source, raw: Value, found: Found) -> tuple[Rule, ...]:
    if not isinstance(raw, list):
        report(source, ("exclude",), f"exclude: must be a list of rules, not {shown(raw)}")
        return ()
    rules = (_rule(source, ("exclude", i), rule, found) for i, rule in enumerate(raw))
    return tuple(rule for rule in rules if rule)


def _rule(source: Source, where: Where, raw: Value, found: Found) -> Rule | None:
    if not isinstance(raw, dict) or not raw:
        text = "exclude: a rule is a mapping of axes to values, {flow: planar, beta: [0.5, 1]}"
        report(source, where, text)
        return None
    check_keys(source, where, raw, allowed=RULE_AXES)
    listed = {axis: _listed(wanted) for axis, wanted in raw.items() if axis in RULE_AXES}
    values = tuple((axis, _matched(source, where, axis, wanted, found))
                   for axis, wanted in listed.items())
    if values and all(set(chosen) == set(found.get(axis, [""])) for axis, chosen in values):
        report(source, where, "exclude: the rule takes out the whole grid")
    parts = (f"{axis}: {', '.join(map(shown, wanted))}" for axis, wanted in listed.items())
    return Rule("; ".join(parts), values)


def _matched(source: Source, where: Where, axis: str, wanted: list[Value],
             found: Found) -> tuple[Choice, ...]:
    before = len(source.problems)
    if axis == "score":
        wanted = [words.score(source, (*where, axis, i), item) for i, item in enumerate(wanted)]
    for i, item in enumerate(wanted if axis in AXES else []):
        name = item.partition("[")[0] if isinstance(item, str) else item
        words.registered(source, axis, AXES[axis], (*where, axis, i), name)
    chosen = tuple(choice for choice in found.get(axis, ())
                   if any(_same(choice, item) for item in wanted))
    if axis in found and not chosen and len(source.problems) == before:
        there = [c.label if isinstance(c, Variant) else shown(c) for c in found[axis]]
        report(source, (*where, axis), f"exclude: the rule matches nothing, because the grid's "
               f"{axis} is never {' or '.join(map(shown, wanted))} ({', '.join(there)})")
    return chosen


def _same(choice: Choice, item: Value) -> bool:
    if isinstance(choice, Variant):
        return item in (choice.name, choice.label)
    return item == choice and isinstance(item, bool) == isinstance(choice, bool)
