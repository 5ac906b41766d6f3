"""What workers need besides their job: where they read and write, and on what they train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a worker reads and writes, and what it trains on; paths are absolute.

    Attributes:
        results: The result folder.
        data_root: Folder of imported datasets.
        device: `cpu` or `cuda`.
        gpu_share: Share of a GPU that a worker may fill.
        pack: Most trials that are trained together.
        automatic: Whether a large pack may be trained in parts of a size found by trying.
        marker: File whose existence asks workers to save and end.
        checkpoint_s: Seconds between the checkpoints of a training.
    """

    results: Path
    data_root: Path | None = None
    device: str = "cpu"
    gpu_share: float = 1.0
    pack: int = 16
    automatic: bool = False
    marker: Path | None = None
    checkpoint_s: float = 180.0
