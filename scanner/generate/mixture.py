"""From cross sections to an unweighted mixture: events arrive as luminosity is collected.

A process of cross section sigma of which n events were generated stands for a luminosity
n / sigma. Every selected event is given a moment uniform in it. The events of all processes whose
moments lie below one luminosity are what that luminosity would bring, each with weight 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanner.generate.chunk import Summary

MARGIN = 1.03  # more chunks at once than the estimate says, which saves another round


class Yield(NamedTuple):
    """A process so far: generated and selected events, and mean cross section (pb)."""

    generated: int
    selected: int
    cross_section_pb: float

    @property
    def luminosity(self) -> float:
        """Luminosity that was generated, 1/pb."""
        return self.generated / self.cross_section_pb


def total(chunks: Sequence[Summary]) -> Yield:
    """The chunks of one process together."""
    generated = sum(chunk.generated for chunk in chunks)
    mean = sum(chunk.cross_section_pb * chunk.generated for chunk in chunks) / generated
    return Yield(generated, sum(chunk.selected for chunk in chunks), mean)


def chunks_needed(yields: Mapping[str, Yield], chunk: Mapping[str, int],
                  events: int) -> dict[str, int]:
    """How many chunks of each process bring `events` in all, as far as is known.

    Args:
        yields: What every process has brought so far.
        chunk: Events per chunk.
        events: Number of events wanted of the mixture.
    """
    selected_pb = sum(y.cross_section_pb * y.selected / y.generated for y in yields.values())
    if not selected_pb:
        return {name: 2 * y.generated // chunk[name] for name, y in yields.items()}
    luminosity = MARGIN * (events + math.sqrt(events)) / selected_pb
    return {name: max(y.generated // chunk[name],
                      math.ceil(luminosity * y.cross_section_pb / chunk[name]))
            for name, y in yields.items()}


def mix(moments: Sequence[NDArray[np.float64]], luminosities: Sequence[float],
        events: int) -> tuple[NDArray[np.int64], float] | None:
    """The first `events` arrivals among all processes, in their order.

    Args:
        moments: Per process, a number in [0, 1) for each selected event.
        luminosities: Per process, what was generated, 1/pb.
        events: Number of events wanted.

    Returns:
        Indices into the processes' events, one after another, and the luminosity they stand for;
        None if some process was generated for less than that.
    """
    arrivals = np.concatenate([moment * luminosity for moment, luminosity
                               in zip(moments, luminosities, strict=True)])
    order = np.argsort(arrivals, kind="stable")
    if len(order) <= events or arrivals[order[events]] > min(luminosities):
        return None
    return order[:events], float(arrivals[order[events]])
