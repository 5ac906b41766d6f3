"""The words of a grid file: a registered name, a score or a combination of two scores."""

from __future__ import annotations

from scanner.combinations import name_of
from scanner.registry import SCORES, Entry
from scanner.schema import nearest, shown, title
from scanner.yaml_text import Source, Value, Where, report


def registered(source: Source, axis: str, registry: dict[str, Entry], where: Where,
               value: Value) -> str | None:
    """The value if it is a name of the registry, or None after reporting what is wrong."""
    if isinstance(value, str) and value in registry:
        return value
    hint = "; for no flow write the word none" if axis == "flow" and value is None else ""
    article = "an" if axis[0] in "aeiou" else "a"
    place = title(where[:2] if where[0] == "grid" else where)
    text = f"{place}: {shown(value)} is not {article} {axis}{hint}{nearest(value, registry)}"
    report(source, where, text, key=len(where) > 2 and where in source.keys)
    return None


def score(source: Source, where: Where, value: Value) -> str | None:
    """A score, or `a+b` with the two in the registry's order; None after reporting a fault."""
    words = value.split("+") if isinstance(value, str) else [value]
    found = [name for word in words if (name := registered(source, "score", SCORES, where, word))]
    if len(found) < len(words):
        return None
    if len(words) > 2 or len(set(words)) < len(words):
        place = title(where[:2] if where[0] == "grid" else where)
        text = f"{place}: {shown(value)} is not a combination; write two different scores, a+b"
        report(source, where, text)
        return None
    return name_of(found)
