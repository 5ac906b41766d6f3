"""What is damaged is named, set aside and made again; what killed writers left goes."""

from __future__ import annotations

import os
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import make_trial
from fake_results import write_results

from scanner import store
from scanner.collected import collect, plan_of
from scanner.errors import ResultError
from scanner.launch import _set_aside_damaged
from scanner.place import Place
from scanner.run import run_pack
from scanner.upkeep import UNFINISHED_S, damaged, set_aside, sweep

TRIAL = make_trial("deepset_vae", max_epochs=1, batch_size=512)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A result folder with one trial."""
    folder = tmp_path_factory.mktemp("results")
    assert run_pack([TRIAL], Place(folder)) == {TRIAL.id: "done"}
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("folder", ["trials", *store.COMPANIONS])
def test_a_file_that_is_cut_off_is_named_and_made_again(trained, folder):
    assert damaged(trained, [TRIAL.id]) == {}
    (path,) = (trained / folder).glob(f"{TRIAL.id}.*")
    cut(path)
    found = damaged(trained, [TRIAL.id])
    assert list(found) == [TRIAL.id]
    assert found[TRIAL.id].startswith(f"{path}: ")
    set_aside(trained, TRIAL.id)
    assert store.done(trained) == set()
    assert run_pack([TRIAL], Place(trained)) == {TRIAL.id: "done"}
    assert damaged(trained, [TRIAL.id]) == {}


def test_a_flipped_bit_is_noticed_or_changes_nothing(trained, tmp_path):
    """Pages have checksums, and the footer a seal; a message is one line."""
    path = store.table_path(tmp_path, TRIAL.id)
    path.parent.mkdir()
    whole = store.table_path(trained, TRIAL.id)
    before, table = whole.read_bytes(), store.read_table(whole)
    for bit in np.random.default_rng(0).choice(8 * len(before), 400, replace=False):
        flipped = bytearray(before)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        found = damaged(tmp_path, [TRIAL.id])
        assert found or store.read_table(path).equals(table), bit
        assert "\n" not in found.get(TRIAL.id, "")


def test_a_table_of_an_earlier_version_has_nothing_to_compare(trained, tmp_path):
    path = store.table_path(tmp_path, TRIAL.id)
    path.parent.mkdir()
    table = store.read_table(store.table_path(trained, TRIAL.id))
    known = {key: text for key, text in table.schema.metadata.items() if key != b"seal"}
    pq.write_table(table.replace_schema_metadata(known), path)
    assert damaged(tmp_path, [TRIAL.id]) == {}
    assert store.read_table(path).equals(table)


def test_what_a_report_cannot_read_a_launch_sets_aside(tmp_path):
    folder, trials = write_results(tmp_path / "a", seeds=(0, 1))
    path = store.table_path(folder, trials[0].id)
    body = bytearray(path.read_bytes())
    auc = pq.read_metadata(path).row_group(0).column(4)
    body[auc.data_page_offset + auc.total_compressed_size - 1] ^= 1
    path.write_bytes(body)
    assert list(collect(folder).damaged) == [path]
    said = []
    _set_aside_damaged(plan_of(store.read_scan(folder)), folder, said.append)
    assert store.done(folder) == {trial.id for trial in trials[1:]}
    assert len(said) == 1
    assert "set aside, to be trained again" in said[0]


def test_a_file_that_somebody_removed_is_no_damage(trained, tmp_path):
    path = trained / "scores" / f"{TRIAL.id}.parquet"
    path.rename(tmp_path / "scores")
    assert damaged(trained, [TRIAL.id]) == {}
    (tmp_path / "scores").rename(path)


@pytest.mark.parametrize("name", [f"scores/{TRIAL.id}", "controls/3-all", "scores/control-3-all"])
def test_what_an_unreadable_file_asks_for_makes_it_again(trained, name):
    path = trained / f"{name}.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(ResultError, match="launch the scan again") as error:
        store.read_table(path)
    for file in re.findall(r"delete (\S+\.parquet)", str(error.value)):
        (trained / file).unlink()
    if "the table of one trial" in str(error.value):
        store.table_path(trained, TRIAL.id).unlink()
    assert run_pack([TRIAL], Place(trained)) == {TRIAL.id: "done"}
    assert store.read_table(path).num_rows


def test_only_what_is_old_and_unfinished_is_swept(tmp_path):
    for folder in ("trials", "stop"):
        (tmp_path / folder).mkdir()
    old = ["trials/.a.parquet.1", ".scan.json.x", ".compact.parquet.x", ".lock.1f", ".lock.beat.2f",
           "stop/host.1"]  # fmt: skip
    kept = ["trials/.b.parquet.2", "stop/host.2", "trials/c.parquet", "lock", ".of_somebody"]
    now = tmp_path / "scan.json"
    now.touch()
    began = now.stat().st_mtime - UNFINISHED_S
    for name in (*old, *kept):
        age_s = -1 if name in kept[:2] else 1
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (began - age_s, began - age_s))
    assert sweep(tmp_path) == len(old)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*kept, "scan.json"}
