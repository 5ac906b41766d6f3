"""Fetching: every fault of network, server and archive, what the user reads, what is left."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from functools import partial

import pytest
from zenodo import LINE, TEXTS, Zenodo, archive

import scanner
from scanner.datasets import download, open_dataset, read
from scanner.errors import DataError, DiskError

PART, STATE = "training_files.tar.part", "training_files.tar.part.json"
KEPT = {PART, STATE, "lock"}
BY_HAND = ("By hand: fetch {file} where there is a network, bring training_files.tar here, then: "
           "mkdir texts && tar -xf training_files.tar -C texts && scanner data import "
           "texts/training_files --name darkmachines")
DELETED = (". The download is deleted, because no published checksum vouches for it; the same "
           "command fetches it again")
AGAIN = "; nothing is kept. The same command tries again"


@pytest.fixture
def server(monkeypatch):
    """A server with a whole archive; no pause between attempts, no proxy."""
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Zenodo(archive())
    yield made
    made.close()


def left(root):
    """Names of the files in the download folder, which is alone in the root."""
    folder = root / ".darkmachines.fetch"
    assert [path.name for path in root.iterdir()] == [folder.name]
    return {path.name for path in folder.iterdir()}


def fetch(server, root, said=None):
    progress = (lambda done, total, text: said.append((done, total, text))) if said is not None \
        else None
    return scanner.fetch("darkmachines", root, server=server.url, progress=progress)


def complete(server, root, ranges):
    """A second call makes the dataset, with these Range headers, and leaves nothing else."""
    before = len(server.ranges)
    made = fetch(server, root)
    assert server.ranges[before:] == ranges
    assert len(read(made.dataset, "3", "background")) == 3000
    assert [path.name for path in root.iterdir()] == ["darkmachines"]
    assert made.origin["sha256"] == hashlib.sha256(server.content).hexdigest()


def test_a_fetched_dataset_says_where_it_came_from(server, tmp_path):
    said = []
    made = fetch(server, tmp_path, said)
    size, digest = len(server.content), hashlib.sha256(server.content).hexdigest()
    checksum = "md5:" + hashlib.md5(server.content).hexdigest()
    assert made.dataset.channels == {"3": ("stlp_st1000",)}
    assert said[0][1:] == (size, f"downloading {server.file}")
    assert (size, size, f"downloading {server.file}") in said
    index = json.loads((made.dataset.path / "dataset.json").read_text())
    assert index["origin"] == made.origin == {
        "doi": "10.5281/zenodo.3961917", "url": server.file, "archive": "training_files.tar",
        "bytes": size, "sha256": digest, "published_checksum": checksum}
    assert made.text.endswith(
        f"training_files.tar: {size} bytes, agrees with the published checksum {checksum}\n"
        "Cite 10.5281/zenodo.3961917 and arXiv:2105.14027")
    assert open_dataset("darkmachines", tmp_path) == made.dataset
    assert f"fetched from {server.file}, sha256 {digest}, published checksum: {checksum}" in (
        scanner.inspect("darkmachines", tmp_path).text)
    requests = len(server.ranges)
    again = fetch(server, tmp_path)
    assert again.text == (f"dataset darkmachines: there already, in {tmp_path / 'darkmachines'}; "
                          "to fetch it again, delete that folder")
    assert len(server.ranges) == requests


@pytest.mark.parametrize("answer", [None, "not JSON", '{"files": [{"key": "other.tar"}]}', "[]",
                                    '{"files": [{"key": "training_files.tar", "checksum": "?"}]}'])
def test_a_checksum_that_is_not_published_is_computed_and_said(server, tmp_path, answer):
    server.published = answer
    made = fetch(server, tmp_path)
    digest = hashlib.sha256(server.content).hexdigest()
    assert made.origin["published_checksum"] == "none published"
    assert f"not checked: the record publishes no checksum. sha256: {digest}" in made.text


def test_the_blinded_data_have_no_background(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    texts = {f"chan{c}/unlabeled_combined_chan{c}.csv": LINE.format("?") for c in ("1", "3")}
    server = Zenodo(archive(texts), "secret_data.tar", 4443151)
    try:
        made = scanner.fetch("darkmachines-secret", tmp_path, server=server.url)
    finally:
        server.close()
    assert made.dataset.channels == {"1": ("unlabeled_combined",), "3": ("unlabeled_combined",)}
    assert "channel 3 has no background: no model can be trained on it" in made.text


@pytest.mark.parametrize("folder", ["channels", "chan3_of_training"])
def test_the_channels_may_lie_in_a_folder_of_any_name(server, tmp_path, folder):
    server.offer(archive({name.replace("training_files", folder): text
                          for name, text in TEXTS.items()}))
    complete(server, tmp_path, [None])


# Faults that the same call mends


@pytest.mark.parametrize(("faults", "ranges", "said"), [
    (["cut"], [None, "half"], "the connection broke; going on"),
    (["cut", "cut", "cut"], [None, "half", "3/4", "7/8"], "the connection broke; going on"),
    (["cut", "no range"], [None, "half"], "the server starts the file again"),
    (["cut", "416"], [None, "half", None], "the server cannot go on from byte HALF; going on"),
    (["cut", "wrong range"], [None, "half", None],
     "the server cannot go on from byte HALF; going on"),
    (["503", "503"], [None, None, None], "HTTP 503 Service Unavailable; going on"),
    (["hang up"], [None, None], "the server does not answer; going on"),
], ids=str)
def test_a_broken_connection_is_mended(server, tmp_path, faults, ranges, said):
    server.faults = list(faults)
    size, log = len(server.content), []
    half = size // 2
    quarter = half + (size - half) // 2
    eighth = quarter + (size - quarter) // 2
    fetch(server, tmp_path, log)
    spans = {"half": half, "3/4": quarter, "7/8": eighth}
    assert server.ranges == [r and f"bytes={spans[r]}-" for r in ranges]
    assert any(text.endswith(said.replace("HALF", str(half))) for _, _, text in log)


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_part(server, tmp_path):
    server.faults = ["cut"] + ["503"] * (download.ATTEMPTS - 1)
    with pytest.raises(DataError, match="bytes are kept"):
        fetch(server, tmp_path)
    server.tag = '"two"'
    server.offer(archive(TEXTS | {"training_files/chan3/new_chan3.csv": LINE}), checksum=False)
    half = len(archive()) // 2
    complete(server, tmp_path, [f"bytes={half}-"])


# Faults that end the call: one error, nothing half-done, and a second call completes


FAULTS = {
    "cut for good": (
        ["cut", "hang up", "hang up", "hang up", "503"],
        "{file}: HTTP 503 Service Unavailable, 5 times in a row. {half} bytes are kept; the same "
        "command goes on from there", KEPT, ["bytes={half}-"]),
    "busy": (["503"] * 5, "{file}: HTTP 503 Service Unavailable, 5 times in a row; try again later",
             {"lock"}, [None]),
    "wrong bytes": (["wrong bytes"], "{file}: the bytes that came are not the published ones "
                    "({md5})" + AGAIN, {"lock"}, [None]),
    "wrong length": (["wrong length"], "{file}: the server offers {half} bytes, the published file "
                     "has {size}; nothing is kept. Try again later", {"lock"}, [None]),
    "too long": (["too long"], "{file}: the server sent more than the {size} bytes of the file; "
                 "nothing is kept. Try again later", {"lock"}, [None]),
    "no such file": (["404"], "{file}: HTTP 404 Not Found; the server does not give this file. "
                     + BY_HAND, {"lock"}, [None]),
    "forbidden": (["403"], "{file}: HTTP 403 Forbidden; the server does not give this file. "
                  + BY_HAND, {"lock"}, [None]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_fault_of_the_server_says_and_leaves(server, tmp_path, name):
    faults, text, files, ranges = FAULTS[name]
    server.faults = list(faults)
    size = len(server.content)
    words = {"file": server.file, "size": size, "half": size // 2,
             "md5": "md5:" + hashlib.md5(server.content).hexdigest()}
    with pytest.raises(DataError) as error:
        fetch(server, tmp_path)
    assert str(error.value) == text.format(**words)
    assert left(tmp_path) == files
    complete(server, tmp_path, [r and r.format(**words) for r in ranges])


EVIL = [("../evil.csv", tarfile.REGTYPE, ""), ("/tmp/evil.csv", tarfile.REGTYPE, ""),
        ("training_files/chan1", tarfile.SYMTYPE, "/etc"), ("x.csv", tarfile.LNKTYPE, "/etc/hosts"),
        ("null.csv", tarfile.CHRTYPE, "")]


@pytest.mark.parametrize("member", EVIL, ids=lambda member: member[0])
@pytest.mark.parametrize("vouched", [False, True])
def test_a_malicious_archive_is_refused_and_another_one_taken(server, tmp_path, member, vouched):
    server.offer(archive(extra=[member]), checksum=vouched)
    with pytest.raises(DataError) as error:
        fetch(server, tmp_path / "root")
    text = str(error.value)
    assert text.startswith("training_files.tar: refused, and nothing of it was written: ")
    kept = tmp_path / "root/.darkmachines.fetch/training_files.tar"
    assert text.endswith(f"is kept: {kept}" if vouched else DELETED)
    assert left(tmp_path / "root") == {"lock"} | ({kept.name} if vouched else set())
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    server.offer(archive())
    complete(server, tmp_path / "root", [None])


def test_texts_that_cannot_be_imported(server, tmp_path):
    texts = TEXTS | {"training_files/chan3/bad_chan3.csv": LINE + "nonsense\n"}
    server.offer(archive(texts), checksum=False)
    with pytest.raises(DataError, match=r"bad_chan3\.csv:2: 1 fields where") as error:
        fetch(server, tmp_path)
    assert str(error.value).endswith(DELETED)
    assert left(tmp_path) == {"lock"}
    server.offer(archive())
    complete(server, tmp_path, [None])


def test_an_import_that_is_interrupted_needs_no_second_download(server, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scanner.datasets.fetch.import_folder", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, tmp_path)
    assert left(tmp_path) == {"lock", "training_files.tar"}
    complete(server, tmp_path, [])


def test_a_part_that_is_whole_needs_no_second_download(server, tmp_path):
    server.faults = ["cut"] + ["503"] * (download.ATTEMPTS - 1)
    with pytest.raises(DataError, match="bytes are kept"):
        fetch(server, tmp_path)
    (tmp_path / ".darkmachines.fetch" / PART).write_bytes(server.content)
    complete(server, tmp_path, [])


def test_a_full_disk_is_seen_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 1000))
    with pytest.raises(DataError, match=r"0\.0 GB are free, 0\.0 GB are needed to download, unpack "
                                        r"and import darkmachines; make room, or set SCANNER_DATA"):
        fetch(server, tmp_path)
    assert server.ranges == []
    assert left(tmp_path) == {"lock"}
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    complete(server, tmp_path, [None])


def test_a_disk_that_is_full_in_the_middle(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download.Resumable, "_attempt", full)
        with pytest.raises(DataError, match=r"cannot be written .No space left on device.; make"):
            fetch(server, tmp_path)
    assert left(tmp_path) == {"lock"}
    complete(server, tmp_path, [None])


def test_a_disk_that_is_full_at_the_import_costs_no_second_download(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    server.offer(server.content, checksum=False)
    for place in ("tarfile.TarFile.extractall", "pyarrow.parquet.ParquetWriter.write_table"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(DiskError, match="No space left on device") as error:
                fetch(server, tmp_path)
        kept = tmp_path / ".darkmachines.fetch/training_files.tar"
        assert str(error.value).endswith(f". The download is kept: {kept}")
        assert left(tmp_path) == {"lock", "training_files.tar"}
    complete(server, tmp_path, [])


def test_without_a_network_the_error_says_how_to_bring_the_files(server, tmp_path):
    server.close()
    with pytest.raises(DataError) as error:
        fetch(server, tmp_path)
    api = f"{server.url}/api/records/3961917"
    reason, hint = str(error.value).split(". By hand: ")
    assert reason.startswith(f"{api}: no connection (Failed to establish a new connection: ")
    assert reason.endswith("Connection refused)")
    assert f"By hand: {hint}" == BY_HAND.format(file=server.file)
    assert left(tmp_path) == {"lock"}


def test_the_way_by_hand_works(server, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "training_files.tar").write_bytes(server.content)
    subprocess.run(["tar", "-xf", "training_files.tar", "-C", "texts"], cwd=tmp_path, check=True)
    scanner.import_folder(tmp_path / "texts/training_files", "darkmachines", tmp_path / "data")
    assert "there already" in fetch(server, tmp_path / "data").text


def test_names_that_cannot_be_fetched(tmp_path):
    with pytest.raises(DataError) as error:
        scanner.fetch("darkmachine", tmp_path)
    assert str(error.value) == ("dataset 'darkmachine': cannot be fetched; what can: darkmachines, "
                                "darkmachines-secret")


def test_two_fetches_at_once_do_not_meet(server, tmp_path):
    folder = tmp_path / ".darkmachines.fetch"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is fetching this dataset; wait"):
            fetch(server, tmp_path)
    complete(server, tmp_path, [None])


def test_ctrl_c_keeps_the_part_and_the_same_command_goes_on(server, tmp_path):
    command = [sys.executable, "-m", "scanner", "data", "fetch", "darkmachines", "--data",
               str(tmp_path / "root"), "--server", server.url]
    server.faults = ["wait"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job ignores it
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"NO_PROXY": "127.0.0.1"}, preexec_fn=heard) as child:
        assert "downloading" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=60)
    server.released.set()
    assert (child.returncode, out) == (130, "")
    assert error.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in error
    assert left(tmp_path / "root") == KEPT
    size = (tmp_path / "root/.darkmachines.fetch" / PART).stat().st_size
    assert 0 < size <= len(server.content) // 2
    complete(server, tmp_path / "root", [f"bytes={size}-"])
