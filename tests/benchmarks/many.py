"""The report of 10,000 made-up trials on 34 pairs with 3 scores: the first one, and a later one.

`python -m tests.benchmarks.many FOLDER OUT` makes one report and prints what it took: a process of
its own, so that its memory is its own too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

from .rows import Row

TRIALS = 10_000
STAGES = {
    "read_pool": "reading", "origins.read_sources": "provenance", "rank": "rankings",
    "planned": "choice of figures", "uncertainty": "intervals, stability, undecided pairs",
    "rendered": "figures: PNG, PDF and SVG", "sections": "sections of the page",
    "to_csv": "CSV", "efficiency_intervals": "binomial intervals", "write_rows": "Parquet",
    "origins.files": "commands and references",
}  # fmt: skip


def report_rows():
    """The first report reads a file per trial, a later one the copy of them that the first wrote.

    CPU seconds are those of all threads.
    """
    sys.path.insert(0, str(Path(__file__).parents[1]))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "benchmark"
        import_module("fake_results").write_many(folder, TRIALS)
        for which in ("first", "later"):
            command = [sys.executable, "-m", __name__, folder, Path(scratch) / which]
            made = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(made.stdout)
            rows += [Row("report", f"{which}{name}", None, value, unit)
                     for name, value, unit in found]  # fmt: skip
    return rows


def main():
    """Make a report with clocks around its parts; print (name, value, unit) of each as JSON."""
    started, before = time.perf_counter(), time.process_time()
    module, spent = import_module("scanner.report"), Counter()
    for name, stage in STAGES.items():
        owner, _, attribute = name.rpartition(".")
        place = getattr(module, owner) if owner else module
        setattr(place, attribute, _clocked(spent, stage, getattr(place, attribute)))
    module.report(sys.argv[1:2], Path(sys.argv[2]))
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - before
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    spent["imports, page and the rest"] = cpu_s - spent.total()
    found = [(" report", wall_s, "s"), (" report", cpu_s, "CPU s"),
             (" report: highest memory", memory_gb, "GB"),
             *((f" report: {stage}", s, "CPU s") for stage, s in spent.most_common())]  # fmt: skip
    print(json.dumps(found))


def _clocked(spent, stage, function):
    def wrapper(*arguments, **options):
        before = time.process_time()
        result = function(*arguments, **options)
        result = list(result) if stage.startswith("figures") else result  # a generator
        spent[stage] += time.process_time() - before
        return result

    return wrapper


if __name__ == "__main__":
    main()
