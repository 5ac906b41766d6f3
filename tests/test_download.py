"""The resumable download alone: what it sends, keeps and believes, with and without an ETag."""

from __future__ import annotations

import json
import random

import pytest
from zenodo import Zenodo

from scanner.datasets import download
from scanner.datasets.download import Resumable, Unreachable, get_json
from scanner.errors import DataError

SIZE = 300_000
CONTENT = random.Random(0).randbytes(SIZE)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Zenodo(CONTENT)
    yield made
    made.close()


def get(server, folder, size=SIZE, said=None):
    def progress(done, total, text):
        if said is not None:
            said.append((done, total))

    Resumable(folder / "part", size, progress)(server.file, str(folder / "whole"), None)
    assert sorted(path.name for path in folder.iterdir()) == ["whole"]
    return (folder / "whole").read_bytes()


@pytest.mark.parametrize("tag", ['"one"', 'W/"weak"', ""])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_the_bytes_are_those_of_the_server_after_any_cut(server, tmp_path, tag, size):
    server.tag, server.faults = tag, ["cut", "cut", "503", "cut"]
    said = []
    assert get(server, tmp_path, size, said) == CONTENT
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    assert said[-1] == (len(CONTENT), len(CONTENT))
    assert len(server.ranges) == 5
    assert all(server.ranges[1:])


def test_a_part_of_nobody_is_not_believed(server, tmp_path):
    (tmp_path / "part").write_bytes(b"other bytes")
    assert get(server, tmp_path) == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("state", ["{", "[]", '{"version": 1}'])
def test_a_damaged_record_of_the_part_makes_it_worthless(server, tmp_path, state):
    (tmp_path / "part").write_bytes(b"x" * 100)
    (tmp_path / "part.json").write_text(state)
    assert get(server, tmp_path) == CONTENT


def test_without_a_length_a_part_of_another_length_is_dropped(server, tmp_path):
    (tmp_path / "part").write_bytes(b"x" * 100)
    (tmp_path / "part.json").write_text(json.dumps({"version": "", "size": len(CONTENT) - 1}))
    assert get(server, tmp_path) == CONTENT
    assert server.ranges == ["bytes=100-", None]


def test_an_answer_longer_than_the_file_is_cut_and_dropped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CHUNK_BYTES", 1000)
    server.faults, said = ["too long"], []
    server.content += bytes(100_000)
    with pytest.raises(DataError, match="sent more than the 300000 bytes"):
        get(server, tmp_path, said=said)
    assert len(CONTENT) < said[-1][0] <= len(CONTENT) + 1000
    assert list(tmp_path.iterdir()) == []


def test_documents(server):
    url = f"{server.url}/api/records/3961917"
    assert get_json(url)["files"][0]["size"] == len(CONTENT)
    assert get_json(f"{server.url}/else") is None
    server.published = "{"
    assert get_json(url) is None
    server.close()
    with pytest.raises(Unreachable, match="no connection"):
        get_json(url)
