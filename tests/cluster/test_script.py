"""slurm/ray_cluster.sh without SLURM: the text of what it would start, and what it refuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scanner.cli import NODES_MISSING

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "ray_cluster.sh"
GOLDEN = ROOT / "tests" / "golden" / "ray_cluster.txt"
QUICKSTART = str(ROOT / "jobs" / "quickstart.yaml")
JOB = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "gpu[07-09]", "SLURM_JOB_NUM_NODES": "3"}
GPUS_PER_TASK = JOB | {"SLURM_GPUS_PER_TASK": "1"}
RESTARTED_TASK = JOB | {
    "SLURM_RESTART_COUNT": "2", "SLURM_ARRAY_JOB_ID": "123450", "SLURM_ARRAY_TASK_ID": "1",
}  # fmt: skip


@pytest.fixture
def script(tmp_path):
    """Run the script with these arguments and variables, in a folder without results."""
    write_command(tmp_path, "scontrol", "printf 'gpu07\\ngpu08\\ngpu09\\n'")
    path = os.pathsep.join(
        [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SCANNER_"))}

    def run(*arguments, **variables):
        return subprocess.run(
            [SCRIPT, *arguments], capture_output=True, text=True, cwd=tmp_path,
            env=kept | {"PATH": path} | variables, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def bash(tmp_path):
    """Run code with the script's functions and variables; commands in tmp_path/bin come first."""
    body = SCRIPT.read_text().rpartition("main")[0]

    def run(code, **variables):
        path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
        return subprocess.run(
            ["bash", "-c", f"{body}\n{code}"], capture_output=True, text=True, cwd=tmp_path,
            env=os.environ | JOB | {"PATH": path, "SCANNER_NODE_TMP": str(tmp_path)} | variables,
            check=False,
        )  # fmt: skip

    return run


def write_command(tmp_path, name, code):
    """A command that the script finds before the real one."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{code}\n")
    path.chmod(0o755)


def test_the_scripts_are_clean():
    scripts = [SCRIPT, ROOT / ".ci" / "run", *sorted(Path(__file__).parent.glob("*.sh"))]
    command = [Path(sys.executable).with_name("shellcheck"), *scripts]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def test_a_dry_run_says_what_would_start(script, tmp_path):
    runs = {
        "outside a job": script("--dry-run", QUICKSTART, "--retry", "bug"),
        "in a restarted array task on three nodes": script(
            "--dry-run", QUICKSTART, QUICKSTART, **RESTARTED_TASK
        ),
    }
    said = ""
    for title, done in runs.items():
        assert (done.returncode, done.stderr) == (0, "")
        plan = done.stdout[done.stdout.index("results and logs:") :]
        plan = plan.replace(str(tmp_path.resolve()), "FOLDER").replace(str(ROOT), "PROJECT")
        said += f"== {title}\n{plan}"
    assert not (tmp_path / "results").exists()
    if os.environ.get("SCANNER_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(said)
    assert GOLDEN.is_file(), f"no record {GOLDEN}; make it with SCANNER_UPDATE_GOLDEN=1"
    assert said == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("arguments", "variables", "remedy"),
    [
        ([], {}, "no grid: sbatch slurm/ray_cluster.sh"),
        ([QUICKSTART], {}, "submit it with sbatch"),
        (["none.yaml"], JOB, "none.yaml: no such grid"),
        ([QUICKSTART, QUICKSTART], JOB, "sbatch --array=0-1"),
        ([QUICKSTART] * 3, JOB | {"SLURM_ARRAY_TASK_ID": "3"}, "submit with --array=0-2"),
        ([QUICKSTART] * 3 + ["--results", "x"], JOB | {"SLURM_ARRAY_TASK_ID": "2"}, "one folder"),
        ([QUICKSTART, "--address", "x:1"], JOB, "options of sbatch"),
        ([QUICKSTART, "--results"], JOB, "--results needs a value"),
        ([QUICKSTART], JOB | {"SLURM_HET_SIZE": "2"}, "heterogeneous jobs are not supported"),
        ([QUICKSTART], JOB | {"SLURM_GPUS": "3"}, "ask for --gpus-per-node"),
        ([QUICKSTART], GPUS_PER_TASK | {"SLURM_TASKS_PER_NODE": "4(x3)"}, "--gpus-per-node"),
        ([QUICKSTART], GPUS_PER_TASK | {"SLURM_TASKS_PER_NODE": "1(x2),2"}, "--gpus-per-node"),
        ([QUICKSTART], JOB | {"SCANNER_NODE_TMP": "/tmp/" + 20 * "x"}, "set SCANNER_NODE_TMP"),
        ([QUICKSTART], JOB | {"PATH": "/usr/bin:/bin"}, "activate the environment"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(script, tmp_path, arguments, variables, remedy):
    if "PATH" in variables:
        variables = variables | {"PATH": f"{tmp_path}/bin:{variables['PATH']}"}
    said = script(*arguments, **variables)
    assert said.returncode == 2
    assert remedy in said.stderr
    assert said.stderr.startswith("ray_cluster.sh: ")
    assert said.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("tasks", ["1", "1(x3)"])
def test_gpus_per_task_are_those_of_a_node_with_one_task(script, tasks):
    said = script("--dry-run", QUICKSTART, **GPUS_PER_TASK, SLURM_TASKS_PER_NODE=tasks)
    assert (said.returncode, said.stderr) == (0, "")


def test_steps_do_not_read_the_shares_of_a_task_back(bash):
    names = ("CPUS_PER_TASK", "TRES_PER_TASK", "NTASKS_PER_NODE")
    said = bash("export_settings; env", **{f"SLURM_{name}": "4" for name in names})
    assert "RAY_AUTH_MODE=token" in said.stdout
    assert not [name for name in names if f"SLURM_{name}=" in said.stdout]


@pytest.mark.parametrize("cleaned", [False, True], ids=["", "a cleaner removed its folder"])
def test_a_node_ends_with_all_that_its_ray_has_left(bash, tmp_path, cleaned):
    """An agent with another name, session, parent and environment; not a driver, with its log."""
    logs, disk = tmp_path / "node" / "scan.1" / "session" / "logs", tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "node").symlink_to(disk)
    start = f"setsid env -i bash -c 'echo $$ >{tmp_path}/$0; exec -a ray::Agent sleep 60'"
    write_command(
        tmp_path, "ray",
        f"mkdir -p {logs}\n"
        f"{start} agent >{logs}/agent.out 2>/dev/null &\n"
        f"{start} driver 3>{logs}/driver.log &>/dev/null &\n"
        f"{start} stranger &>{tmp_path}/scan.2.out &\n"
        f"until [ -s {tmp_path}/agent -a -s {tmp_path}/driver -a -s {tmp_path}/stranger ]; do\n"
        "  sleep 0.05\n"
        "done\n"
        f"{f'rm -r {disk}/scan.1' if cleaned else ''}\n"
        "exit 3",
    )  # fmt: skip
    folder = tmp_path / "node" / "scan.1"
    said = bash(
        f"ray_node {folder} {tmp_path}/logs --head", SLURMD_NODENAME="gpu07", SLURM_CPUS_ON_NODE="1"
    )
    assert said.returncode == 3, said.stderr
    others = [tmp_path / "driver", tmp_path / "stranger"]
    assert [alive(path) for path in (tmp_path / "agent", *others)] == [False, True, True]
    assert not folder.exists()
    for path in others:
        os.kill(int(path.read_text()), signal.SIGKILL)


def alive(path):
    """Whether the process whose id is in a file runs."""
    try:
        stat = Path("/proc", path.read_text().strip(), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] != "Z"


@pytest.mark.parametrize("maker", ["we", "a stranger", "a stranger, as a link to a folder of ours"])
def test_only_a_folder_of_ours_says_where_the_head_is(bash, tmp_path, maker):
    folder = tmp_path / "scan.123456.0.0.0.0"
    made = tmp_path / "other" if "link" in maker else folder
    made.mkdir()
    (made / "ray_current_cluster").write_text("10.0.0.1:6379")
    if "link" in maker:
        folder.symlink_to(made)
    elif maker != "we":
        try:
            os.chown(folder, 65534, 65534)
        except PermissionError:
            pytest.skip("only root can give a folder away")
    said = bash("head_address")
    assert said.stdout == ("10.0.0.1:6379" if maker == "we" else ""), said.stderr


def test_a_warning_before_anything_is_saved_does_not_requeue(script, tmp_path):
    """It comes as soon as it can: during `scanner status`."""
    write_command(tmp_path, "scanner", "kill -USR1 $PPID; exit 3")
    write_command(tmp_path, "scontrol", f"echo $* >>{tmp_path}/asked; echo gpu07; [[ $1 == show ]]")
    for name in ("srun", "scancel"):
        write_command(tmp_path, name, "exit 1")
    said = script(QUICKSTART, **JOB)
    assert said.returncode == 75, said.stderr
    assert "--time is too short" in said.stdout
    assert "to go on:  sbatch slurm/ray_cluster.sh" in said.stdout
    assert "requeue" not in (tmp_path / "asked").read_text()


REQUEUE = "results=results logs=results/logs warned_at=9; mkdir -p $logs; : >$logs/began; "


@pytest.mark.parametrize(
    ("before", "requeued"),
    [
        ("touch -d tomorrow results/checkpoints/x.pt", True),
        ("touch -d yesterday results/checkpoints/x.pt", False),
        ("touch results/PreemptTime", True),
        ("touch -d tomorrow results/checkpoints/x.pt; mkdir $logs/$job.time_limits", False),
    ],
    ids=["it saved", "it saved nothing", "preempted", "time limits cannot be counted"],
)
def test_what_is_requeued_after_a_warning(bash, tmp_path, before, requeued):
    write_command(
        tmp_path, "scontrol",
        "if [[ $1 == requeue ]]; then touch requeued; exit 1; fi\n"
        "if [[ -e results/PreemptTime ]]; then echo PreemptTime=2026; fi",
    )  # fmt: skip
    said = bash(f"{REQUEUE} mkdir -p results/checkpoints; {before}; requeue")
    assert said.returncode == 75, said.stderr
    assert (tmp_path / "requeued").exists() == requeued
    assert "to go on:  sbatch" in said.stdout


@pytest.mark.parametrize(("flag", "signal"), [("warned_at=0", 10), ("terminated=1", 15)])
def test_a_signal_that_came_before_the_driver_reaches_it(bash, flag, signal):
    said = bash(f"{flag}; keepers=($$); sleep 60 & watch_driver $!; echo $driver_rc")
    assert said.stdout == f"{128 + signal}\n"


def test_a_node_that_is_to_stop_before_its_next_start_does_not_start(bash, tmp_path):
    write_command(tmp_path, "srun", f"echo >>{tmp_path}/starts; exit 1")
    said = bash("nap() { kill -TERM $BASHPID; }; logs=. nodes=(gpu07); keep_node 0 3")
    assert said.returncode == 0, said.stdout
    assert (tmp_path / "starts").read_text() == "\n"


def test_a_driver_that_always_dies_is_given_up_with_a_word(bash):
    said = bash(
        "scanner() { kill -KILL $BASHPID; }; nap() { sleep 0.05; }\n"
        "grid=g results=r keepers=($$); launch; echo $driver_rc"
    )
    assert said.stdout.count("the driver died of signal 9") == 5
    assert said.stdout.endswith("not started again after 5 tries; the same sbatch goes on\n137\n")


GIVE_UP = "kill $other; while alive $other; do :; done;"


@pytest.mark.parametrize(
    ("keepers", "meanwhile", "status", "wanted"),
    [("$$ $$ $other", "", NODES_MISSING, ["3", "1"]),
     ("$$ $$ $other", f"[[ ! $* == *3 ]] || {{ {GIVE_UP} }};", NODES_MISSING, ["3", "2", "1"]),
     ("$$ $$ $gone", "", 137, ["2"] * 5),
     ("$$", "", NODES_MISSING, ["1"]),
     ("$$ $$ $other", "", 2, ["3"])],
    ids=["one hangs", "one is given up, one hangs", "one was given up and the driver is killed",
         "of one node", "another error"],
)  # fmt: skip
def test_a_scan_goes_on_with_the_nodes_that_are_there(bash, keepers, meanwhile, status, wanted):
    said = bash(
        f"scanner() {{ echo nodes: ${{*: -1}}; {meanwhile} return {status}; }}\n"
        "sleep 60 & other=$!; sleep 0 & gone=$!; wait $gone; nap() { sleep 0.05; }\n"
        f"grid=g results=r keepers=({keepers}); launch; kill $other 2>&-; ((driver_rc == {status}))"
    )
    assert said.returncode == 0, said.stderr
    assert re.findall(r"nodes: (\d)", said.stdout) == wanted


@pytest.mark.parametrize(("status", "finished"), [(0, True), (1, False)])
def test_a_job_with_nothing_to_do_ends_as_status_does(script, tmp_path, status, finished):
    """`scanner status --check` ends with 1 where failures stay."""
    write_command(tmp_path, "scanner", f"echo the failures; exit {status}")
    said = script(QUICKSTART, **JOB)
    assert said.returncode == status, said.stderr
    assert "the failures" in said.stdout
    assert ("nothing is left to do" in said.stdout) == finished
