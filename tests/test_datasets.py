"""Datasets on disk: opening, reading, listing, inspecting, verifying; the bundled sample."""

import json
import subprocess
import sys

import numpy as np
import pytest

from scanner.datasets import Channels, inspect, list_datasets, open_dataset, read, verify
from scanner.datasets.darkmachines import import_folder
from scanner.datasets.files import chunks, count
from scanner.errors import DataError
from scanner.events import KINDS, ht, multiplicity

LINE = b"1;zz;1;60000;0.5;j,30000,20000,0.1,0.2;e-,9000,8000,0.1,0.2;\n"
BACKGROUNDS = {
    "1": {"w_jets": 8134, "z_jets": 3871, "ttbar": 3843, "njets": 3469, "wtop": 536, "single_top": 66, "ttbarZ": 22, "ww": 21, "gam_jets": 12, "ttbarHiggs": 11, "zw": 10, "zz": 5},  # noqa: E501
    "2a": {"zw": 4114, "ttbarZ": 361, "zz": 328, "single_higgs": 119, "ttbarHiggs": 78},
    "2b": {"ttbar": 11734, "z_jets": 6362, "wtop": 1441, "ww": 211, "zw": 110, "zz": 45, "single_higgs": 44, "ttbarZ": 40, "ttbarHiggs": 8, "Zgam": 5},  # noqa: E501
    "3": {"njets": 13464, "w_jets": 3678, "z_jets": 1292, "ttbar": 1283, "wtop": 196, "single_top": 35, "gam_jets": 30, "ww": 10, "ttbarHiggs": 6, "zw": 4, "ttbarZ": 2},  # noqa: E501
}


@pytest.fixture
def root(tmp_path):
    """A data root with one dataset `mine`: channel 2b, a background and a signal."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "background_chan2b_7.8.csv").write_bytes(LINE * 3)
    (source / "odd_chan2b.csv").write_bytes(LINE)
    (source / "alone_chan1.csv").write_bytes(LINE)
    import_folder(source, "mine", tmp_path / "root")
    return tmp_path / "root"


def test_open_and_read(root):
    dataset = open_dataset("mine", root)
    assert (dataset.name, dataset.path) == ("mine", root / "mine")
    assert dataset.channels == {"1": ("alone",), "2b": ("odd",)}
    assert len(read(dataset, "2b", "background")) == 3
    verify(dataset)


def test_the_root_is_the_argument_then_the_environment_then_data(root, monkeypatch, tmp_path):
    monkeypatch.setenv("SCANNER_DATA", str(root))
    assert open_dataset("mine") == open_dataset("mine", root)
    monkeypatch.delenv("SCANNER_DATA")
    (tmp_path / "data").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    assert open_dataset("mine").digest == open_dataset("mine", root).digest


def test_list_holds_the_sample_and_the_imported(root, tmp_path):
    (root / ".mine.half").mkdir()
    (root / ".mine.half" / "dataset.json").write_text("")
    assert [dataset.name for dataset in list_datasets(root)] == ["mine", "sample"]
    assert [dataset.name for dataset in list_datasets(tmp_path / "none")] == ["sample"]


def test_a_missing_dataset_names_what_there_is(root):
    with pytest.raises(DataError) as error:
        open_dataset("your", root)
    assert str(error.value) == (
        f"dataset 'your': not in {root}; there is mine, sample. Import it: scanner data import "
        "FOLDER --name your (another root: set SCANNER_DATA)")


def test_missing_channels_and_processes(root):
    dataset = open_dataset("mine", root)
    with pytest.raises(DataError, match="no channel '3'; it has 1, 2b"):
        read(dataset, "3", "background")
    with pytest.raises(DataError, match="channel 2b has no signal 'even'; it has odd"):
        read(dataset, "2b", "even")
    with pytest.raises(DataError, match=r"1 has no background; import .*/background_chan1_"):
        read(dataset, "1", "background")


def test_a_changed_or_missing_file_is_found(root):
    dataset, file = open_dataset("mine", root), root / "mine/chan2b/odd.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"x" + content[-8:])
    assert open_dataset("mine", root) == dataset
    with pytest.raises(DataError, match=r"changed since the import: chan2b/odd.parquet in"):
        verify(dataset)
    file.write_bytes(content[:-9])
    with pytest.raises(DataError, match=rf"odd.parquet is {len(content) - 9} bytes, not"):
        open_dataset("mine", root)
    file.unlink()
    with pytest.raises(DataError, match=r"odd.parquet is missing; import the dataset again"):
        open_dataset("mine", root)


@pytest.mark.parametrize(("text", "message"), [
    ("", "not a dataset index"), ("[]", "not a dataset index"), ("{}", "not a dataset index"),
    ('{"schema_version": "1"}', "not a dataset index"),
    ('{"schema_version": "1", "files": []}', "not a dataset index"),
    ('{"schema_version": "1", "files": {"a": {}}}', "not a dataset index"),
    (json.dumps({"schema_version": "7"}), "schema version 7, this release reads 1; import")])
def test_a_damaged_index_is_refused(root, text, message):
    (root / "mine/dataset.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset("mine", root)


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "dataset.json").write_text("{"),
    lambda folder: (folder / "dataset.json").write_bytes(b"\xff"),
    lambda folder: (folder / "chan2b/odd.parquet").unlink(),
    lambda folder: (folder / "chan2b/odd.parquet").write_bytes(b"")])
def test_a_damaged_dataset_stops_nobody_else(root, tmp_path, damage):
    import_folder(tmp_path / "source", "whole", root)
    damage(root / "mine")
    found = {dataset.name: dataset for dataset in list_datasets(root)}
    assert list(found) == ["mine", "sample", "whole"]
    assert found["mine"].text == f"DAMAGED: {found['mine'].error}"
    assert "import the dataset again" in found["mine"].error
    assert found["whole"].text == "1: 1 signals, 2b: 1 signals"
    known = Channels(root)
    assert (list(known), len(known)) == (["mine", "sample", "whole"], 3)
    assert known["whole"] == ("1", "2b")
    assert "mine" in known
    with pytest.raises(DataError) as error:
        known["mine"]
    assert str(error.value) == found["mine"].error
    assert "other" not in known
    with pytest.raises(KeyError):
        known["other"]


def test_the_digest_follows_the_content_not_the_name(root, tmp_path):
    again = import_folder(tmp_path / "source", "again", root).dataset
    assert again.digest == open_dataset("mine", root).digest
    (tmp_path / "source/odd_chan2b.csv").write_bytes(LINE * 2)
    assert import_folder(tmp_path / "source", "again", root).dataset.digest != again.digest


def test_inspect(root):
    table = inspect(open_dataset("mine", root)).set_index(["channel", "process"])
    assert list(table.index) == [("1", "alone"), ("2b", "background"), ("2b", "odd")]
    assert table["events"].tolist() == [1, 3, 1]
    assert table["outside_selection"].tolist() == [1, 3, 1]
    row = table.loc[("2b", "background")]
    assert [row[kind] for kind in KINDS] == [1, 0, 0, 0, 0, 1, 0]
    assert (row["met"], row["ht"], row["meff"]) == (60, 20, 80)


@pytest.mark.parametrize("damage", [lambda text: text[:4] + b"\0" * (len(text) - 8) + text[-4:],
                                    lambda text: b"\0" * len(text)])
def test_a_damaged_file_of_the_right_size_is_one_error(root, damage):
    dataset = open_dataset("mine", root)
    file = dataset.path / "chan2b/background.parquet"
    file.write_bytes(damage(file.read_bytes()))
    for use in (read, count, lambda *where: list(chunks(*where, 2))):
        with pytest.raises(DataError, match=r"background\.parquet: cannot be read \(.*\); import "
                           r"the dataset again \(what else changed: scanner data inspect mine --v"):
            use(dataset, "2b", "background")
    with pytest.raises(DataError, match=r"import: chan2b/background\.parquet in"):
        verify(dataset)


# The bundled sample


def test_the_sample_is_always_the_bundled_one(tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/dataset.json").write_text("{}")
    sample = open_dataset("sample", tmp_path)
    assert sample.path.parent.name == "datasets"
    verify(sample)
    assert sum(path.stat().st_size for path in sample.path.rglob("*") if path.is_file()) < 12e6


def test_the_sample_has_the_events_of_its_table():
    sample = open_dataset("sample")
    assert {channel: len(signals) for channel, signals in sample.channels.items()} == {
        "1": 5, "2a": 5, "2b": 7, "3": 10}
    for channel, expected in BACKGROUNDS.items():
        names, counts = np.unique(read(sample, channel, "background").process.astype(str),
                                  return_counts=True)
        assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == expected
    table = inspect(sample)
    assert (table.loc[table["process"] != "background", "events"] == 1000).all()
    assert (table["outside_selection"] == 0).all()


def test_the_sample_is_unweighted():
    sample = open_dataset("sample")
    for channel, signals in sample.channels.items():
        assert (read(sample, channel, "background").weight == 1).all()
        assert all(len(set(read(sample, channel, name).weight)) == 1 for name in signals)


def test_the_readme_of_the_sample_lists_every_file():
    sample = open_dataset("sample")
    readme = (sample.path / "README.md").read_text()
    for row in inspect(sample).itertuples():
        file = f"chan{row.channel}/{row.process}.parquet"
        assert f"| `{file}` | {row.events} |" in readme, file


def test_multiplicities_separate_the_gluino_signal():
    sample = open_dataset("sample")
    signal, background = (read(sample, "3", p) for p in ("gluino_1000.0_neutralino_1.0",
                                                         "background"))
    assert multiplicity(signal).sum(axis=1).mean() > 2 * multiplicity(background).sum(axis=1).mean()
    assert ht(background).min() >= np.float32(600 * (1 - 1e-5))


def test_datasets_do_not_import_torch():
    code = "import sys, scanner.datasets.darkmachines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
