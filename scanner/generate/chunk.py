"""A chunk: a fixed number of hard processes, shower to selection, and its file.

What a chunk holds follows from its job alone, so that it does not matter which worker makes it,
when, or in which order; a file that exists is never made again.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scanner.atomic import write_atomic
from scanner.datasets.published import SELECTIONS
from scanner.events import EVENT_SCHEMA, Events, from_table, to_table
from scanner.generate.processes import Process

PHYSICS = 1  # raised with every change of physics, so that no chunk of an older one is taken
CROSS_SECTION, GENERATED, CPU = (b"generate.cross_section_pb", b"generate.generated",
                                 b"generate.cpu_s")


@dataclass(frozen=True)
class Job:
    """One chunk.

    Attributes:
        process: What is generated.
        channel: Whose selection.
        seed: The recipe's seed.
        number: Number of the chunk, from 0. The event ID of its events is this number, a point, and
            the number of the hard process in the chunk.
    """

    process: Process
    channel: str
    seed: int
    number: int

    @property
    def digest(self) -> int:
        """256 bits of everything that the chunk's content depends on."""
        met, ht, met_over_ht, *_ = SELECTIONS[self.channel]
        # A field that processes had when the bundled sample was made, which follows from this text.
        process = repr(self.process).replace(", slha=", ", smearings=1, slha=")
        text = f"{PHYSICS} {self.seed} {self.channel} {self.number} {process}"
        text += f" Selection({met=}, {ht=}, {met_over_ht=})"
        return int(hashlib.sha256(text.encode()).hexdigest(), 16)

    def file(self, folder: Path) -> Path:
        """Where the chunk is kept."""
        name = f"{self.process.name}-{self.number:05d}-{self.digest:064x}"[:-48]
        return folder / f"chan{self.channel}" / f"{name}.parquet"

    def moments(self, events: int) -> NDArray[np.float64]:
        """A random number in [0, 1) for each selected event: when it arrives (see `mixture`)."""
        return np.random.default_rng([self.digest, 1]).random(events)


@dataclass(frozen=True)
class Summary:
    """What is known of a finished chunk.

    Attributes:
        generated: Events that were showered, all of them behind the gate.
        selected: Events that the channel took.
        cross_section_pb: Cross section behind the gate, pb.
        cpu_s: Processor time.
    """

    generated: int
    selected: int
    cross_section_pb: float
    cpu_s: float


def generate_chunk(job: Job, folder: Path) -> Summary:
    """Make a chunk and write its file, complete or not at all."""
    start = time.process_time()
    parts, cross_section = generate_events(job, job.process.chunk)
    table = pa.concat_tables([EVENT_SCHEMA.empty_table(), *map(to_table, parts)])
    facts = {CROSS_SECTION: f"{cross_section:.17g}", GENERATED: str(job.process.chunk),
             CPU: f"{time.process_time() - start:.1f}"}
    table = table.replace_schema_metadata({**EVENT_SCHEMA.metadata, **facts})
    path = job.file(folder)
    write_atomic(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
    return summary(path)


def generate_events(job: Job, generated: int) -> tuple[list[Events], float]:
    """Selected events of the first `generated` hard processes of a chunk, and the cross section."""
    from scanner.generate.pythia import LARGEST_SEED, Generator
    from scanner.generate.reconstruct import reconstruct

    generator = Generator(job.process, 1 + job.digest % LARGEST_SEED)
    rng = np.random.default_rng(job.digest)
    found = [reconstruct(particles, _names(job, first, size), job.channel, rng)
             for first, size, particles in generator.batches(generated)]
    return [events for events in found if events is not None], generator.cross_section_pb


def _names(job: Job, first: int, size: int) -> NDArray[np.object_]:
    ids = [f"{job.number}.{index}" for index in range(first, first + size)]
    return np.array([[job.process.name] * size, ids], object)


def summary(path: Path) -> Summary:
    """The facts of a finished chunk, without its events."""
    metadata = pq.read_metadata(path)
    facts = metadata.metadata
    return Summary(int(facts[GENERATED]), metadata.num_rows, float(facts[CROSS_SECTION]),
                   float(facts[CPU]))


def read_chunk(path: Path) -> Events:
    """The selected events of a finished chunk."""
    table = pq.read_table(path, read_dictionary=["process", "event_id"])
    return from_table(table.cast(EVENT_SCHEMA))
