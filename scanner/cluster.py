"""Connect to Ray: one of this machine's own, or a running cluster with so many nodes."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from scanner.batch import node_names
from scanner.errors import ClusterError, NodesMissing
from scanner.lock import died_here, sign

OBJECT_STORE_BYTES = 200_000_000
NODES_WAIT_S = 300.0
POLL_S = 0.2
TEMPORARY, PREFIX, OWNER = Path("/tmp"), "scanner-", "owner"  # short: sockets lie in it


@dataclass(frozen=True)
class Site:
    """The Ray to run on.

    Attributes:
        address: HOST:PORT of a running cluster; a local Ray is started if None.
        nodes: Nodes of that cluster to wait for.
        cpus: CPUs of the local Ray; all that this process may use if None.
        gpus: GPUs of the local Ray; all that it finds if None.
    """

    address: str | None = None
    nodes: int = 1
    cpus: int | None = None
    gpus: int | None = None


@contextmanager
def connected(site: Site, gpus: float, tell: Callable[[str], None]) -> Iterator[Path]:
    """A connected Ray and a scratch folder; both are gone afterwards.

    Args:
        site: Which Ray.
        gpus: GPUs of a trial: without any, a local Ray hands out none.
        tell: Called with a text while nodes are missing.

    Raises:
        ClusterError: There is no such cluster, the token is wrong, or nodes are missing.
    """
    scratch = _scratch()
    os.environ |= _environment(scratch, local=site.address is None)
    import ray

    try:
        if site.address is None:
            available = site.cpus or len(os.sched_getaffinity(0))
            ray.init(
                num_cpus=available,
                num_gpus=0 if gpus == 0 else site.gpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            _join(site.address)
            wait_for_nodes(site.nodes, ray.nodes, tell)
        yield scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def wait_for_nodes(
    wanted: int,
    nodes: Callable[[], list[dict[str, Any]]],
    tell: Callable[[str], None],
    limit_s: float = NODES_WAIT_S,
) -> None:
    """Poll until `wanted` distinct nodes are alive.

    Raises:
        NodesMissing: They are not after `limit_s`; it names those that came and those that did not.
    """
    end, told = time.monotonic() + limit_s, -1
    while len(names := _alive(nodes())) < wanted:
        if time.monotonic() > end:
            raise NodesMissing(_missing(wanted, names, limit_s))
        if len(names) != told:
            tell(f"{len(names)} of {wanted} nodes are there")
            told = len(names)
        time.sleep(POLL_S)


def refuse_small_nodes(
    slot: Mapping[str, float], nodes: Callable[[], list[dict[str, Any]]]
) -> None:
    """Refuse trials that would wait for ever.

    Raises:
        ClusterError: No living node has the `cpu` and `gpu` that a trial takes.
    """
    living = sorted((_name(n), n["Resources"].get("CPU", 0), n["Resources"].get("GPU", 0))
                    for n in nodes() if n["Alive"])  # fmt: skip
    if any(cpus >= slot["cpu"] and gpus >= slot["gpu"] for _, cpus, gpus in living):
        return
    there = "; ".join(f"{name}: {cpus:g} CPU, {gpus:g} GPU" for name, cpus, gpus in living)
    text = f"a trial takes {slot['cpu']:g} CPU and {slot['gpu']:g} GPU; no node has that ({there})"
    text += ": launch with more --cpus, ask SLURM for more (--cpus-per-task, --gpus-per-node)"
    raise ClusterError(f"{text}, or change `resources` in the grid")


def _scratch() -> Path:
    """A new scratch folder; those that killed drivers of this user left here, with a token, go."""
    for folder in TEMPORARY.glob(f"{PREFIX}????????"):
        with suppress(OSError):  # somebody else is as quick
            if folder.lstat().st_uid == os.getuid() and died_here(folder / OWNER):
                shutil.rmtree(folder)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TEMPORARY))
    sign(made / OWNER)
    return made


def _alive(nodes: list[dict[str, Any]]) -> set[str]:
    """Names of the living nodes; one that was started again is listed twice for a while."""
    return {_name(node) for node in nodes if node["Alive"]}


def _name(node: dict[str, Any]) -> str:
    """The name of a node, or its id if it has none of its own."""
    own = node.get("NodeName") not in (None, "", node["NodeManagerAddress"])
    return str(node["NodeName"] if own else node["NodeID"][:12])


def _missing(wanted: int, names: set[str], limit_s: float) -> str:
    absent = sorted(set(node_names()) - names)
    text = f"{len(names)} of {wanted} nodes joined the cluster within {limit_s:.0f} s"
    text += f" ({', '.join(sorted(names))})" if names else ""
    if len(absent) + len(names) == wanted:
        text += f"; {', '.join(absent)} did not"
    return f"{text}; see the Ray logs of the others, or launch with --nodes {max(1, len(names))}"


def _join(address: str) -> None:
    import ray

    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        raise ClusterError(f"{address}: set RAY_AUTH_TOKEN to the token of that cluster")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        text = f"{address}: cannot be joined ({why})"
        raise ClusterError(f"{text}; is it HOST:PORT of a Ray with this RAY_AUTH_TOKEN?") from error


def _environment(scratch: Path, *, local: bool) -> dict[str, str]:
    """Ray's settings, to be set before it is imported: token, loopback, silence, no files."""
    shared = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "OMP_NUM_THREADS": "1",
    }
    if not local:
        return shared
    token = scratch / "token"
    token.touch(mode=0o600)
    token.write_text(_token())
    return shared | {
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_TMPDIR": str(scratch),
    }


@lru_cache(maxsize=1)
def _token() -> str:
    """One secret per process: Ray reads it once and keeps it for every later cluster."""
    return secrets.token_hex(32)
