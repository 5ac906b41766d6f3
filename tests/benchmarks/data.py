"""`python -m tests.benchmarks.data [FILE]`: import and opening, beside plain ways to do them.

The genuine file, or FILE, is repeated: to 500 MB for the import, to 20 MB for it and the plain ways
(which would fill the memory with more), and to a million events for the opening. Every measurement
is a process of its own; its time begins when the packages it needs are loaded.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from .rows import Row

GENUINE = Path(__file__).parents[3] / "shared/data/monojet_Zp2000.0_DM_50.0_chan3.csv"
TOTAL_BYTES, PLAIN_BYTES, EVENTS = 500_000_000, 20_000_000, 1_000_000
MB_PER_KIB = 1.024e-3
REPORT = Path("reports/benchmarks/data.md")
CODES = {"j": 1, "b": 2, "m+": 3, "m-": 4, "e+": 5, "e-": 6, "g": 7}


def rates(source=GENUINE):
    """The rows of the import and of the opening; none where the genuine file is not here."""
    if not source.is_file():
        return []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _repeat(source, root / "text/background_chan3_1.csv", TOTAL_BYTES)
        _repeat(source, root / "plain/background_chan3_1.csv", PLAIN_BYTES)
        _repeat(source, root / "few/background_chan3_1.csv", _bytes_of(source, EVENTS))
        loop, pandas, same = (_run(name, root / "plain", root / "same")
                              for name in ("loop", "pandas", "import"))
        whole = _run("import", root / "text", root / "data")
        both = _run("import_2", root / "text", root / "data")
        _run("import", root / "few", root / "few_data")
        made = _run("open", root / "few_data")
        with _holding(root / "few_data"):
            again = _run("open", root / "few_data")
    plain = loop["mb"] / loop["cpu_s"]
    small = {"this package": same["mb"] / same["cpu_s"], "pandas": pandas["mb"] / pandas["cpu_s"]}
    events = f"{made['events']:,.0f} events"
    return [
        *(Row("import", f"{name}, 20 MB", None, rate, "MB/s of CPU", plain, rate / plain)
          for name, rate in small.items()),
        Row("import", "this package, 500 MB", None, whole["mb"] / whole["cpu_s"], "MB/s of CPU"),
        Row("import", "the same, wall", None, whole["mb"] / whole["wall_s"], "MB/s"),
        Row("import", "its peak memory", None, whole["peak_mb"], "MB"),
        Row("import", "with two processes, wall", None, both["mb"] / both["wall_s"], "MB/s"),
        Row("import", f"{events} to arrays", None, made["cpu_s"], "CPU s"),
        Row("import", "the same, wall", None, made["wall_s"], "s"),
        Row("import", "its peak memory", None, made["peak_mb"], "MB"),
        Row("import", "the arrays", None, made["mb"], "MB"),
        Row("import", "opened by another process, wall", None, again["wall_s"], "s"),
        Row("import", "its mapped pages, when all are read", None, again["mapped_mb"], "MB"),
        Row("import", "of them shared with the first process", None, again["shared_mb"], "MB"),
    ]


def measure(what, folder, root=None):
    """One measurement, in a process of its own so that its peak memory is its own."""
    folder = Path(folder)
    text = folder / "background_chan3_1.csv"
    action = _action(what, folder, text, root)
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    status = Path("/proc/self/status").read_text()  # `getrusage` counts the parent's memory too
    found["peak_mb"] = int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * MB_PER_KIB
    if text.is_file():
        return found | {"mb": text.stat().st_size / 1e6}
    tensors = [tensor for part in (result.train, result.validation, result.test["background"])
               for tensor in part]
    for tensor in tensors:
        tensor.sum()
    size = _mapped(folder)
    return found | {
        "events": sum(len(part) for part in tensors[::len(result.train)]),
        "mb": sum(tensor.nbytes for tensor in tensors) / 1e6, "mapped_mb": size["Rss"] * MB_PER_KIB,
        "shared_mb": (size["Shared_Clean"] + size["Shared_Dirty"]) * MB_PER_KIB}


def _action(what, folder, text, root):
    """What is to be timed, with everything loaded that it needs."""
    if what == "loop":
        return lambda: plain_loop(text)
    if what == "pandas":
        import pandas as pd

        return lambda: with_pandas(pd, text)
    if what.startswith("import"):
        from scanner.datasets.darkmachines import import_folder

        cpus = 2 if what.endswith("2") else 1
        return lambda: import_folder(folder, "big", Path(root), cpus=cpus)
    from scanner.channel import load_channel
    from scanner.registry import REPRESENTATIONS
    from scanner.trial import Split, variant

    every = variant(REPRESENTATIONS, "all", {})
    return lambda: load_channel("big", "3", every, False, Split(), folder, "cpu")


def _mapped(folder):
    """What the kernel says of the pages of files in `folder` that this process maps, in KiB."""
    found, inside = Counter(), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, *values = line.split()
        if not key.endswith(":"):
            inside = str(folder) in line
        elif inside and values[-1] == "kB":
            found[key.rstrip(":")] += int(values[0])
    return found


def plain_loop(path):
    """Events as lists of floats, with Python's csv module."""
    events = []
    with path.open(newline="") as stream:
        for event_id, process, weight, met, met_phi, *objects in csv.reader(stream, delimiter=";"):
            made = []
            for text in objects:
                if text:
                    code, energy, pt, eta, phi = text.split(",")
                    made.append((CODES[code], float(energy) / 1000, float(pt) / 1000, float(eta),
                                 float(phi)))
            made.sort(key=lambda o: (o[0], -o[2]))
            events.append((event_id, process, float(weight), float(met) / 1000, float(met_phi),
                           made))
    return events


def with_pandas(pd, path):
    """A frame of events and one of objects, with pandas' own splitting and conversion."""
    lines = pd.Series(path.read_text().splitlines())
    fields = lines.str.rstrip(";").str.split(";", n=5, expand=True)
    events = fields[[2, 3, 4]].astype(float)
    objects = fields[5].str.split(";").explode().str.split(",", expand=True)
    kinds = objects[0].map(CODES)
    numbers = objects[[1, 2, 3, 4]].astype(float)
    numbers[[1, 2]] /= 1000
    order = pd.DataFrame({"event": numbers.index, "kind": kinds, "pt": -numbers[2]})
    numbers = numbers.iloc[order.reset_index(drop=True).sort_values(["event", "kind", "pt"]).index]
    return fields[[0, 1]], events, kinds, numbers


def _repeat(source, target, size):
    target.parent.mkdir()
    text = source.read_bytes()
    with target.open("wb") as stream:
        for _ in range(-(-size // len(text))):
            stream.write(text)


def _bytes_of(source, events):
    text = source.read_bytes()
    return -(-events // text.count(b"\n")) * len(text)


COMMAND = [sys.executable, "-m", "tests.benchmarks.data", "measure"]


def _run(*words):
    out = subprocess.run([*COMMAND, *map(str, words)], check=True, capture_output=True,
                         text=True).stdout  # fmt: skip
    return _read(out.splitlines())


def _read(lines):
    return {key: float(value) for key, value in (line.split() for line in lines)}


@contextmanager
def _holding(folder):
    """Another process that has the arrays open, and every page of them in memory."""
    with subprocess.Popen([*COMMAND, "hold", str(folder)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:  # fmt: skip
        _read([other.stdout.readline()])  # it is ready, or else this fails
        yield


def main():
    """Measure and write the report, or make one measurement for it."""
    if sys.argv[1:2] == ["measure"]:
        print("\n".join(f"{k} {v}" for k, v in measure(*sys.argv[2:]).items()), flush=True)
        if sys.argv[2] == "hold":
            sys.stdin.read()
        return
    from scanner.atomic import write_text

    from .machine import head
    from .rows import long

    command = {"command": " ".join(["python -m tests.benchmarks.data", *sys.argv[1:]])}
    facts = "\n".join(f"* {key}: {value}" for key, value in (head("cpu") | command).items())
    text = f"# Import and opening\n\n{facts}\n\n{long(rates(*map(Path, sys.argv[1:])))}\n"
    write_text(REPORT, text)
    print(text)


if __name__ == "__main__":
    main()
