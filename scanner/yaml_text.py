"""YAML text as plain values, with the line and column of every key and value.

The text is composed by ruamel.yaml and the values are built here, so that a key given twice is one
problem among the others instead of the end of reading. Anchors, aliases and merge keys work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from scanner.errors import Problem

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Where: TypeAlias = tuple[str | int, ...]
Mark: TypeAlias = tuple[int, int]

HINTS = {
    "'\\t'": "indent with blanks, never with a tab",
    "could not find expected ':'": "a key has lost its colon",
    "mapping values are not allowed": "a colon too many, or indented otherwise than the line above",
    "cannot start any token": "put the value in quotes",
    "quoted scalar": "a quote is not closed",
    "flow sequence": "a '[' is not closed with ']', or a comma is missing",
    "flow mapping": "a '{' is not closed with '}', or a comma is missing",
    "undefined alias": "define it above with '&'",
    "single document": "one file is one grid; remove the line '---'",
    "block mapping": "a key has lost its colon, or is indented otherwise than its neighbours",
    "sequence entries are not allowed": "start the list on a line of its own, or write [a, b]",
}


@dataclass(frozen=True)
class Source:
    """A YAML text after reading.

    Attributes:
        value: The document as plain values; None for an empty text.
        keys: Line and column of every key, by its path from the top.
        values: Line and column of every value, by its path from the top.
        problems: What is wrong with the text, growing while it is checked.
    """

    value: Value
    keys: dict[Where, Mark] = field(default_factory=dict)
    values: dict[Where, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(text: str) -> Source:
    """The values of one YAML document; a syntax error is the only problem of its `Source`."""
    source = Source({})
    try:
        node = YAML(typ="rt").compose(text)
        value = None if node is None else _build(source, (), node)
    except RecursionError:
        text = "nested too deeply, or an alias inside its own anchor"
        return Source(None, problems=[Problem(1, 1, f"not YAML: {text}")])
    except YAMLError as error:
        return Source(None, problems=[_syntax(text, error)])
    return Source(value, source.keys, source.values, source.problems)


def report(source: Source, where: Where, text: str, *, key: bool = False) -> None:
    """Add a problem at the value (or the key) of a path, or of the nearest one around it."""
    maps = (source.keys, source.values) if key else (source.values, source.keys)
    places = (marks.get(where[:end]) for end in range(len(where), -1, -1) for marks in maps)
    line, column = next(filter(None, places), (1, 1))
    source.problems.append(Problem(line, column, text))


def _syntax(text: str, error: YAMLError) -> Problem:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        return Problem(line, column, "not YAML: a control character; delete it")
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Problem(1, 1, f"not YAML: {error}")
    what = " ".join(filter(None, (error.context, error.problem)))
    hint = next((f"; {hint}" for part, hint in HINTS.items() if part in what), "")
    mark = error.context_mark or error.problem_mark
    if "single document" in what:
        mark = error.problem_mark
    return Problem(mark.line + 1, mark.column + 1, f"not YAML: {error.problem}{hint}")


def _build(source: Source, where: Where, node: Node) -> Value:
    nothing = isinstance(node, ScalarNode) and node.value == "" and node.style is None
    source.values[where] = source.keys.get(where, _mark(node)) if nothing else _mark(node)
    if isinstance(node, MappingNode):
        return {name: _build(source, (*where, name), value)
                for name, value in _items(source, where, node).items()}
    if isinstance(node, SequenceNode):
        return [_build(source, (*where, index), item) for index, item in enumerate(node.value)]
    return _scalar(node)


def _items(source: Source, where: Where, node: MappingNode) -> dict[str, Node]:
    own: dict[str, Node] = {}
    merged: dict[str, Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if key.tag == "tag:yaml.org,2002:merge":
            merged = {**_merged(source, where, value), **merged}
        elif not isinstance(key, ScalarNode):
            source.problems.append(Problem(*_mark(key), "a key must be one word"))
        elif name in own:
            line, column = source.keys[(*where, name)]
            text = f"duplicate key {name!r}: it was given at line {line}, column {column} already"
            source.problems.append(Problem(*_mark(key), text))
        else:
            own[name] = value
            source.keys[(*where, name)] = _mark(key)
    return {**merged, **own}


def _merged(source: Source, where: Where, node: Node) -> dict[str, Node]:
    parts = node.value if isinstance(node, SequenceNode) else [node]
    found: dict[str, Node] = {}
    for part in parts:
        if isinstance(part, MappingNode):
            found = {**_items(Source({}), where, part), **found}
        else:
            source.problems.append(Problem(*_mark(part), "'<<' takes an alias of a mapping"))
    return found


def _mark(node: Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: Node) -> Value:
    text, kind = str(node.value), str(node.tag).rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on", "y")
    if kind == "float" or (kind == "int" and len(text) > 1000):
        return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    if kind == "int":
        digits = text.lower().replace("_", "")
        return int(digits, 0 if digits.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10)
    return text
