"""What an import did, as values and as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scanner.datasets.files import Dataset


@dataclass(frozen=True)
class FileReport:
    """The import of one file.

    Attributes:
        source: The text file.
        channel: Its channel.
        process: `background`, or the signal's name.
        events: Number of events.
        objects: Number of objects of each kind.
        bytes: Bytes of text, uncompressed.
        sha256: Of the text file as it lies on disk.
        seconds: Wall time.
        skipped: Bad lines that were left out, as `file:line: reason`.
        warnings: What is unusual about the file.
    """

    source: Path
    channel: str
    process: str
    events: int
    objects: dict[str, int]
    bytes: int
    sha256: str
    seconds: float
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def mb_per_s(self) -> float:
        """Text read per second, MB/s."""
        return self.bytes / 1e6 / self.seconds

    @property
    def text(self) -> str:
        """One line, and one more for each warning and each skipped line."""
        counts = ", ".join(f"{kind} {count}" for kind, count in self.objects.items() if count)
        head = (f"channel {self.channel}, {self.process}: {self.events} events ({counts}), "
                f"{self.bytes / 1e6:.1f} MB, {self.mb_per_s:.0f} MB/s")
        notes = [*(f"  warning: {text}" for text in self.warnings),
                 *(f"  left out: {text}" for text in self.skipped)]
        return "\n".join([head, *notes])


@dataclass(frozen=True)
class ImportReport:
    """What an import did: the dataset, one report per file, and notes on the whole."""

    dataset: Dataset
    files: tuple[FileReport, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """What to tell the user."""
        events = sum(file.events for file in self.files)
        notes = (f"note: {note}" for note in self.notes)
        return "\n".join([*(file.text for file in self.files), *notes,
                          f"dataset {self.dataset.name}: {events} events in {self.dataset.path}"])
