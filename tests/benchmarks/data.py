"""`python -m tests.benchmarks.data [FILE]`: import and opening, beside plain ways to do them.

The genuine file, or FILE, is repeated to 500 MB. Every figure is of one core and in CPU seconds of
this process, which other work on the machine disturbs less than wall time; both are written.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from .rows import Row

GENUINE = Path(__file__).parents[3] / "shared/data/monojet_Zp2000.0_DM_50.0_chan3.csv"
TOTAL_BYTES, PLAIN_BYTES, EVENTS = 500_000_000, 20_000_000, 1_000_000
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
        plain = [_run(name, root / "plain") for name in ("loop", "pandas")]
        whole = _run("import", root / "text", root / "data")
        both = _run("import_2", root / "text", root / "data")
        _run("import", root / "few", root / "few_data")
        made, opened = (_run("open", root / "few_data") for _ in range(2))
    loop, pandas = (row["mb"] / row["cpu_s"] for row in plain)
    rate, events = whole["mb"] / whole["cpu_s"], made["events"]
    return [
        Row("import", "this package", None, rate, "MB/s of CPU", loop, rate / loop),
        Row("import", "this package, wall", None, whole["mb"] / whole["wall_s"], "MB/s"),
        Row("import", "pandas", None, pandas, "MB/s of CPU", loop, pandas / loop),
        Row("import", "peak memory", None, whole["peak_mb"], "MB"),
        Row("import", "two processes, wall", None, both["mb"] / both["wall_s"], "MB/s"),
        Row("import", f"{events:,.0f} events to arrays", None, made["cpu_s"], "CPU s"),
        Row("import", f"{events:,.0f} events to arrays, wall", None, made["wall_s"], "s"),
        Row("import", "its peak memory", None, made["peak_mb"], "MB"),
        Row("import", "the arrays", None, made["mb"], "MB"),
        Row("import", "arrays opened again, wall", None, opened["wall_s"], "s"),
        Row("import", "anonymous memory after that", None, opened["private_mb"], "MB"),
    ]


def measure(what, folder, root=None):
    """One measurement, in a process of its own so that its peak memory is its own."""
    wall, cpu = time.perf_counter(), time.process_time()
    text = Path(folder) / "background_chan3_1.csv"
    found = {}
    if what == "loop":
        plain_loop(text)
    elif what == "pandas":
        with_pandas(text)
    elif what.startswith("import"):
        from scanner import import_folder

        import_folder(Path(folder), "big", Path(root), cpus=2 if what.endswith("2") else 1)
    else:
        from scanner.channel import load_channel
        from scanner.registry import REPRESENTATIONS
        from scanner.trial import Split, variant

        wall, cpu = time.perf_counter(), time.process_time()  # a start of Python is no opening
        data = load_channel("big", "3", variant(REPRESENTATIONS, "all", {}), False, Split(),
                            Path(folder), "cpu")
        parts = [data.train, data.validation, data.test["background"]]
        found = {"events": sum(len(part.objects) for part in parts),
                 "mb": sum(t.numel() * 4 for part in parts for t in part) / 1e6}
    found |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    if text.is_file():
        found["mb"] = text.stat().st_size / 1e6
    kb = {line.split(":")[0]: line.split()[1] for line in Path("/proc/self/status").read_text()
          .splitlines() if " kB" in line}
    return found | {"peak_mb": int(kb["VmHWM"]) / 1e3, "private_mb": int(kb["RssAnon"]) / 1e3}


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


def with_pandas(path):
    """A frame of events and one of objects, with pandas' own splitting and conversion."""
    import pandas as pd

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
    return int(events / text.count(b"\n") * len(text)) - len(text)


def _run(*words):
    command = [sys.executable, "-m", "tests.benchmarks.data", "measure", *map(str, words)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {key: float(value) for key, value in (line.split() for line in out.splitlines())}


def main():
    """Measure and write the report, or make one measurement for it."""
    if sys.argv[1:2] == ["measure"]:
        print("\n".join(f"{k} {v}" for k, v in measure(*sys.argv[2:]).items()))
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
