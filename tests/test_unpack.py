"""Unpacking: nothing leaves the folder, whatever the archive says; too much is refused first."""

from __future__ import annotations

import io
import shutil
import tarfile

import pytest
from zenodo import TEXTS, archive

from scanner.datasets import unpack
from scanner.datasets.unpack import need_space, unpacked
from scanner.errors import DataError

EVIL = {
    "above": (("../evil.csv", tarfile.REGTYPE, ""),
              "'../evil.csv' would be written outside its folder"),
    "hidden above": (("chan3/../../evil.csv", tarfile.REGTYPE, ""),
                     "'chan3/../../evil.csv' would be written outside its folder"),
    "absolute": (("/tmp/evil.csv", tarfile.REGTYPE, ""),
                 "'/tmp/evil.csv' would be written outside its folder"),
    "link out": (("chan3/x_chan3.csv", tarfile.SYMTYPE, "/etc/passwd"),
                 "'chan3/x_chan3.csv' is a symbolic link, not a file or a folder"),
    "link inside": (("chan1", tarfile.SYMTYPE, "chan3"),
                    "'chan1' is a symbolic link, not a file or a folder"),
    "hard link": (("chan3/x_chan3.csv", tarfile.LNKTYPE, "../secret"),
                  "'chan3/x_chan3.csv' is a hard link, not a file or a folder"),
    "device": (("chan3/x_chan3.csv", tarfile.CHRTYPE, ""),
               "'chan3/x_chan3.csv' is a device, not a file or a folder"),
    "block device": (("chan3/x_chan3.csv", tarfile.BLKTYPE, ""),
                     "'chan3/x_chan3.csv' is a device, not a file or a folder"),
    "pipe": (("chan3/x_chan3.csv", tarfile.FIFOTYPE, ""),
             "'chan3/x_chan3.csv' is a pipe, not a file or a folder"),
}


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(tmp_path, content, match):
    """What `unpacked` says of an archive, which it leaves alone in its folder."""
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=match) as error, unpacked(tmp_path / "a.tar",
                                                                  tmp_path / "x" / "y"):
        pytest.fail("unpacked")
    assert tree(tmp_path) == ["a.tar"]
    return str(error.value)


def test_text_files_are_unpacked_and_go_at_the_end(tmp_path):
    texts = TEXTS | {"readme.pdf": "x", "training_files/chan3/._odd_chan3.csv": "x"}
    (tmp_path / "a.tar").write_bytes(archive(texts))
    with unpacked(tmp_path / "a.tar", tmp_path / "here") as folder:
        found = {name: (folder / name).read_text() for name in tree(folder)
                 if (folder / name).is_file()}
        assert found == TEXTS
    assert tree(tmp_path) == ["a.tar"]


def test_an_error_inside_the_block_is_passed_on_and_leaves_nothing(tmp_path):
    (tmp_path / "a.tar").write_bytes(archive())
    with pytest.raises(OSError, match="mine"), unpacked(tmp_path / "a.tar", tmp_path / "here"):
        raise OSError("mine")
    assert tree(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("name", EVIL)
def test_no_member_leaves_the_folder(tmp_path, name):
    member, fault = EVIL[name]
    text = refused(tmp_path, archive(extra=[member]), "refused")
    assert text == f"a.tar: refused, and nothing of it was written: {fault}"


def test_too_many_members_or_bytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 1)
    assert refused(tmp_path, archive(), "refused").endswith(": more than 1 members or 20 GiB")
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 1000)
    info = tarfile.TarInfo("chan3/x_chan3.csv")
    info.size = unpack.MOST_BYTES + 1
    assert "more than 1000 members" in refused(tmp_path, info.tobuf() + bytes(1024), "refused|not")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 99, archive()[:9000]])
def test_a_damaged_archive_is_one_error(tmp_path, content):
    refused(tmp_path, content, r"^a\.tar: (not a readable tar archive|cannot be unpacked) \(.*\)$")


def test_a_compressed_bomb_stops_at_the_declared_size(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("chan3/x_chan3.csv")
        info.size = 1 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    monkeypatch.setattr(unpack, "MOST_BYTES", 1 << 19)
    assert "more than" in refused(tmp_path, buffer.getvalue(), "refused")


def test_room_on_the_disk_is_looked_at_first(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path).free
    need_space(tmp_path / "not" / "yet", free // 2, "test")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9e9, 8e9, 1e9))
    with pytest.raises(DataError) as error:
        need_space(tmp_path, 3_000_000_000, "unpack a.tar")
    assert str(error.value) == (
        f"{tmp_path}: 1.0 GB are free, 3.0 GB are needed to unpack a.tar; make room, or set "
        "SCANNER_DATA to a folder on another disk")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9e9, 9e9, 10))
    refused(tmp_path, archive(), "0.0 GB are free")
