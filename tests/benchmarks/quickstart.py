"""Where the wall time of the quickstart goes: a real launch with clocks around its parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import scanner

from .rows import Row

GRID = Path(__file__).parents[2] / "jobs" / "quickstart.yaml"
STAGES = {
    "reading, encoding, scaling": ("scanner.channel", "load_channel"),
    "controls": ("scanner.run", "_write_controls"),
    "training": ("scanner.packing", "fit"),
    "scoring": ("scanner.run", "score_inputs"),
    "metrics": ("scanner.run", "_rows"),
    "files": ("scanner.store", "write_atomic"),
}


def quickstart_rows(grid=GRID):
    """Launch the quickstart with as many workers as there are CPUs, and make its report.

    Wall seconds of a worker's stage are summed over the workers.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, clocks = Path(scratch) / "quickstart", Path(scratch) / "clocks"
        clocks.mkdir()
        imports_s = _imports()
        started = time.time()
        with patch("scanner.launch.run_task", _clocked(str(clocks))):
            scanner.launch(grid, folder)
        ended = time.time()
        scanner.report([folder], Path(scratch) / "report")
        report_s = time.time() - ended
        jobs = [json.loads(path.read_text()) for path in clocks.iterdir()]
    return _table(jobs, started, ended, imports_s, report_s)


def _clocked(clocks):
    """The Tune trainable with clocks, which a worker gets by value."""
    stages = dict(STAGES)

    def job(task, jobs, place):
        import importlib
        import json
        import os
        import time
        import uuid
        from pathlib import Path

        first = "scanner.run" not in __import__("sys").modules
        begun, cpu = time.time(), time.process_time()
        from scanner.launch import run_task

        importlib.import_module("scanner.run")
        importlib.import_module("scanner.search")
        spent = {"imports of a worker": [time.time() - begun, time.process_time() - cpu]}
        running = []

        def clocked(name, function):
            def wrapper(*arguments, **options):
                before = time.time(), time.process_time()
                running.append([0.0, 0.0])
                try:
                    return function(*arguments, **options)
                finally:
                    inner = running.pop()
                    taken = time.time() - before[0], time.process_time() - before[1]
                    own = spent.setdefault(name, [0.0, 0.0])
                    for i in (0, 1):
                        own[i] += taken[i] - inner[i]
                        if running:
                            running[-1][i] += taken[i]
            return wrapper

        replaced = []
        for name, (module, attribute) in stages.items():
            owner = importlib.import_module(module)
            replaced.append((owner, attribute, getattr(owner, attribute)))
            setattr(owner, attribute, clocked(name, getattr(owner, attribute)))
        try:
            outcome = clocked("the rest of a pack", run_task)(task, jobs, place)
        finally:
            for owner, attribute, function in replaced:
                setattr(owner, attribute, function)
        record = {"pid": os.getpid(), "first": first, "begun": begun, "ended": time.time(),
                  "spent": spent}
        Path(clocks, uuid.uuid4().hex).write_text(json.dumps(record))
        return outcome

    return job


def _imports():
    """Wall seconds of a process that imports what `scanner launch` does."""
    started = time.time()
    code = "import scanner.cli, ray.tune"
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.time() - started


def _table(jobs, started, ended, imports_s, report_s):
    wall, cpu = Counter(), Counter()
    for record in jobs:
        for name, (wall_s, cpu_s) in record["spent"].items():
            wall[name] += wall_s
            cpu[name] += cpu_s
    begun, last = min(job["begun"] for job in jobs), max(job["ended"] for job in jobs)
    workers = len({job["pid"] for job in jobs})
    idle_s = workers * (last - begun) - sum(job["ended"] - job["begun"] for job in jobs)
    rows = [("imports of the command", imports_s), ("start of Ray", begun - started)]
    rows += [(f"{workers} workers: {name}", seconds) for name, seconds in wall.most_common()]
    rows += [(f"{workers} workers: waiting", idle_s), ("end of Ray", ended - last),
             ("launch as a whole", ended - started + imports_s), ("report", report_s)]
    made = [Row("quickstart", name, None, value, "s") for name, value in rows]
    return made + [Row("quickstart", f"{workers} workers: {name}", None, seconds, "CPU s")
                   for name, seconds in cpu.most_common()]  # fmt: skip
