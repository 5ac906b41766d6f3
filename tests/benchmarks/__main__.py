"""`python -m tests.benchmarks`: measure, print tables, write reports/benchmarks/<device>.*."""

from __future__ import annotations

import argparse
import os
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch

from scanner.atomic import write_text
from scanner.registry import ARCHITECTURES, FLOWS

from . import rows as tables
from .machine import head
from .many import report_rows
from .quickstart import quickstart_rows
from .roofline import ceilings, roofline_row
from .training import parameters_of, points, published_shape, training_rows
from .whole import launch_rows

PARTS = ("training", "scoring", "report", "launch", "import", "quickstart", "roofline")
PACKS = {"cpu": [1, 5, 15, 60], "cuda": [1, 15, 60, 240]}
NOTE = {
    "training": "Events/s of training, batch 32, summed over the pack; in brackets the multiple of "
                "the plain loop, measured in the same minutes (median of interleaved repeats).",
    "scoring": "Events/s of scoring one model with every registered score; the plain loop makes "
               "reconstruction, KL and R_z only.",
    "report": "10,000 made-up trials on 34 (channel, signal) pairs, 3 scores: the first report, "
              "and a later one, which reads a copy of the trials. Goal: 60 s and 2 GB.",
    "launch": "Seconds of a launch besides its packs: one CPU, packs that do nothing.",
    "import": "Reading events.",
    "quickstart": "Where the wall time of jobs/quickstart.yaml goes; that of workers is summed.",
    "roofline": "Operations and bytes of a training step, counted by hand, against what the device "
                "reaches in a big product and a big copy (float32).",
}  # fmt: skip


def main():
    """Run the benchmarks that the command line names."""
    options = _options()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Using padding='same'")
    facts = head(options.device)
    print("\n".join(f"{key}: {value}" for key, value in facts.items()), flush=True)
    found = []
    for part in _measured(options):
        found += part
    sections = _sections(found) or ["nothing was measured"]
    text = "\n\n".join(["# Benchmarks", _listed(facts), *sections]) + "\n"
    print("\n\n".join(["", *sections]))
    folder = options.out or (None if options.only else Path("reports/benchmarks"))
    if folder:
        write_text(folder / f"{options.device}.md", text)
        write_text(folder / f"{options.device}.csv", tables.to_csv(found, facts))
        print(f"Written: {folder / options.device}.md, .csv")


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    words = sorted({*PARTS, *ARCHITECTURES, *FLOWS, "conv_vae[padding=valid]"})
    parser.add_argument("--only", nargs="+", default=[], choices=words, metavar="WORD",
                        help=f"parts, architectures or flows: {', '.join(words)}")
    parser.add_argument("--packs", nargs="+", type=int, help="pack sizes, rising")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of one repeat (0.3)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats, of which the median (3)")
    parser.add_argument("--device", choices=sorted(PACKS), default="cpu")
    parser.add_argument("--out", type=Path, help="folder of the results (reports/benchmarks for a "
                        "whole run, else none)")
    options = parser.parse_args()
    if options.device == "cpu" and not options.only:
        print("roofline: skipped, it is of a GPU (--device cuda, or --only roofline)")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no GPU here, or a torch without CUDA; nothing was measured")
    options.packs = sorted(options.packs or PACKS[options.device])
    return options


def _measured(options):
    """The rows of each part, as they come; the training tables are also told line by line."""
    only = set(options.only)
    asked = only & set(PARTS) or ({"training", "scoring"} if only else set(PARTS))
    asked -= {"quickstart"} - only  # minutes: only by its name
    if options.device == "cpu":
        asked -= {"roofline"} - only  # the question is of a GPU's
    limits = ceilings(options.device) if "roofline" in asked else None
    if limits:
        yield [tables.Row("roofline", "ceiling: product", None, limits[0] / 1e12, "Tflop/s"),
               tables.Row("roofline", "ceiling: copy", None, limits[1] / 1e9, "GB/s")]
    if asked & {"training", "scoring", "roofline"}:
        packs = options.packs if asked & {"training", "roofline"} else []
        with published_shape():
            for point in points(only - set(PARTS)):
                made = training_rows(point, packs, options.seconds, options.repeats,
                                     options.device, "scoring" in asked)
                for row in made:
                    size = f" x{row.size}" if row.part == "training" else ""
                    print(f"{row.part} {row.name}{size}: {tables.shown(row.value)} {row.unit}, "
                          f"{row.ratio:.3g} x the plain loop", flush=True)
                yield made
                if limits:
                    yield _rooflines(point, made, limits)
    if "report" in asked:
        yield report_rows()
    if "launch" in asked:
        yield launch_rows()
    if "import" in asked and find_spec(".data", __package__):
        yield list(import_module(".data", __package__).rates())
    if "quickstart" in asked:
        yield quickstart_rows()


def _rooflines(point, rows, limits):
    shares = (roofline_row(point, point.shape(), row, parameters_of(point), limits)
              for row in rows if row.part == "training")  # fmt: skip
    return [share for share in shares if share]


def _sections(found):
    parts = []
    for part in PARTS:
        rows = [row for row in found if row.part == part]
        if rows:
            table = tables.wide(rows) if part == "training" else tables.long(rows)
            parts += [f"## {part.capitalize()}\n\n{NOTE[part]}", table]
    return parts


def _listed(facts):
    return "\n".join(f"* {key}: {value}" for key, value in facts.items())


if __name__ == "__main__":
    main()
