"""Files are complete or absent, and the first of several writers wins where it should."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from scanner.atomic import write_atomic, write_text
from scanner.errors import ResultError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def stops(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ResultError, match="No space left on device"):
        write_atomic(path, stops)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="--results"):
        write_text(tmp_path / "file" / "a.txt", "x")


def no_links(source, target):
    raise PermissionError(1, "Operation not permitted", source)


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_file_that_is_kept_is_never_replaced(tmp_path, monkeypatch, link):
    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "a.txt"
    written = [write_atomic(path, lambda new, k=k: new.write_text(str(k)), keep=True)
               for k in range(2)]  # fmt: skip
    assert written == [True, False]
    assert path.read_text() == "0"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("keep", [True, False])
def test_of_writers_at_once_one_leaves_its_whole_file(tmp_path, keep):
    path, together = tmp_path / "a.txt", Barrier(8)

    def write(k):
        def slowly(new):
            new.write_text(str(k) * 500)
            together.wait(60)
            new.write_text(str(k) * 1000)

        return write_atomic(path, slowly, keep=keep)

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(write, range(8)))
    text = path.read_text()
    assert text == text[0] * 1000
    assert written == [k == int(text[0]) or not keep for k in range(8)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
