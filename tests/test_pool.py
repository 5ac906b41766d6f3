"""The pool: seeds, incomplete models, sources that share names or pairs."""

from dataclasses import replace

import pandas as pd
import pytest
from fake_results import write_results

from scanner import store
from scanner.collected import metrics
from scanner.errors import ScannerError
from scanner.pool import read_pool
from scanner.ranking import COLUMNS

PAIRS = [("1", "sa"), ("1", "sb"), ("3", "sa"), ("3", "sc"), ("3", "sd")]


def write_csv(path, models, pairs, value=0.5):
    rows = [(signal, m, channel, *[value] * 4) for m in models for channel, signal in pairs]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


def test_seeds_are_combined_by_the_median(tmp_path):
    folder, _ = write_results(tmp_path / "a", seeds=(0, 1, 2))
    pool = read_pool([folder])
    rows = metrics(folder).query("stage == 'trained'")
    text = rows[["model", "score", "channel", "signal"]].astype("str")
    name = text["model"] + "-" + text["score"]
    expected = rows["auc"].groupby([name, text["channel"], text["signal"]]).median()
    got = pool.table.set_index(["Model", "Chan", "Signal"])["AUC"]
    pd.testing.assert_series_equal(got.sort_index(), expected.sort_index(), check_names=False)
    assert "Seeds are combined by the median, 3 per model and pair." in pool.notes


def test_only_scores_of_the_grid_and_no_control_are_ranked(tmp_path):
    pool = read_pool([write_results(tmp_path / "a")[0]])
    models = sorted(set(pool.table["Model"]))
    assert len(models) == 4
    assert all(m.endswith(("-reconstruction", "-kl")) for m in models)
    assert not any("control" in m or "untrained" in m for m in models)


def test_a_missing_trial_leaves_its_model_out_by_name(tmp_path):
    folder, trials = write_results(tmp_path / "a", seeds=(0,), missing=(0,))
    pool = read_pool([folder])
    gone = {f"{trials[0].model}-{score}" for score in ("reconstruction", "kl")}
    assert set(pool.left_out["model"]) == gone
    assert not gone & set(pool.table["Model"])
    assert list(pool.cells["status"].value_counts().items()) == [("done", 6), ("missing", 2)]
    text = " ".join(pool.notes)
    assert "6 of 8 planned cells are done, 0 diverged, 2 are missing." in text
    assert all(name in text for name in gone)


def test_a_diverged_seed_is_named_and_the_others_count(tmp_path):
    folder, _ = write_results(tmp_path / "a", seeds=(0, 1, 2), diverged=(1,))
    pool = read_pool([folder])
    assert pool.left_out.empty
    assert (pool.cells["status"] == "diverged").sum() == 2
    assert "2 to 3 per model and pair" in " ".join(pool.notes)
    assert pool.table[["AUC", "1e-2"]].notna().all().all()


def test_a_model_whose_only_seed_diverged_is_left_out(tmp_path):
    folder, trials = write_results(tmp_path / "a", seeds=(0,), diverged=(0,))
    pool = read_pool([folder])
    gone = {f"{trials[0].model}-{score}" for score in ("reconstruction", "kl")}
    assert set(pool.left_out["model"]) == gone
    assert (pool.table[["AUC"]] > 0).all().all()


def test_nothing_complete_is_an_error_that_names_models(tmp_path):
    folder, trials = write_results(tmp_path / "a", seeds=(0,), missing=(0, 3))
    with pytest.raises(ScannerError, match=r"none of 4 models has every pair \(.*kl.*launch"):
        read_pool([folder])
    assert len(trials) == 4


def test_a_trial_that_nobody_finished_is_missing_not_forgotten(tmp_path):
    folder, trials = write_results(tmp_path / "a", seeds=(0,), missing=(0, 1, 2))
    pool = read_pool([folder])
    assert set(pool.table["Chan"]) == {trials[3].channel}
    assert (pool.cells["status"] == "missing").sum() == 6
    assert len(pool.left_out) == 2


def test_tables_are_compared_on_the_pairs_of_the_scan(tmp_path):
    folder, _ = write_results(tmp_path / "a", channels=("3",))
    path = write_csv(tmp_path / "b.csv", ["x", "y"], [*PAIRS, ("2b", "other")])
    pool = read_pool([path, folder])
    assert set(pool.table["Chan"]) == {"3"}
    assert {"x", "y"} < set(pool.table["Model"])
    assert "6 of 12 rows of the challenge tables" in " ".join(pool.notes)


def test_a_table_that_lacks_a_pair_of_the_scan_is_left_out(tmp_path):
    folder, _ = write_results(tmp_path / "a")
    path = write_csv(tmp_path / "b.csv", ["x"], PAIRS[:-1])
    pool = read_pool([path, folder])
    assert pool.left_out.to_numpy().tolist() == [["x", "3/sd"]]


def test_tables_alone_follow_the_completeness_rule(tmp_path):
    whole = write_csv(tmp_path / "a.csv", ["x"], PAIRS)
    part = write_csv(tmp_path / "b.csv", ["y"], PAIRS[:2])
    pool = read_pool([whole, part])
    assert pool.left_out.to_numpy().tolist() == [["y", "channel 3"]]
    assert set(pool.table["Model"]) == {"x"}
    with pytest.raises(ScannerError, match=r"x on 1/sa.*given twice"):
        read_pool([whole, write_csv(tmp_path / "c.csv", ["x"], PAIRS[:2])])


def test_tables_are_stacked_as_the_challenge_does(tmp_path):
    paths = [write_csv(tmp_path / f"{n}.csv", [n], PAIRS) for n in ("zz", "Combined", "AE", "aa")]
    assert list(read_pool(paths).table["Model"].unique()) == ["AE", "Combined", "zz", "aa"]


def test_the_same_model_in_two_scans_gets_their_names(tmp_path):
    one, _ = write_results(tmp_path / "one", "one")
    two, trials = write_results(tmp_path / "two", "two", shift=1, missing=(0,))
    pool = read_pool([one, two])
    models = sorted(set(pool.table["Model"]))
    assert len(models) == 8
    assert {m.rpartition("@")[2] for m in models} == {"one", "two"}
    assert "@ and the scan" in " ".join(pool.notes)
    assert len(pool.cells.query("status == 'missing'")) == 2
    assert trials


def test_a_table_keeps_its_name_beside_a_scan(tmp_path):
    folder, trials = write_results(tmp_path / "one", "one")
    name = f"{trials[0].model}-kl"
    pool = read_pool([folder, write_csv(tmp_path / "b.csv", [name], PAIRS)])
    assert {name, f"{name}@one"} <= set(pool.table["Model"])
    assert len(set(pool.table["Model"])) == 5


def test_two_scans_of_one_name_are_told_apart(tmp_path):
    folders = [write_results(tmp_path / k / "demo", shift=s)[0] for s, k in enumerate("ab")]
    assert len(set(read_pool(folders).table["Model"])) == 8


def test_different_datasets_are_a_caution(tmp_path):
    one, _ = write_results(tmp_path / "one", "one")
    two, _ = write_results(tmp_path / "two", "two", dataset="other")
    assert "different datasets (other, sample)" in " ".join(read_pool([one, two]).notes)


def test_channels_that_the_dataset_lacks_are_named(tmp_path):
    folder, _ = write_results(tmp_path / "a")
    scan = store.read_scan(folder)
    assert not any("its dataset lacks" in note for note in read_pool([folder]).notes)
    store.write_scan(folder, replace(scan, channels=("3",)))
    pool = read_pool([folder])
    assert "Channel 1 of demo is left out: its dataset lacks it." in pool.notes
    assert set(pool.cells["channel"]) == {"3"}
