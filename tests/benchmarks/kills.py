"""One scan through many deaths: `python -m tests.benchmarks.kills --kills 100`.

Workers, raylets (with their node) and the driver are killed with SIGKILL at random moments, drawn
from a seed; a dead driver is started again, a dead node is replaced. The ranking must be that of an
undisturbed run, byte by byte. All of it runs on the loopback interface of one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import psutil

NODES = 2  # beside the head, which runs no worker
GRID = """\
name: kills
dataset: sample
channels: ["3"]
grid:
  representation: [all]
  architecture: [deepset_vae]
  hlf: [false]
  beta: [0.5, 0.1]
  score: [reconstruction, kl, rz]
  flow: [none]
  seed: [SEEDS]
training: {max_epochs: EPOCHS, patience: 1000, learning_rate: 1.0e-3}
resources: {pack: 2, checkpoint_s: 1}
"""
DRIVE = "from tests.benchmarks.kills import drive; import sys; drive(*sys.argv[1:])"
SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
    "RAY_health_check_initial_delay_ms": "5000", "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000", "RAY_health_check_failure_threshold": "3",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}  # fmt: skip
LIMIT_S = 1500.0


@dataclass(frozen=True)
class Figures:
    """What a scan went through.

    Attributes:
        seed: Of the moments and the victims.
        kills: Kills of each kind.
        trials: Trials of the scan, all of them done.
        written: How often a trial's result was written, at most; 1 if none was trained twice.
        needed: Epochs of packs that an undisturbed run trains.
        trained: Epochs of packs that were begun and ended in all.
        wall_s: Seconds from the first driver's start to the last one's end.
        same: Whether the ranking is that of an undisturbed run, byte by byte.
    """

    seed: int
    kills: dict[str, int]
    trials: int
    written: int
    needed: int
    trained: int
    wall_s: float
    same: bool


def drive(grid: str, results: str, address: str, note: str) -> None:
    """A driver whose workers write down every epoch and every result."""
    from scanner import cli

    import_module("scanner.launch").run_task = partial(noted_task, note=note)
    sys.argv = ["scanner", "launch", grid, "--results", results, "--address", address,
                "--nodes", str(NODES)]  # fmt: skip
    cli.main()


def noted_task(task, jobs, place, note):
    """`scanner.launch.run_task` for packs, with a line for each epoch and each written trial."""
    from scanner import run
    from scanner.backlog import part_of

    write_trial = noted_task.__dict__.setdefault("write_trial", run.write_trial)

    def written(result, *rest):
        write_trial(result, *rest)
        _note(note, f"written {result.trial.id}")

    run.write_trial = written
    return run.run_pack(part_of(jobs[task.job], task), place,
                        lambda epoch, _: _note(note, f"epoch {epoch}"))  # fmt: skip


def survive(folder: Path, kills: int, seed: int, seeds: int = 16, epochs: int = 60) -> Figures:
    """Run a scan under kills and one without, and compare them."""
    from ray.cluster_utils import Cluster

    grid, note = folder / "grid.yaml", folder / "note"
    listed = ", ".join(map(str, range(seeds)))
    grid.write_text(GRID.replace("SEEDS", listed).replace("EPOCHS", str(epochs)))
    note.touch()
    done = Counter[str]()
    options = {"node_ip_address": "127.0.0.1", "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1, **options) for _ in range(NODES)]
        command = [sys.executable, "-c", DRIVE, str(grid), str(folder / "killed"), cluster.address]
        began = time.monotonic()
        chance = random.Random(seed)
        driver = _start([*command, str(note)], folder)
        _wait(note, driver, 1, LIMIT_S)
        start_s = time.monotonic() - began
        while sum(done.values()) < kills:
            _wait(note, driver, chance.randint(1, 8), chance.uniform(0, 3 * start_s))
            time.sleep(chance.uniform(0, 0.5))
            for dead in [node for node in nodes if not node.remaining_processes_alive()]:
                nodes[nodes.index(dead)] = cluster.add_node(num_cpus=1, **options)
            kind = chance.choices(("worker", "raylet", "driver"), (6, 2, 2))[0]
            if driver.poll() == 0:
                raise RuntimeError(f"the scan was over after {sum(done.values())} kills")
            if kind == "worker" and not _kill_worker(chance):
                continue
            if kind == "raylet":
                victim = nodes.pop(chance.randrange(len(nodes)))
                cluster.remove_node(victim, allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1, **options))
            if kind == "driver":
                driver.kill()
                driver.wait()
            if driver.poll() is not None:
                driver = _start([*command, str(note)], folder)
            done[kind] += 1
        code = driver.wait(LIMIT_S)
        wall_s = time.monotonic() - began
    finally:
        cluster.shutdown()
    if code:
        raise RuntimeError(f"the driver ended with {code}; see {folder / 'driver.log'}")
    lines = note.read_text().splitlines()
    written = Counter(line for line in lines if line.startswith("written"))
    return Figures(
        seed=seed, kills=dict(done), trials=len(written), written=max(written.values()),
        needed=seeds * epochs, trained=sum(line.startswith("epoch") for line in lines),
        wall_s=wall_s, same=_ranking(folder, "killed") == _undisturbed(folder, grid),
    )  # fmt: skip


def _undisturbed(folder: Path, grid: Path) -> bytes:
    """The ranking of a run in this process, without Ray."""
    from scanner import store
    from scanner.launch import load_grid
    from scanner.place import Place
    from scanner.plan import plan
    from scanner.run import run_pack

    parsed, results = load_grid(grid), folder / "undisturbed"
    store.write_scan(results, store.read_scan(folder / "killed"))
    for pack in plan(parsed).packs:
        run_pack(pack, Place(results))
    return _ranking(folder, "undisturbed")


def _ranking(folder: Path, name: str) -> bytes:
    import scanner

    scanner.report([folder / name], folder / f"report-{name}")
    return (folder / f"report-{name}" / "ranking.csv").read_bytes()


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "driver.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _wait(note: Path, driver: subprocess.Popen[bytes], epochs: int, most_s: float) -> None:
    """Until so many epochs were trained, so many seconds are over, or the driver has ended."""
    end = time.monotonic() + most_s
    enough = note.stat().st_size + epochs * len("epoch 10\n")
    while note.stat().st_size < enough and time.monotonic() < end and driver.poll() is None:
        time.sleep(0.05)


def _kill_worker(chance: random.Random) -> bool:
    """Kill a process that trains, or is about to, if there is one."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        try:
            if re.match("ray::(?!IDLE|.*Agent)", process.cmdline()[0]):  # an agent is its raylet's
                workers.append(process)
        except (psutil.Error, IndexError):
            continue
    if workers:
        os.kill(chance.choice(workers).pid, signal.SIGKILL)
    return bool(workers)


def _note(path: str, line: str) -> None:
    with Path(path).open("a") as file:  # one short write: lines of several processes do not mix
        file.write(f"{line}\n")


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="a new one")
    options = vars(parser.parse_args())
    folder = options.pop("folder") or Path(tempfile.mkdtemp(prefix="kills-")) / "scan"
    folder.mkdir(parents=True)
    root = str(Path(__file__).parents[2])
    os.environ |= SETTINGS | {
        "RAY_AUTH_TOKEN": secrets.token_hex(24),
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }
    print(json.dumps(asdict(survive(folder, **options))))


if __name__ == "__main__":
    main()
