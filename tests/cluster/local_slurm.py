"""A real SLURM of two virtual nodes on this machine, and what tests ask of its jobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psutil

SCRIPT = Path(__file__).parents[2] / "slurm" / "ray_cluster.sh"
LOCAL = Path(__file__).with_name("slurm_local.sh")
LIMIT_S = 600  # of an event on a crowded machine; a quiet one takes a tenth


@contextmanager
def local_slurm() -> Iterator[Slurm]:
    """A running SLURM; its daemons and its folder are gone afterwards.

    Raises:
        RuntimeError: It cannot be installed or started here; the text says why.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))
    try:
        said = subprocess.run([LOCAL, "up", folder], capture_output=True, text=True, check=False)
        if said.returncode:
            raise RuntimeError(said.stderr.strip())
        yield Slurm(folder)
    finally:
        subprocess.run([LOCAL, "down", folder], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", folder], check=True)


def wait_for(event: Callable[[], object], what: str) -> object:
    """The first true value of `event`."""
    end = time.monotonic() + LIMIT_S
    while not (value := event()):
        assert time.monotonic() < end, f"no {what} within {LIMIT_S} s"
        time.sleep(0.2)
    return value


class Slurm:
    """Commands of one SLURM, and the processes of its jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = ("SLURM_", "SCANNER_", "RAY_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        # the commands of this python; a dead node is seen within seconds, as on an idle machine
        self.environment = kept | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(SCRIPT.parents[1]),
            "OMP_NUM_THREADS": "1",
            "SCANNER_NODE_TMP": str(folder),
            "SPT_NOENV": "1",  # else Ray's titles overwrite the variables that `processes` reads
            "RAY_health_check_initial_delay_ms": "3000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "3000",
        }

    def __call__(self, *command: str | Path) -> str:
        """What a command of SLURM says."""
        said = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, check=False
        )
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    def sbatch(self, *arguments: str | Path, cwd: Path, **variables: str) -> Job:
        """Submit the script: options of sbatch, the script, its arguments."""
        said = subprocess.run(
            ["sbatch", "--parsable", *arguments], capture_output=True, text=True, cwd=cwd,
            env=self.environment | variables, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        return Job(self, said.stdout.strip(), cwd)

    def orphans(self, job: Job) -> list[str]:
        """What a job has left behind."""
        lines = (self.folder / "orphans.log").read_text().splitlines()
        return [line for line in lines if line.startswith(f"job {job.id} ")]


class Job:
    """A submitted job (or array task); `name` is its id as SLURM's commands take it."""

    def __init__(self, slurm: Slurm, name: str, cwd: Path) -> None:
        self.slurm, self.name, self.cwd = slurm, name, cwd

    def field(self, name: str) -> str:
        """A field of `scontrol show job`, such as JobState, ExitCode, Restarts."""
        words = self.slurm("scontrol", "show", "job", self.name).split()
        return next(word for word in words if word.startswith(f"{name}=")).partition("=")[2]

    @cached_property
    def id(self) -> str:
        """The task's own id, which differs from its name in an array."""
        return self.field("JobId")

    def log(self) -> str:
        """What the job has said so far; empty before its first word."""
        path = Path(self.field("StdOut"))
        return path.read_text() if path.exists() else ""

    def wait_for(self, event: Callable[[], object], what: str) -> object:
        """The first true value of `event`; a failure shows what the job has said."""
        try:
            return wait_for(event, what)
        except AssertionError as error:
            state = self.field("JobState")
            raise AssertionError(f"{error}; job {self.name} is {state}\n{self.log()}") from error

    def wait(self) -> str:
        """The job's last state, once it has one."""
        running = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED")
        self.wait_for(lambda: self.field("JobState") not in running, "end")
        return self.field("JobState")

    def processes(self, node: str = "") -> list[psutil.Process]:
        """Every process of the job's steps and of its batch script (on one node only)."""
        mine = f"SLURM_CONF={self.slurm.environment['SLURM_CONF']}"
        wanted = {mine, f"SLURM_JOB_ID={self.id}"}
        if node:
            wanted.add(f"SLURMD_NODENAME={node}")
        return [process for process in psutil.process_iter() if wanted <= _environment(process)]

    def ray(self, name: str, node: str) -> psutil.Process | None:
        """The raylet or gcs_server of the job on a node."""
        return next((p for p in self.processes(node) if name_of(p) == name), None)

    def workers(self, node: str) -> list[psutil.Process]:
        """Processes that train on a node."""
        raylet = self.ray("raylet", node)
        try:
            started = raylet.children(recursive=True) if raylet else []
        except psutil.NoSuchProcess:
            started = []
        return [p for p in started if re.match("ray::(?!IDLE|.*Agent)", title_of(p))]

    def driver(self) -> psutil.Process | None:
        """The process of `scanner launch`."""
        return next((p for p in self.processes() if "launch --" in title_of(p)
                     or "/scanner launch" in title_of(p)), None)  # fmt: skip

    def address(self) -> str:
        """The cluster's address, as the head of Ray wrote it."""
        (file,) = self.slurm.folder.glob(f"scan.{self.id}.*.0.0/ray_current_cluster")
        return file.read_text()

    def left(self) -> list[Path]:
        """Temporary folders of the job."""
        return list(self.slurm.folder.glob(f"scan.{self.id}.*"))


def _environment(process: psutil.Process) -> set[str]:
    try:
        return set(Path(f"/proc/{process.pid}/environ").read_text(errors="replace").split("\0"))
    except OSError:
        return set()


def name_of(process: psutil.Process) -> str:
    """The name of a process, empty once it has ended."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def title_of(process: psutil.Process) -> str:
    """Its command line, empty once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
