"""The Dark Machines text format: reading, checking, importing and writing it."""

import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.datasets import darkmachines, parse, pieces, read
from scanner.datasets.darkmachines import discover, import_folder, write_text
from scanner.datasets.files import processes
from scanner.datasets.published import COUNTS, outside_selection
from scanner.errors import DataError
from scanner.events import KINDS, Events, ht, multiplicity

GENUINE = "monojet_Zp2000.0_DM_50.0_chan3.csv"
OFFICIAL = (b"94;ttbar;1;112288;1.74766;b,331927,147558,-1.44969,-1.76399;"
            b"j,100406,85589,-0.568259,-1.17144;b,55808.8,54391.4,-0.198215,1.726\n")
EXAMPLES = b"""\
210;njets;1;231456;-0.87123;j,1.21003e+06,611204,1.30211,2.40711;j,404595,377216,-0.36421,-0.77134;b,189676,150032,0.704412,-1.20019;j,96681.6,61277.8,1.02332,0.41177;
71;zw;1;64210.5;2.11834;j,60058.6,41022.9,-0.920137,0.220451;e+,98502.6,71200.4,0.849921,-1.77009;e-,45210.2,45002.6,-0.0960114,1.33582;m-,38198.4,30014.9,0.722615,-2.91006;
12;ttbarGam;1;118903;0.00314159;b,241914,201877,0.610023,-2.44107;b,77826.3,70118.3,-0.440912,1.09077;m+,52113.3,51277.2,0.180344,-0.120934;g,66670.6,40210.7,-1.09211,2.66021;
354;monojet_Zp2000.0_DM_50.0;2.44336e-05;1.05628e+06;-3.06744;j,676000,640429,0.33045,0.704554;j,1.2393e+06,602104,1.34324,-0.550856;j,193865,44825.7,-2.14231,-0.965933;j,28217.2,24926.6,-0.454264,0.516676;
5;pp24mt_50;1.3e-06;88120.1;1.5708;j,41500.9,33110.2,0.68,-0.5;m+,120191,88012.3,-0.831,2.2;m-,60127.1,58000.1,-0.27,-1.9;m+,31113.4,24411.7,0.725,0.04;m-,18970,15520,-0.655,3.01;
"""
GOOD = b"1;zz;1;60000;0.5;j,30000,20000,0.1,0.2;\n"
UNREADABLE = "give files and folders that are there and that you may read. Nothing was imported"
unhurried = settings(deadline=None, max_examples=50)


def same(left, right):
    for field in fields(Events):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name))


def place(folder, name, content):
    """A text file at its place in a source tree."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path


# Numbers and objects


@pytest.mark.parametrize("text", [OFFICIAL, EXAMPLES], ids=["without last ;", "with last ;"])
def test_examples_survive_parse_write_parse(tmp_path, text):
    events = parse.parse(text)
    write_text(events, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == text.replace(b";\n", b"\n").replace(b"\n", b";\n")
    same(parse.parse((tmp_path / "out.csv").read_bytes()), events)


def test_lines_with_and_without_last_semicolon_mix():
    mixed = parse.parse(OFFICIAL + EXAMPLES + OFFICIAL)
    assert len(mixed) == 7
    same(mixed.take(slice(0, 1)), mixed.take(slice(6, 7)))
    same(mixed.take(slice(1, 6)), parse.parse(EXAMPLES))


def test_official_example_in_gev():
    events = parse.parse(OFFICIAL)
    assert (events.process[0], events.event_id[0], events.weight[0]) == ("ttbar", "94", 1.0)
    assert events.met[0] == np.float32(112.288)
    assert [KINDS[k - 1] for k in events.kind] == ["j", "b", "b"]
    assert events.pt.tolist() == np.array([85.589, 147.558, 54.3914], "f4").tolist()
    assert events.energy[0] == np.float32(100.406)


@pytest.mark.parametrize("token", ["1.06946e+06", "2.44336e-05", "1E3", "676000", "0", "123456.7",
                                   "1.40129846e-42", "100000.00000000001", "16777217000"])
def test_numbers_are_correctly_rounded(token):
    events = parse.parse(f"1;p;{token};{token};-{token};j,{token},{token},-{token},0;\n".encode())
    exact, gev = float(token), np.float32(float(token) / 1000)
    assert events.weight[0] == exact
    assert events.met[0] == events.energy[0] == events.pt[0] == gev
    assert events.met_phi[0] == events.eta[0] == np.float32(-exact)


def test_every_spelling_of_a_code():
    codes = ["j", "b", "m+", "mu+", "m-", "mu-", "e+", "e-", "g", "a"]
    line = "1;p;1;5;0;" + "".join(f"{code},9,5,0,0;" for code in codes) + "\n"
    assert parse.parse(line.encode()).kind.tolist() == [1, 2, 3, 3, 4, 4, 5, 6, 7, 7]


def test_an_event_with_twelve_jets_keeps_numeric_order():
    jets = "".join(f"j,{pt},{pt},0,0;" for pt in range(130000, 10000, -10000))
    events = parse.parse(f"1;p;1;5;0;{jets}\n".encode())
    assert events.pt.tolist() == [float(pt) for pt in range(130, 10, -10)]
    assert multiplicity(events)[0, 0] == 12


six_digits = st.floats(1e-3, 9.9e8).map(lambda x: f"{x:g}")
angle = st.floats(-5, 5).filter(lambda x: not 0 < abs(x) < 1e-30).map(lambda x: f"{x:g}")
one_object = st.builds("{},{},{},{},{};".format, st.sampled_from(KINDS), six_digits, six_digits,
                       angle, angle)
one_line = st.builds("{};{};{};{};{};{}\n".format, st.integers(0, 99), st.sampled_from(
    ["njets", "2gam", "é_t"]), six_digits, six_digits, angle,
    st.lists(one_object, min_size=1, max_size=14).map("".join))


@unhurried
@given(st.lists(one_line, min_size=1, max_size=6).map("".join))
def test_text_round_trip(tmp_path_factory, text):
    out = tmp_path_factory.mktemp("text") / "out.csv"
    events = parse.parse(text.encode())
    write_text(events, out)
    same(parse.parse(out.read_bytes()), events)
    assert Counter(out.read_text().replace("\n", "").split(";")) == Counter(
        text.replace("\n", "").split(";"))


# Malformed lines


MALFORMED = {
    b"1;zz;1;60000;0.5;j,30000,20000,0.1;":
        "object 1 ('j,30000,20000,0.1') has 4 tokens, not 5 (code,E,pT,eta,phi)",
    b"1;zz;1;60000;0.5;j,3,2,0.1,0.2;j,3,2,0.1,0.2,7;":
        "object 2 ('j,3,2,0.1,0.2,7') has 6 tokens, not 5 (code,E,pT,eta,phi)",
    b"1;zz;1;60000;0.5;t,3,2,0.1,0.2;":
        "object 1 has the unknown code 't'; known: j, b, m+, m-, e+, e-, g, mu+, mu-, a",
    b"1;zz;1;60000;0.5;j,nan,2,0.1,0.2;": "E of object 1 is nan, not a finite number",
    b"1;zz;1;inf;0.5;j,3,2,0.1,0.2;": "MET is inf, not a finite number",
    b"1;zz;1;1e300;0.5;j,3,2,0.1,0.2;": "MET is 1e300, not a finite number",
    b"1;zz;one;6;0.5;j,3,2,0.1,0.2;": "weight is 'one', not a number",
    b"1;zz;1;6;;j,3,2,0.1,0.2;": "METphi is '', not a number",
    b"1;zz;1;6;0.5;j,3,-2,0.1,0.2;": "pT of object 1 is -2, below zero",
    b"1;zz;1;6;0.5;": "the event has no object",
    b"1;zz;1;6;0.5;;": "object 1 ('') has 1 tokens, not 5 (code,E,pT,eta,phi)",
    b"1;zz;1;6;0.5;j,3,2,0.1,0.2;;": "object 2 ('') has 1 tokens, not 5 (code,E,pT,eta,phi)",
    b"1;zz,w;1;6;0.5;j,3,2,0.1,0.2;": "process ID 'zz,w' holds a comma",
    b"event,process,weight": "1 fields where an event has 5 "
        "(event ID;process ID;weight;MET;METphi) and its objects",
    b"": "the line is empty",
    b"1;z\xffz;1;6;0.5;j,3,2,0.1,0.2;": "byte 0xff in column 4 is not UTF-8 text",
}
ADVICE = ("Nothing was imported; correct the line, or leave out up to N bad lines per file with "
          "--skip-bad N")


@pytest.mark.parametrize(("line", "reason"), MALFORMED.items(), ids=MALFORMED.values())
def test_a_malformed_line_is_named(tmp_path, line, reason):
    path = place(tmp_path, "chan3/x_chan3.csv", GOOD * 3 + line + b"\n" + GOOD * 2)
    with pytest.raises(DataError) as error:
        import_folder(tmp_path, "d", tmp_path / "root")
    assert str(error.value) == f"{path}:4: {reason}. {ADVICE}"
    assert not any((tmp_path / "root").iterdir())


def test_a_line_cut_off_at_the_end(tmp_path):
    path = place(tmp_path, "x_chan3.csv", GOOD * 3 + GOOD[:-6])
    with pytest.raises(DataError) as error:
        import_folder(path, "d", tmp_path / "root")
    assert str(error.value).startswith(f"{path}:4: the file ends inside this line (if it is ")


def test_windows_line_ends_are_one_error(tmp_path):
    path = place(tmp_path, "x_chan3.csv", (GOOD * 3).replace(b"\n", b"\r\n"))
    with pytest.raises(DataError) as error:
        import_folder(path, "d", tmp_path / "root", skip_bad=9)
    assert str(error.value) == (
        f"{path}:1: Windows line ends (CR LF), where the format has LF; convert the file, for "
        "instance with dos2unix. Nothing was imported")


@pytest.mark.parametrize("name", ["x_chan3.csv", "x_chan3.csv.gz"])
def test_an_empty_file(tmp_path, name):
    path = place(tmp_path, name, b"")
    with pytest.raises(DataError, match=r"no event in it; fetch the file again\. Nothing was"):
        import_folder(path, "d", tmp_path / "root")


@pytest.mark.parametrize("damage", [lambda z: z[:-20], lambda z: b"no gzip" + z,
                                    lambda z: z[:80] + b"\0\0\0\0\0\0" + z[86:]])
def test_a_damaged_gzip_stream(tmp_path, damage):
    lines = b"".join(b"%d;zz;1;60000;0.5;j,%d,20000,0.1,0.2;\n" % (i, 30000 + i * i)
                     for i in range(400))
    path = tmp_path / "x_chan3.csv.gz"
    path.write_bytes(damage(gzip.compress(lines)))
    with pytest.raises(DataError, match=r"x_chan3.csv.gz:\d+: the gzip stream is damaged or ends"):
        import_folder(path, "d", tmp_path / "root")
    assert not any((tmp_path / "root").iterdir())


def test_a_gzip_stream_that_ends_early_names_its_last_line(tmp_path):
    lines = b"".join(b"%d;zz;1;60000;0.5;j,%d,20000,0.1,0.2;\n" % (i, 30000 + i * i % 9973)
                     for i in range(9000))
    path = tmp_path / "x_chan3.csv.gz"
    path.write_bytes(gzip.compress(lines)[:-2000])
    with pytest.raises(DataError) as error:
        import_folder(path, "d", tmp_path / "root")
    assert 5000 < int(str(error.value).removeprefix(f"{path}:").split(":")[0]) < 9000


def test_a_file_without_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    path = place(tmp_path, "x_chan3.csv", b"\0" * 2000)
    with pytest.raises(DataError, match=r"x_chan3.csv:1: no line end in 2000 bytes; this is not"):
        import_folder(path, "d", tmp_path / "root")


NOISE = st.sampled_from([b";", b",", b"\n", b"1", b"-", b"nan", b"j", b"\xff", b" ", b"e5"])


@unhurried
@given(st.lists(st.tuples(st.integers(0, len(EXAMPLES)), st.integers(0, 2), NOISE), max_size=4))
def test_a_block_is_refused_exactly_if_one_of_its_lines_is(edits):
    text = bytearray(EXAMPLES)
    for start, length, noise in edits:
        text[start:start + length] = noise
    lines = bytes(text).splitlines(keepends=True)
    bad = set(parse.bad_lines(lines))
    for index, line in enumerate(lines):
        assert (parse.diagnose(line) == "the line cannot be read as an event") <= (index not in bad)
    good = [line for index, line in enumerate(lines) if index not in bad]
    if good:
        assert len(parse.parse(b"".join(good))) == len(good)


# Import


def test_skip_bad_leaves_out_and_lists(tmp_path):
    path = place(tmp_path, "x_chan3.csv", b"bad\n" + GOOD * 2 + b"worse;\n" + GOOD)
    with pytest.raises(DataError, match=r":4: .* \(1 bad lines before it were left out\)\."):
        import_folder(path, "d", tmp_path, skip_bad=1)
    report = import_folder(path, "d", tmp_path, skip_bad=2)
    assert report.files[0].events == len(read(report.dataset, "3", "x")) == 3
    assert [fault.split(": ")[0] for fault in report.files[0].skipped] == [f"{path}:1", f"{path}:4"]
    with pytest.raises(DataError, match="no event in it"):
        import_folder(place(tmp_path, "y_chan3.csv", b"bad\n"), "d", tmp_path, skip_bad=5)


def test_a_failed_import_leaves_the_old_dataset(tmp_path):
    source = place(tmp_path, "chan3/x_chan3.csv", GOOD * 2).parent.parent
    old = import_folder(source, "d", tmp_path / "root").dataset
    before = {path: path.read_bytes() for path in old.path.rglob("*") if path.is_file()}
    place(tmp_path, "chan3/y_chan3.csv", GOOD + b"bad\n")
    with pytest.raises(DataError, match=r"y_chan3.csv:2"):
        import_folder(source, "d", tmp_path / "root")
    after = {path: path.read_bytes() for path in (tmp_path / "root/d").rglob("*") if path.is_file()}
    assert after == before
    finished = tmp_path / "root/.d.import/chan3"
    assert sorted(path.name for path in finished.iterdir()) == ["x.json", "x.parquet"]
    place(tmp_path, "chan3/y_chan3.csv", GOOD)
    again = import_folder(source, "d", tmp_path / "root")
    assert again.notes == ("1 files were finished by a call before this one",
                           "channel 3 has no background: no model can be trained on it")
    assert again.dataset.channels == {"3": ("x", "y")}
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["d"]


def test_an_interrupted_import_of_other_files_leaves_nothing_in_the_next_one(tmp_path):
    source = place(tmp_path / "a", "chan3/x_chan3.csv", GOOD).parent.parent
    for file in ("chan3/background.parquet", "chan3/background.json", "chan3/.x.parquet.1",
                 "chan1/other.parquet", "README.md", "dataset.json"):
        place(tmp_path / "root/.d.import", file, b"{}")
    made = import_folder(source, "d", tmp_path / "root").dataset
    assert sorted(path.name for path in made.path.rglob("*")) == ["chan3", "dataset.json",
                                                                  "x.parquet"]
    assert processes(made, "3") == ["x"]


def test_tree_with_all_channels(tmp_path):
    for channel in COUNTS:
        place(tmp_path, f"chan{channel}/background_chan{channel}_7.79.csv", GOOD * 2)
        place(tmp_path, f"chan{channel}/stlp_st1000_chan{channel}.csv.gz", GOOD)
    place(tmp_path, "chan1/notes.csv", b"")
    calls = []
    report = import_folder(tmp_path, "d", tmp_path / "root",
                           progress=lambda *call: calls.append(call))
    assert report.dataset.channels == dict.fromkeys(COUNTS, ("stlp_st1000",))
    assert report.notes == (f"{tmp_path / 'chan1/notes.csv'}: ignored, its name says no channel",)
    total = sum(file.source.stat().st_size for file in report.files)
    assert calls[0] == (80, total, "background_chan1_7.79.csv")
    assert (calls[-1][0], len(calls), len(report.files)) == (total, 8, 8)
    same(read(report.dataset, "2a", "background"), parse.parse(GOOD * 2))


def test_warnings_of_a_file(tmp_path):
    line = b"1;zz;4;6000;7;j,10000,20000,0.1,0.2;\n"
    path = place(tmp_path, "background_chan3_8.02.csv", line)
    report = import_folder(path, "d", tmp_path)
    assert report.notes == ()
    assert report.files[0].warnings == (
        "1 events miss the channel's MET, HT selection",
        "1 background events have a weight other than 1 (kept, and not used in training)",
        "1 objects have E below pT", "1 azimuths lie outside (-pi, pi]",
        "1 events, the published file has 8544111")
    signal = import_folder(place(tmp_path, "new_chan1.csv", GOOD), "d", tmp_path)
    assert signal.notes == ("channel 1 has no background: no model can be trained on it",)
    assert "not one of the published signals of this channel" in signal.files[0].warnings
    first, *_, last = signal.text.splitlines()
    assert first.startswith("channel 1, new: 1 events (j 1), 0.0 MB, ")
    assert last == f"dataset d: 1 events in {tmp_path / 'd'}"
    assert "  warning: 1 events miss the channel's MET, HT selection\n" in signal.text
    assert "note: channel 1 has no background: no model can be trained on it\n" in signal.text


def test_sources_that_are_ambiguous_or_empty(tmp_path):
    with pytest.raises(DataError, match=r"no background_<chan>_.* give the folder that holds them"):
        discover(tmp_path)
    place(tmp_path, "chan1/x_chan2a.csv", GOOD)
    with pytest.raises(DataError, match="the name says channel 2a, the folder chan1; move"):
        discover(tmp_path)
    (tmp_path / "chan1/x_chan2a.csv").rename(tmp_path / "x_chan2a.csv")
    place(tmp_path, "chan2a/x_chan2a.csv.gz", GOOD)
    with pytest.raises(DataError, match="both are x of channel 2a; keep one of them"):
        discover(tmp_path)


@pytest.mark.parametrize("name", ["", "chan3", "chan3/x_chan3.csv"])
def test_what_cannot_be_read_is_named_before_the_import_begins(tmp_path, lock, name):
    source = tmp_path / "source"
    place(source, "chan1/x_chan1.csv", GOOD)
    place(source, "chan3/x_chan3.csv", GOOD)
    lock(source / name)
    with pytest.raises(DataError) as error:
        import_folder(source, "d", tmp_path / "root")
    assert str(error.value) == f"{source / name}: Permission denied; {UNREADABLE}"
    assert not (tmp_path / "root").exists()


def test_a_source_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(DataError) as error:
        import_folder(tmp_path / "none", "d", tmp_path / "root")
    assert str(error.value) == f"{tmp_path / 'none'}: No such file or directory; {UNREADABLE}"
    (tmp_path / "chan3/x_chan3.csv").mkdir(parents=True)
    with pytest.raises(DataError, match=r"x_chan3\.csv: Is a directory; give"):
        import_folder(tmp_path, "d", tmp_path / "root")


@pytest.mark.parametrize("name", ["channels", "changed", "chan3_new"])
def test_a_folder_whose_name_begins_as_a_channel_may_hold_files(tmp_path, name):
    path = place(tmp_path / name, "x_chan3.csv", GOOD)
    for source in (path.parent, tmp_path, path):
        assert [item.path for item in discover(source)[0]] == [path]


@pytest.mark.parametrize(("name", "text"), [("sample", "reserved"), ("../d", "use letters"),
                                            (".d", "use letters"), ("taken", "is not a dataset")])
def test_dataset_names_that_cannot_be_used(tmp_path, name, text):
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match=text):
        import_folder(place(tmp_path, "x_chan3.csv", GOOD), name, tmp_path)


def test_small_blocks_give_the_same_events(tmp_path, monkeypatch):
    path = place(tmp_path, "x_chan3.csv.gz", EXAMPLES * 40)
    whole = read(import_folder(path, "a", tmp_path).dataset, "3", "x")
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    same(read(import_folder(path, "b", tmp_path).dataset, "3", "x"), whole)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree of several pieces per file, a bad line in most, and one file of each kind."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2000)
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 700)
    place(tmp_path, "source/chan3/background_chan3_8.csv", EXAMPLES * 9 + b"bad\n" + EXAMPLES * 4)
    place(tmp_path, "source/chan3/x_chan3.csv.gz", EXAMPLES * 20)
    place(tmp_path, "source/chan3/y_chan3.csv", GOOD + b"bad\n" + GOOD)
    return tmp_path / "source"


def test_any_number_of_processes_and_any_pieces_give_the_same_dataset(tree, monkeypatch):
    alone, shared = (import_folder(tree, name, tree.parent / name, skip_bad=1, cpus=cpus)
                     for name, cpus in (("alone", 1), ("shared", 2)))
    assert contents(alone.dataset.path) == contents(shared.dataset.path)
    assert [file.skipped for file in shared.files] == [file.skipped for file in alone.files]
    assert alone.files[0].skipped[0].split(": ")[0] == f"{alone.files[0].source}:46"
    monkeypatch.undo()
    whole = import_folder(tree, "whole", tree.parent, skip_bad=1)
    assert [file.events for file in whole.files] == [65, 100, 2]
    for file in whole.files:
        same(*(read(made.dataset, "3", file.process) for made in (alone, whole)))
    with pytest.raises(DataError) as error:
        import_folder(tree, "shared", tree.parent / "shared", cpus=2)
    assert str(error.value).startswith(f"{alone.files[0].source}:46: 1 fields where an event has")


def test_the_index_holds_the_sha256_of_each_source(tree):
    made = import_folder(tree, "d", tree.parent, skip_bad=1)
    for entry in json.loads((made.dataset.path / "dataset.json").read_text())["files"].values():
        source = (tree / "chan3" / entry["source"]).read_bytes()
        assert entry["source_sha256"] == hashlib.sha256(source).hexdigest()


KILLED = """
import os, signal, sys
from pathlib import Path
from scanner.datasets import darkmachines, pieces
pieces.PIECE_BYTES = 2000
calls = []
def progress(done, total, name):
    calls.append(name)
    if calls.count("x_chan3.csv.gz") == 2:
        os.kill(os.getpid(), signal.SIGKILL)
darkmachines.import_folder(Path(sys.argv[1]), "d", Path(sys.argv[2]), skip_bad=1, progress=progress)
"""


def test_after_a_kill_the_same_import_redoes_the_unfinished_files_alone(tree, monkeypatch):
    root, read_again = tree.parent / "root", []
    command = [sys.executable, "-c", KILLED, tree, root]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (root / "d").exists()
    convert = darkmachines.parts
    monkeypatch.setattr(darkmachines, "parts", lambda files, *rest: convert(
        read_again.append([file.process for file in files]) or files, *rest))
    made = import_folder(tree, "d", root, skip_bad=1)
    assert read_again == [["x", "y"]]
    assert made.notes == ("1 files were finished by a call before this one",)
    fresh = import_folder(tree, "d", tree.parent / "other", skip_bad=1)
    assert [replace(file, seconds=0) for file in made.files] == [
        replace(file, seconds=0) for file in fresh.files]
    assert contents(made.dataset.path) == contents(fresh.dataset.path)
    assert [path.name for path in root.iterdir()] == ["d"]


def test_a_file_that_changed_after_a_kill_is_read_again(tree):
    root = tree.parent / "root"
    subprocess.run([sys.executable, "-c", KILLED, tree, root], check=False)
    place(tree, "chan3/background_chan3_8.csv", GOOD)
    made = import_folder(tree, "d", root, skip_bad=1)
    assert made.notes == ()
    assert len(read(made.dataset, "3", "background")) == 1


def test_two_imports_of_one_name_do_not_meet(tree):
    def again(*call):
        with pytest.raises(DataError, match=r"\.d\.import: another import of this dataset is runn"):
            import_folder(tree, "d", tree.parent, skip_bad=1)

    assert import_folder(tree, "d", tree.parent, skip_bad=1, progress=again).dataset.name == "d"


def test_a_full_disk_is_one_error_and_leaves_nothing(tree, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(darkmachines.pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match=r"No space left on device; make room, or choose another"):
        import_folder(tree, "d", tree.parent / "root", skip_bad=1)
    assert not any((tree.parent / "root").iterdir())


def test_published_counts_close():
    totals = {c: sum(n for s, n in counts.items() if s != "background")
              for c, counts in COUNTS.items()}
    assert totals == {"1": 38666, "2a": 5868 + 5221, "2b": 89676, "3": 1023320}
    assert sum(len(counts) - 1 for counts in COUNTS.values()) == 34


# The genuine file


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    path = Path(__file__).parents[2] / "shared" / "data" / GENUINE
    if not path.is_file():
        pytest.skip(f"the genuine file (../shared/data/{GENUINE}) is not here")
    return import_folder(path, "genuine", tmp_path_factory.mktemp("root"))


def histogram(numbers):
    return [int(n) for n in np.bincount(numbers)]


def test_genuine_file_counts(genuine):
    (report,) = genuine.files
    events = read(genuine.dataset, "3", "monojet_Zp2000.0_DM_50.0")
    assert (report.events, report.bytes, len(events)) == (6399, 1188490, 6399)
    assert report.objects == {"j": 22661, "b": 718, "m+": 0, "m-": 0, "e+": 1, "e-": 1, "g": 92}
    assert (report.warnings, report.skipped) == ((), ())
    counts = multiplicity(events)
    assert counts.max(axis=0).tolist() == [11, 3, 0, 0, 1, 1, 2]
    assert histogram(counts.sum(axis=1)) == [0, 274, 1180, 1698, 1546, 1004, 442, 178, 57, 15, 4,
                                             0, 1]
    assert histogram(counts[:, 0]) == [6, 349, 1270, 1770, 1468, 926, 396, 150, 47, 13, 3, 1]
    assert histogram(counts[:, 1]) == [5761, 566, 64, 8]
    assert histogram(counts[:, 6]) == [6308, 90, 1]
    assert set(events.event_id) == {"354"}
    assert set(events.process) == {"monojet_Zp2000.0_DM_50.0"}
    assert set(events.weight) == {2.44336e-05}


def test_genuine_file_quantities(genuine):
    events = read(genuine.dataset, "3", "monojet_Zp2000.0_DM_50.0")
    total = ht(events)
    assert (events.met.min(), events.met.max()) == (np.float32(100.727), np.float32(2346.4))
    assert np.median(events.met) == pytest.approx(572.8, abs=0.05)
    assert (total.min(), total.max()) == pytest.approx((600.009, 3164.3), rel=2e-5)
    assert np.median(total) == pytest.approx(788.8, abs=0.05)
    assert not outside_selection("3", events).any()
    by_kind = {kind: events.kind == code for code, kind in enumerate(KINDS, 1)}
    smallest = [float(events.pt[by_kind[kind]].min()) for kind in ("j", "b", "e-", "g")]
    assert smallest == pytest.approx([22.09, 23.66, 13.81, 10.26], abs=0.005)
    largest = [float(np.abs(events.eta[by_kind[kind]]).max()) for kind in ("j", "b", "g")]
    assert largest == pytest.approx([4.870, 3.747, 2.418], abs=0.0005)
    phi = np.append(events.phi, events.met_phi)
    assert (phi.min(), phi.max()) == (np.float32(-3.14156), np.float32(3.14121))


def test_genuine_file_masses(genuine):
    events = read(genuine.dataset, "3", "monojet_Zp2000.0_DM_50.0")
    energy, pt, eta = (column.astype(float) for column in (events.energy, events.pt, events.eta))
    squared = energy**2 - (pt * np.cosh(eta)) ** 2
    negative = Counter(KINDS[code - 1] for code in events.kind[squared < 0])
    assert negative.keys() == {"j", "g", "e+"}
    jets = np.sqrt(squared[events.kind == 1].clip(0))
    assert np.median(jets) == pytest.approx(17.8, abs=0.05)


def test_genuine_file_is_written_back_byte_for_byte(genuine, tmp_path):
    events = read(genuine.dataset, "3", "monojet_Zp2000.0_DM_50.0")
    write_text(events, tmp_path / GENUINE)
    assert (tmp_path / GENUINE).read_bytes() == genuine.files[0].source.read_bytes()
