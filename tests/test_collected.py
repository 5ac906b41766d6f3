"""The results table: labelled rows of every trial, the same from the files and from their copy."""

from unittest.mock import patch

import pandas as pd
import pytest
from fake_results import write_results

from scanner import collected, store
from scanner.atomic import write_atomic
from scanner.collected import COPY, metrics
from scanner.errors import ResultError
from scanner.plan import plan


@pytest.fixture(autouse=True)
def copied(monkeypatch):
    """Even few files are copied."""
    monkeypatch.setattr(collected, "WORTH_COPYING", 1)


def read_paths(folder):
    """The table, and the names of the trials' files that were opened for it."""
    opened = []

    def counted(path):
        opened.append(path)
        return store_read(path)

    store_read = store.read_table
    with patch.object(store, "read_table", counted):
        frame = metrics(folder)
    return frame, sorted(path.stem for path in opened if path.parent.name == "trials")


def test_rows_have_the_labels_of_their_trial(tmp_path):
    folder, trials = write_results(tmp_path / "a", seeds=(0, 1))
    frame = metrics(folder)
    for trial in trials:
        raw = pd.read_parquet(folder / "trials" / f"{trial.id}.parquet").query("score != 'rz'")
        rows = frame[frame["trial"] == trial.id]
        assert rows["auc"].tolist() == raw["auc"].tolist()
        assert rows["signal"].astype(str).tolist() == raw["signal"].tolist()
        for name, value in {"channel": trial.channel, "seed": trial.seed, "model": trial.model,
                            "architecture": trial.architecture.label, "commit": "c0ffee",
                            "beta": 0.5, "scan": "demo", "dataset": "sample"}.items():  # fmt: skip
            assert set(rows[name]) == {value}
    controls = frame[frame["stage"] == "control"]
    assert set(controls["model"]) == {"control"}
    assert set(controls["trial"]) == {store.control_name(trial) for trial in trials}
    assert all(list(frame[name].cat.categories) == sorted(frame[name].cat.categories)
               for name in frame.columns[frame.dtypes == "category"])  # fmt: skip


def test_the_copy_gives_the_same_rows_and_no_file_is_opened_again(tmp_path):
    folder, trials = write_results(tmp_path / "a")
    first, opened = read_paths(folder)
    assert opened == sorted(trial.id for trial in trials)
    assert (folder / COPY).exists()
    again, opened = read_paths(folder)
    assert opened == []
    pd.testing.assert_frame_equal(first, again)
    assert plan(store.read_scan(folder).grid()).trials
    (folder / COPY).unlink()
    pd.testing.assert_frame_equal(first, metrics(folder))


def test_only_new_and_changed_files_are_read(tmp_path):
    folder, trials = write_results(tmp_path / "a", missing=(1,))
    metrics(folder)
    whole, _ = write_results(tmp_path / "b")
    for k in (1, 2):  # a new one, and one that was trained again
        path = folder / "trials" / f"{trials[k].id}.parquet"
        write_atomic(path, lambda temporary, k=k: temporary.write_bytes(
            (whole / "trials" / f"{trials[k].id}.parquet").read_bytes()))  # fmt: skip
    frame, opened = read_paths(folder)
    assert opened == sorted((trials[1].id, trials[2].id))
    pd.testing.assert_frame_equal(frame, metrics(whole))


def test_a_trial_that_is_gone_is_gone(tmp_path):
    folder, trials = write_results(tmp_path / "a")
    metrics(folder)
    (folder / "trials" / f"{trials[0].id}.parquet").unlink()
    frame, opened = read_paths(folder)
    assert opened == []
    assert trials[0].id not in set(frame["trial"])


@pytest.mark.parametrize("damage", [b"", b"PAR1 and more", None])
def test_a_copy_that_cannot_be_read_is_made_again(tmp_path, damage):
    folder, _ = write_results(tmp_path / "a")
    first = metrics(folder)
    if damage is None:  # of another version: no list of files
        store.write_rows(folder / COPY, store.read_table(folder / COPY).slice(0, 3), {})
    else:
        (folder / COPY).write_bytes(damage)
    pd.testing.assert_frame_equal(metrics(folder), first)
    assert read_paths(folder)[1] == []


def test_a_folder_that_cannot_be_written_is_read(tmp_path):
    folder, _ = write_results(tmp_path / "a")
    refused = ResultError("cannot be written")
    with patch.object(store, "write_rows", side_effect=refused):
        frame = metrics(folder)
    assert not (folder / COPY).exists()
    pd.testing.assert_frame_equal(frame, metrics(folder))


def test_files_that_are_being_written_do_no_harm(tmp_path):
    folder, trials = write_results(tmp_path / "a", missing=(3,))
    before = metrics(folder)
    (folder / "trials" / f".{trials[3].id}.parquet.x1y2").write_bytes(b"half")
    pd.testing.assert_frame_equal(metrics(folder), before)


def test_a_damaged_file_is_named_and_nothing_done_says_so(tmp_path):
    folder, trials = write_results(tmp_path / "a")
    path = folder / "trials" / f"{trials[1].id}.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(ResultError, match=rf"{trials[1].id}\.parquet: unreadable"):
        metrics(folder)
    empty = tmp_path / "b"
    store.write_scan(empty, store.read_scan(folder))
    with pytest.raises(ResultError, match="no trial is done; run `scanner launch"):
        metrics(empty)


def test_rows_of_several_scans_stay_categorical(tmp_path):
    one, two = (metrics(write_results(tmp_path / k, k, shift=s)[0]) for s, k in enumerate("ab"))
    two["host"] = two["host"].cat.rename_categories(["other"])
    both = collected.stacked_rows([one, two])
    assert len(both) == len(one) + len(two)
    assert both["scan"].astype(str).tolist() == ["a"] * len(one) + ["b"] * len(two)
    assert set(both["host"]) == {"h", "other"}
    assert (both.dtypes == "category").sum() >= 13
