"""The recipe of a generated dataset: YAML text becomes a frozen Recipe, or all its mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from scanner.datasets.published import CHANNELS
from scanner.errors import GridError
from scanner.generate.processes import BACKGROUNDS, Process
from scanner.generate.signals import signal
from scanner.schema import Count, SafeName, Section, Seed, Whole, check, check_keys, shown
from scanner.yaml_text import Source, Value, read, report

KEYS = ("name", "seed", "channels")


def _known(name: str) -> str:
    try:
        return signal(name, CHANNELS[0]).name
    except ValueError as error:
        raise PydanticCustomError("signal", "{allowed}", {"allowed": str(error)}) from error


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("signals", "distinct names")
    return names


Signals = Annotated[tuple[Annotated[SafeName, AfterValidator(_known)], ...],
                    AfterValidator(_distinct)]


class ChannelSection(Section):
    """A channel of a recipe.

    Attributes:
        background: Events of the unweighted Standard Model mixture; 0 for none.
        signal_events: Events of each signal.
        signals: Names as in the challenge, which carry the masses.
    """

    background: Annotated[Whole, Field(ge=0)] = 0
    signal_events: Count = 1000
    signals: Signals = ()


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        name: The dataset's name.
        seed: Where all random numbers start.
        channels: What is made of each channel, in the order in which it is made.
        text: The YAML text.
    """

    name: str
    seed: int
    channels: dict[str, ChannelSection]
    text: str

    def signals(self, channel: str) -> tuple[Process, ...]:
        """The signals of a channel."""
        return tuple(signal(name, channel) for name in self.channels[channel].signals)

    def backgrounds(self, channel: str) -> tuple[Process, ...]:
        """The background processes of a channel, if it is to have a background."""
        return BACKGROUNDS[channel] if self.channels[channel].background else ()


def parse(text: str, path: str) -> Recipe:
    """Check the text of a recipe.

    Raises:
        GridError: With every problem of the file, each with line and column.
    """
    source = read(text)
    if not source.problems and not isinstance(source.value, dict):
        report(source, (), f"a recipe is a mapping with {', '.join(KEYS)}, not "
               f"{shown(source.value)}")
    if not isinstance(source.value, dict):
        raise GridError(path, source.problems)
    raw = source.value
    check_keys(source, (), raw, allowed=KEYS, required=KEYS)
    name: Any = check(source, ("name",), SafeName, raw.get("name")) if "name" in raw else None
    seed: Any = check(source, ("seed",), Seed, raw.get("seed")) if "seed" in raw else None
    channels = _channels(source, raw.get("channels", {}))
    if source.problems:
        raise GridError(path, source.problems)
    return Recipe(name, seed, channels, text)


def _channels(source: Source, raw: Value) -> dict[str, ChannelSection]:
    if not isinstance(raw, dict):
        report(source, ("channels",), f"channels: must be a mapping, not {shown(raw)}")
        return {}
    check_keys(source, ("channels",), raw, allowed=CHANNELS)
    found = {channel: check(source, ("channels", channel), ChannelSection, section)
             for channel, section in raw.items() if channel in CHANNELS}
    return {channel: section for channel, section in found.items() if section}

