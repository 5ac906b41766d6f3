"""Nodes are counted by name, and a cluster that lacks some is one clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanner import cluster
from scanner.cluster import refuse_small_nodes, wait_for_nodes
from scanner.errors import ClusterError, NodesMissing

JOBS = Path(__file__).parents[1] / "jobs"


def node(key, name="10.0.0.1", alive=True, **resources):
    return {"NodeID": key * 20, "NodeName": name, "NodeManagerAddress": "10.0.0.1", "Alive": alive,
            "Resources": resources}  # fmt: skip


def test_nodes_are_polled_until_they_are_there(monkeypatch):
    monkeypatch.setattr(cluster, "POLL_S", 0.0)
    seen, said = [[node("a")], [node("a")], [node("a"), node("b")]], []
    wait_for_nodes(2, lambda: seen.pop(0), said.append)
    assert (seen, said) == ([], ["1 of 2 nodes are there"])


def test_a_node_that_was_started_again_counts_once_and_a_dead_one_not(monkeypatch):
    monkeypatch.setattr(cluster, "node_names", lambda: ["node1", "node2", "node3"])
    listed = [node("a", "node1"), node("b", "node2"), node("c", "node2"), node("d", alive=False)]
    with pytest.raises(NodesMissing, match=r"2 of 3 nodes .* \(node1, node2\); node3 did not"):
        wait_for_nodes(3, lambda: listed, lambda text: None, limit_s=0.0)


NODES = [node("a", "node1", CPU=4.0), node("b", "node2", CPU=1.0, GPU=2.0),
         node("c", "node3", alive=False, CPU=64.0, GPU=8.0)]  # fmt: skip


@pytest.mark.parametrize(("cpu", "gpu"), [(1, 0), (4, 0), (1, 0.25), (1, 2)])
def test_trials_that_one_node_has_room_for_are_run(cpu, gpu):
    refuse_small_nodes({"cpu": cpu, "gpu": gpu}, lambda: NODES)


@pytest.mark.parametrize(("cpu", "gpu"), [(5, 0), (2, 0.25), (1, 3)])
def test_trials_that_no_living_node_has_room_for_are_one_error(cpu, gpu):
    there = r"\(node1: 4 CPU, 0 GPU; node2: 1 CPU, 2 GPU\).*`resources`"
    with pytest.raises(ClusterError, match=f"takes {cpu} CPU and {gpu} GPU; no node .*{there}"):
        refuse_small_nodes({"cpu": cpu, "gpu": gpu}, lambda: NODES)


def test_a_cluster_without_a_token_is_one_error(tmp_path):
    """In a process of its own: a Ray imported for a cluster stays one that listens everywhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-m", "scanner", "launch", JOBS / "quickstart.yaml",
               "--address", "127.0.0.1:1", "--results", tmp_path]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, env=kept, check=False)
    assert made.returncode == 2
    assert "set RAY_AUTH_TOKEN" in made.stderr
    assert "Traceback" not in made.stderr


def test_what_a_killed_driver_left_goes_with_its_token(tmp_path, monkeypatch):
    """Never a folder of a living process, of another machine, of another name, or one unsigned."""
    monkeypatch.setattr(cluster, "TEMPORARY", tmp_path)
    own = cluster._scratch()
    signed = json.loads((own / "owner").read_text())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = {**signed, "pid": child.pid}
    owners = {"scanner-deaddead": dead, "scanner-reused00": {**signed, "started": 1},
              "scanner-far00000": {**dead, "machine": "another"}, "scanner-mine": dead,
              "scanner-unsigned": None}  # fmt: skip
    for name, owner in owners.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").touch()
        if owner:
            (tmp_path / name / "owner").write_text(json.dumps(owner))
    (tmp_path / "scanner-linked00").symlink_to(tmp_path / "scanner-mine")
    kept = {path.name for path in tmp_path.iterdir()} - {"scanner-deaddead", "scanner-reused00"}
    new = cluster._scratch()
    assert {path.name for path in tmp_path.iterdir()} == kept | {new.name}
    assert (tmp_path / "scanner-mine" / "token").exists()
