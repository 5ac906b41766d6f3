"""Nodes are counted by name, and a cluster that lacks some is one clear error."""

from __future__ import annotations

import pytest

from scanner import cluster
from scanner.cluster import Site, connected, wait_for_nodes
from scanner.errors import ClusterError


def node(key, name="10.0.0.1", alive=True):
    return {"NodeID": key * 20, "NodeName": name, "NodeManagerAddress": "10.0.0.1", "Alive": alive}


def test_nodes_are_polled_until_they_are_there(monkeypatch):
    monkeypatch.setattr(cluster, "POLL_S", 0.0)
    seen, said = [[node("a")], [node("a")], [node("a"), node("b")]], []
    wait_for_nodes(2, lambda: seen.pop(0), said.append)
    assert (seen, said) == ([], ["1 of 2 nodes are there"])


def test_a_node_that_was_started_again_counts_once_and_a_dead_one_not(monkeypatch):
    monkeypatch.setattr(cluster, "node_names", lambda: ["node1", "node2", "node3"])
    listed = [node("a", "node1"), node("b", "node2"), node("c", "node2"), node("d", alive=False)]
    with pytest.raises(ClusterError, match=r"2 of 3 nodes .* \(node1, node2\); node3 did not"):
        wait_for_nodes(3, lambda: listed, lambda text: None, limit_s=0.0)


def test_a_cluster_without_a_token_is_one_error(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ClusterError, match="set RAY_AUTH_TOKEN"),
        connected(Site("127.0.0.1:1"), 0, lambda text: None),
    ):
        pass
