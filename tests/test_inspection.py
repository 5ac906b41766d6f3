"""Inspection: tables against plain counts of the text, the page, checksums, published counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scanner
from scanner.datasets import open_dataset, summary
from scanner.datasets.darkmachines import import_folder
from scanner.errors import DataError, ResultError

# MET, HT and leptons of channel 2b (MET >= 50, HT >= 50 GeV, two leptons with pT > 15 GeV)
GOOD = "1;{};1;60000;0.5;j,90000,70000,0.1,0.2;e-,21000,20000,0.1,0.2;m+,21000,20000,0.1,0.2;\n"
LOW_MET = GOOD.replace("60000", "40000")
SOFT_LEPTON = GOOD.replace("m+,21000,20000", "m+,11000,10000")
LOW_ALL = "1;{};1;40000;0.5;j,90000,30000,0.1,0.2;\n"


@pytest.fixture
def root(tmp_path):
    """A data root with `mine`: a background of two processes and a published signal in 2b."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "background_chan2b_7.8.csv").write_text(
        "".join(line.format("ttbar") for line in (GOOD, LOW_MET, SOFT_LEPTON, LOW_ALL))
        + GOOD.format("ww"))
    (source / "pp23mt_50_chan2b.csv").write_text(GOOD.format("pp23mt_50") * 2)
    (source / "own_chan2b.csv").write_text(GOOD.format("own"))
    import_folder(source, "mine", tmp_path / "root")
    return tmp_path / "root"


def test_events_that_fail_are_counted_cut_by_cut(root):
    found = scanner.inspect("mine", root).summary
    cuts = found.cuts.set_index(["process", "cut"])["failing"]
    assert cuts["background"].to_dict() == {
        "MET >= 50 GeV": 2, "HT >= 50 GeV": 1, ">= 2 leptons with pT > 15 GeV": 2}
    assert cuts.drop("background").sum() == 0
    outside = found.processes.set_index("process")["outside_selection"]
    assert outside.to_dict() == {"background": 3, "own": 0, "pp23mt_50": 0}


def test_the_background_is_split_by_generated_process(root):
    rows = scanner.inspect("mine", root).summary.composition.set_index("process")
    assert rows["events"].to_dict() == {"ttbar": 4, "ww": 1}
    assert rows["fraction"].to_dict() == {"ttbar": 0.8, "ww": 0.2}
    assert rows.loc["ttbar", ["j", "e-", "m+", "objects", "met", "meff"]].tolist() == [
        1, 0.75, 0.75, 2.5, 50, 120]


def test_published_counts_stand_beside_those_found(root):
    table = scanner.inspect("mine", root).summary.published.set_index("process")
    assert table.loc["background", ["found", "published", "difference"]].tolist() == [
        5, 340268, 5 - 340268]
    assert table.loc["pp23mt_50", "published"] == 3402
    assert table.loc["own", "found"] == 1
    assert pd.isna(table.loc["own", "published"])
    assert pd.isna(table.loc["pp24mt_50", "found"])
    assert len(table) == 11
    assert scanner.inspect("sample").summary.published.empty


def test_pieces_give_the_same_tables(root, monkeypatch):
    whole = summary.summarise(open_dataset("mine", root))
    monkeypatch.setattr(summary, "PIECE_EVENTS", 2)
    parts = summary.summarise(open_dataset("mine", root))
    for name in ("processes", "composition", "cuts"):
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(parts, name))


def test_the_page_holds_every_figure_and_the_tables_lie_beside_it(root, tmp_path):
    out = tmp_path / "page"
    found = scanner.inspect("mine", root, out=out)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted([
        "index.html", "processes.csv", "composition.csv", "cuts.csv", "published.csv", "files.csv",
        "histograms.csv", *(f"channel_2b_{kind}.{suffix}" for kind in ("energies", "multiplicities")
                            for suffix in ("png", "pdf"))])
    assert sorted(path.name for path in found.written) == names
    page = (out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "src=\"http" not in page
    for name in ("pp23mt_50", "ttbar", "difference", found.dataset.digest):
        assert name in page
    binned = pd.read_csv(out / "histograms.csv")
    sums = binned.groupby(["quantity", "process"])["fraction"].sum().unstack()
    np.testing.assert_allclose(sums[["ttbar", "ww"]].sum(axis=1), 1)
    np.testing.assert_allclose(sums[["own", "pp23mt_50"]], 1)


def test_the_text_names_only_cuts_that_fail(root):
    text = scanner.inspect("mine", root).text
    assert "3 events fail a cut of their channel's selection" in text
    assert text.count(">= 2 leptons") == 1
    assert "every event passes" in scanner.inspect("sample").text


def test_verify_finds_a_changed_byte(root):
    assert "agrees" not in scanner.inspect("mine", root).text
    assert "agrees" in scanner.inspect("mine", root, verify=True).text
    file = root / "mine/chan2b/own.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"x" + content[-8:])
    with pytest.raises(DataError, match=r"own\.parquet: not a readable Parquet file"):
        scanner.inspect("mine", root)
    with pytest.raises(DataError, match=r"changed since the import: chan2b/own\.parquet"):
        scanner.inspect("mine", root, verify=True)


def test_a_folder_that_cannot_be_written_is_one_error(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="file"):
        scanner.inspect("mine", root, out=tmp_path / "file")
