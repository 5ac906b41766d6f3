"""Files are complete or absent, and a result folder reads back what was written."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import make_trial

from scanner import store
from scanner.errors import ResultError

ROW = {"score": "kl", "stage": "trained", "signal": "s", "status": "done", "auc": 0.5}


def metadata(trial):
    return {"trial": trial.to_json(), "provenance": json.dumps({"commit": "c", "host": "h"})}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    store.write_text(path, "old")

    def stops(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ResultError, match="No space left on device"):
        store.write_atomic(path, stops)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="--results"):
        store.write_text(tmp_path / "file" / "a.txt", "x")


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
