"""`python -m tests.benchmarks.faults`: what a fetch says of each injected fault, and the next call.

Every call is the command itself, against a server on the loopback; a small tmpfs, which takes root
to mount, is the disk that is full. URL stands for the address of the archive.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.zenodo import LINE, TEXTS, Zenodo, archive

BACKGROUND = "training_files/chan3/background_chan3_8.02.csv"
LARGE = archive(TEXTS | {BACKGROUND: LINE.format("njets") * 300_000})
SERVER = {
    "connection cut once": ["cut"],
    "cut, then a server without ranges": ["cut", "no range"],
    "cut, then 416": ["cut", "416"],
    "cut for good": ["cut", "hang up", "hang up", "hang up", "503"],
    "server busy": ["503"] * 5,
    "wrong bytes": ["wrong bytes"],
    "wrong length": ["wrong length"],
    "too many bytes": ["too long"],
    "no such file": ["404"],
    "forbidden": ["403"],
}
ARCHIVES = {
    "path above the folder": archive(extra=[("../evil.csv", tarfile.REGTYPE, "")]),
    "absolute path": archive(extra=[("/tmp/evil.csv", tarfile.REGTYPE, "")]),
    "symbolic link": archive(extra=[("training_files/chan1", tarfile.SYMTYPE, "/etc")]),
    "hard link": archive(extra=[("x.csv", tarfile.LNKTYPE, "/etc/hosts")]),
    "device": archive(extra=[("null.csv", tarfile.CHRTYPE, "")]),
    "no archive": b"<html>not found</html>" * 99,
    "archive cut short": archive()[:9000],
    "malformed text": archive(TEXTS | {"training_files/chan3/x_chan3.csv": LINE + "nonsense\n"}),
}
DISKS = {"disk too small, size published": (True, "40m"),
         "disk full in the download": (False, "10m"),
         "disk too small for the texts": (False, "50m")}
KILLS = {"Ctrl-C": signal.SIGINT, "SIGKILL": signal.SIGKILL}


def command(server):
    return [sys.executable, "-m", "scanner", "data", "fetch", "darkmachines", "--data", "data",
            "--server", server.url]


def call(server, folder):
    """Exit code, and the lines that tell of a fault: the last one, or what was mended."""
    made = subprocess.run(command(server), cwd=folder, capture_output=True, text=True, check=False)
    text = made.stderr.replace(server.file, "URL").replace(server.url, "https://zenodo.org")
    lines = text.replace(f"{folder}/", "").splitlines()
    told = [line.split(", ", 1)[1] for line in lines if line.endswith(("going on", "file again"))]
    return made.returncode, " / ".join(told) if made.returncode == 0 else lines[-1]


def killed(server, folder, number):
    """Exit code, and the last line of a call that a signal ends in the middle of the download."""
    server.faults = ["wait"]
    heard = [signal.SIGINT, signal.SIG_DFL]  # a background job ignores it
    with subprocess.Popen(command(server), cwd=folder, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(*heard)) as child:
        child.stderr.readline()
        child.send_signal(number)
        _, error = child.communicate(timeout=60)
    server.released.set()
    return child.returncode, error.splitlines()[-1] if number == signal.SIGINT else ""


def row(name, first, server, folder):
    """A line of the table, after the second call to a server that has no fault."""
    code, text = first
    before, second = len(server.ranges), call(server, folder)
    wanted = server.ranges[before:]
    if second[0] or sorted(path.name for path in (folder / "data").iterdir()) != ["darkmachines"]:
        raise SystemExit(f"{name}: the second call says {second}")
    went = f"from {wanted[0]}" if wanted and wanted[0] else "anew" if wanted else "no download"
    went = "is there already" if code == 0 else f"completes, {went}"
    return f"| {name} | {code} | {text.replace('|', '/')} | {went.replace('bytes=', 'byte ')} |"


def mounted(folder, size):
    (folder / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder / "data"],
                   check=True)


def trials():
    """Name, archive, whether its checksum is published, size of the disk, and the first call."""
    for name, faults in SERVER.items():
        yield name, archive(), True, "", lambda server, folder, faults=faults: (
            server.faults.extend(faults) or call(server, folder))
    for name, content in ARCHIVES.items():
        yield name, content, False, "", call
    for name, (published, size) in DISKS.items():
        yield name, LARGE, published, size, call
    for name, number in KILLS.items():
        yield name, archive(), True, "", lambda server, folder, number=number: killed(
            server, folder, number)
    yield "no network", archive(), True, "", lambda server, folder: (
        server.close() or call(server, folder))


def measure(name, content, published, size, first):
    with tempfile.TemporaryDirectory() as temporary:
        folder, server = Path(temporary), Zenodo(content)
        if not published:
            server.published = None
        try:
            if size:
                mounted(folder, size)
            said = first(server, folder)
            if size:
                subprocess.run(["mount", "-o", "remount,size=1g", folder / "data"], check=True)
            if name == "no network":
                server = Zenodo(content)
            server.offer(content if size else archive())
            return row(name, said, server, folder)
        finally:
            server.close()
            if size:
                subprocess.run(["umount", folder / "data"], check=True)


def main():
    """Print the rows of reports/benchmarks/faults.md."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    print("| fault | exit code | what the user reads | the same command again |\n|---|---|---|---|")
    for trial in trials():
        print(measure(*trial), flush=True)


if __name__ == "__main__":
    main()
