"""Damaged result files: what is wrong with each, and a command that makes it again."""

from fake_results import write_results

from scanner import store
from scanner.mending import mending


def test_a_table_is_made_again_by_a_launch_and_other_files_with_their_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, trials = write_results(store.Path("results/demo"))
    one = trials[0]
    table = folder / "trials" / f"{one.id}.parquet"
    scores = folder / "scores" / f"{one.id}.parquet"
    control = folder / "controls" / f"{store.control_name(one)}.parquet"
    bad = (table, scores, control)
    found = mending({path: f"{path}: unreadable (cut); launch" for path in bad})
    assert set(found["fault"]) == {"unreadable (cut)"}
    commands = dict(zip(found["file"], found["command"], strict=True))
    assert commands == {
        str(table): "scanner launch demo.yaml",
        str(scores): f"rm {scores} {table} && scanner launch demo.yaml",
        str(control): f"rm {control} {table} && scanner launch demo.yaml",
    }


def test_a_folder_elsewhere_and_another_dataset_are_in_the_command(tmp_path):
    folder, trials = write_results(tmp_path / "far")
    scan = store.read_scan(folder)
    other = store.Scan(scan.grid_path, scan.grid_text, "mine", "digest", {}, ("1", "3"))
    store.write_scan(folder, other)
    path = folder / "trials" / f"{trials[0].id}.parquet"
    (command,) = mending({path: "cut"})["command"]
    assert command == f"scanner launch demo.yaml --dataset mine --results {folder}"
