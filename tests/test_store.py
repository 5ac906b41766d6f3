"""Files are complete or absent, and a result folder reads back what was written."""

from __future__ import annotations

import json
import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import make_trial

from scanner import store
from scanner.atomic import write_text
from scanner.errors import ResultError
from scanner.lock import scan_lock
from scanner.place import Place
from scanner.run import run_pack

ROW = {"score": "kl", "stage": "trained", "signal": "s", "status": "done", "auc": 0.5}


def metadata(trial):
    return {"trial": trial.to_json(), "provenance": json.dumps({"commit": "c", "host": "h"})}


def test_missing_numbers_stay_missing(tmp_path):
    path = tmp_path / "t.parquet"
    store.write_metrics(path, [ROW, {**ROW, "auc": None}], metadata(make_trial()))
    table = pd.read_parquet(path)
    assert table["auc"].isna().tolist() == [False, True]
    assert table["n_signal"].isna().all()


def test_scores_are_single_precision_and_exact(tmp_path):
    path = tmp_path / "s.parquet"
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    columns = {"process": np.full(1000, "background"), "event": np.arange(1000), "kl": values}
    store.write_scores(path, columns, metadata(make_trial()))
    frame = store.read_scores(path)
    assert frame["kl"].dtype == np.float32
    assert (frame["kl"].to_numpy() == values).all()


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "s.parquet"
    path.write_bytes(damage)
    with pytest.raises(ResultError, match=r"s\.parquet: unreadable"):
        store.read_scores(path)


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "s.parquet"
    pd.DataFrame({"kl": [1.0]}).to_parquet(path)
    with pytest.raises(ResultError, match="schema none"):
        store.read_scores(path)


def test_a_scan_reads_back(tmp_path):
    scan = store.Scan("g.yaml", "name: x\n", "sample", "abc", {"commit": "c"})
    store.write_scan(tmp_path, scan)
    assert store.read_scan(tmp_path) == scan


def test_a_folder_without_a_scan_says_what_to_do(tmp_path):
    with pytest.raises(ResultError, match="scanner launch"):
        store.read_scan(tmp_path)
    (tmp_path / "scan.json").write_text("{")
    with pytest.raises(ResultError, match="unreadable"):
        store.read_scan(tmp_path)


def test_failures_of_done_trials_are_gone(tmp_path):
    one, other = make_trial(seed=0), make_trial(seed=1)
    for trial in (one, other):
        store.write_failure(tmp_path, trial, {"class": "bug"})
    store.write_metrics(tmp_path / "trials" / f"{one.id}.parquet", [ROW], metadata(one))
    assert store.done(tmp_path) == {one.id}
    assert list(store.failures(tmp_path)) == [other.id]
    store.clear_failure(tmp_path, other)
    assert store.failures(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"bug"', '{"class": "bu'])
def test_a_failure_record_that_is_none_says_so(tmp_path, text):
    trial = make_trial()
    write_text(tmp_path / "failures" / f"{trial.id}.json", text)
    (record,) = store.failures(tmp_path).values()
    assert record["class"] == "storage"
    assert record["exception"].startswith("its record cannot be read: ")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, and the function that mounts it anew with options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=300k"):
        if os.environ.get("CI") == "true":
            pytest.fail("a small file system cannot be mounted here")
        pytest.skip("only root can mount a small file system")
    yield folder, mount
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_failure_that_more_room_mends(small_disk):
    """Nothing is half-written, and the next run does what is missing."""
    folder, mount = small_disk
    pack = [make_trial("deepset_vae", max_epochs=1, batch_size=512)]
    assert run_pack(pack, Place(folder)) == {pack[0].id: "storage"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path.name for path in files if path.name.startswith(".")]
    assert not [path for path in files if path.parent.name == "trials"]
    record = store.read_failure(folder, pack[0].id)
    assert record["class"] == "storage"
    assert re.search("No space left on device|cannot be read", record["exception"])
    assert mount("remount,size=50m")
    assert run_pack(pack, Place(folder)) == {pack[0].id: "done"}
    assert store.failures(folder) == {}


def test_a_read_only_folder_is_one_error_that_says_so(small_disk):
    folder, mount = small_disk
    assert mount("remount,ro")
    try:
        with pytest.raises(ResultError, match=r"Read-only file system.*--results, --out"):
            write_text(folder / "a.txt", "x")
        with (
            pytest.raises(ResultError, match=r"Read-only file system.*--results DIR"),
            scan_lock(folder),
        ):
            pass
    finally:
        mount("remount,rw")


def test_a_lock_that_a_full_disk_refuses_leaves_nothing(small_disk):
    folder, _ = small_disk
    with pytest.raises(OSError, match="No space left on device"):
        (folder / "filler").write_bytes(bytes(400_000))
    with pytest.raises(ResultError, match="No space left on device"), scan_lock(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["filler"]
