"""Estimate a scan before it is launched, from the rates that a pilot measured on this machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from scanner import cost
from scanner.atomic import write_text
from scanner.cost import Estimate, Events, Rate, Rates
from scanner.datasets import open_dataset
from scanner.datasets.files import BACKGROUND, read_index
from scanner.errors import ScannerError
from scanner.grid import Grid
from scanner.launch import load_grid
from scanner.plan import Plan, plan
from scanner.schema import Resources
from scanner.split import split_sizes
from scanner.trial import Split


def estimate(
    grid: Path | str,
    *,
    data_root: Path | None = None,
    dataset: str | None = None,
    cpus: int | None = None,
    pilot: bool = False,
) -> Estimate | None:
    """What a scan takes at most on a machine like this one; None where no rate is known.

    Args:
        grid: The grid file.
        data_root: Folder of imported datasets.
        dataset: Use this dataset in place of the grid's.
        cpus: CPUs; all that this process may use if None.
        pilot: Measure the rates now, for about 20 s, and keep them for later calls. Else those of
            an earlier pilot with this host, device and version of torch are used.

    Raises:
        ScannerError: For a wrong grid, a missing dataset, a channel without events, no GPU.
    """
    parsed = load_grid(grid, data_root, dataset)
    planned = plan(parsed)
    events = count_events(parsed, data_root)
    device = parsed.resources.device
    rates = read_rates(device)
    if pilot:
        rates = _measured(planned, events, data_root, device, rates)
    if rates is None or not planned.trials:
        return None
    workers, gpus = _workers(parsed.resources, cpus), parsed.resources.gpus_per_trial
    return cost.estimate(planned, rates, events, workers=workers, gpus_per_trial=gpus)


def count_events(grid: Grid, data_root: Path | None) -> dict[str, Events]:
    """Events of every channel of a grid after its split, from the dataset's index alone.

    Raises:
        DataError: A channel has too few background events for the split.
    """
    opened = open_dataset(grid.dataset, data_root)
    files = read_index(opened.path)["files"].values()
    return {
        channel: channel_events(
            {entry["process"]: entry["events"] for entry in files if entry["channel"] == channel},
            grid.split, channel,
        )
        for channel in grid.channels
    }  # fmt: skip


def channel_events(counts: Mapping[str, int], split: Split, channel: str) -> Events:
    """Events of one channel from the number of each of its processes."""
    train, validation, test = split_sizes(counts.get(BACKGROUND, 0), split, channel)
    signals = sum(n for process, n in counts.items() if process != BACKGROUND)
    return Events(train, validation, test + signals)


def rates_path(device: str) -> Path:
    """Where the rates of this host, device and torch are kept: in the user's cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "scanner" / f"rates-{platform.node()}-{device}-torch{version('torch')}.json"


def read_rates(device: str) -> Rates | None:
    """The rates of an earlier pilot, if there was one.

    Raises:
        ScannerError: The file is damaged.
    """
    path = rates_path(device)
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text())
        kinds = {kind: Rate(**rate) for kind, rate in raw.pop("kinds").items()}
        return Rates(**raw, kinds=kinds)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        text = f"{path}: unreadable ({error!r}); delete it and run `--pilot` again"
        raise ScannerError(text) from error


def _workers(resources: Resources, cpus: int | None) -> int:
    """Packs that run at a time on this machine; those that share a GPU count as one."""
    workers = (cpus or len(os.sched_getaffinity(0))) // resources.cpus_per_trial
    if resources.device == "cuda":
        import torch

        gpus = torch.cuda.device_count() / max(1.0, resources.gpus_per_trial)
        workers = min(workers, int(gpus))
    return max(1, workers)


def _measured(
    planned: Plan, events: Mapping[str, Events], data_root: Path | None, device: str,
    known: Rates | None,
) -> Rates:  # fmt: skip
    """New rates, with those that the same commit had for other kinds; kept for later."""
    from scanner.pilot import measure

    quickest = min(events, key=lambda channel: sum(vars(events[channel]).values()))
    rates = measure(planned, quickest, data_root, device)
    if known and known.commit == rates.commit:
        rates = replace(rates, kinds={**known.kinds, **rates.kinds})
    write_text(rates_path(device), json.dumps(asdict(rates), indent=1) + "\n")
    return rates
