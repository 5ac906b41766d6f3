"""The command line: the only module that prints or exits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import scanner
from scanner.errors import NodesMissing, ScannerError
from scanner.launch import Outcome, Progress

USER_ERROR, FAILED, INTERRUPTED = 2, 1, 130
MORE_TO_DO, LEFT = 75, 3  # EX_TEMPFAIL: asked to stop before all was done; of `status --check`
NODES_MISSING = 4
NO_RATES = "time: no rates of this machine yet; --pilot measures them in 20 s"
GRID = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
DATA_ROOT = click.option(
    "--data", "data_root", type=FOLDER, envvar="SCANNER_DATA",
    help="Folder of imported datasets (SCANNER_DATA, else ./data).",
)  # fmt: skip
CPUS = click.option(
    "--cpus", default=1, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Processes that read.",
)  # fmt: skip


def main() -> None:
    """Run the command line; a user's mistake ends with its text and exit code 2.

    Nodes that do not come have a code of their own, 4: a batch job goes on without them.
    """
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(USER_ERROR)
    except ScannerError as error:
        click.echo(str(error), err=True)
        sys.exit(NODES_MISSING if isinstance(error, NodesMissing) else USER_ERROR)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; the same command goes on from here", err=True)
        sys.exit(INTERRUPTED)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(scanner.__version__)
def cli() -> None:
    """Scan anomaly detectors: train a grid of models on background events, and rank them."""


@cli.command()
@click.argument("grid", type=GRID)
@click.option("--results", type=FOLDER, help="Result folder (results/<name>).")
@DATA_ROOT
@click.option("--dataset", help="Use this dataset in place of the grid's.")
@click.option("--dry-run", is_flag=True, help="Check, count, estimate and stop.")
@click.option("--pilot", is_flag=True, help="Measure rates for 20 s, estimate and stop.")
@click.option("--address", help="HOST:PORT of a running Ray cluster; a local one otherwise.")
@click.option("--nodes", default=1, type=click.IntRange(min=1), help="Nodes to wait for (1).")
@click.option("--cpus", type=click.IntRange(min=1), help="CPUs of the local Ray (all).")
@click.option("--retry", multiple=True, metavar="CLASS", help="Run failures of a class again.")
@click.option("--only", multiple=True, metavar="ID", help="Run these trials only.")
def launch(
    grid: Path,
    results: Path | None,
    data_root: Path | None,
    dataset: str | None,
    dry_run: bool,
    pilot: bool,
    address: str | None,
    nodes: int,
    cpus: int | None,
    retry: tuple[str, ...],
    only: tuple[str, ...],
) -> None:
    """Run every trial of GRID that is not done yet."""
    if dry_run or pilot:
        from scanner.plan import plan, summary

        click.echo(summary(plan(scanner.load_grid(grid, data_root, dataset))))
        found = scanner.estimate(grid, data_root=data_root, dataset=dataset, cpus=cpus, pilot=pilot)
        click.echo(found.text if found else NO_RATES)
        return
    with _progress("trials", "starting Ray") as progress:
        outcome = scanner.launch(
            grid, results, data_root=data_root, dataset=dataset, address=address, nodes=nodes,
            cpus=cpus, retry=retry, only=only, progress=progress,
        )  # fmt: skip
    _say_outcome(outcome)


@cli.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--results", type=FOLDER, help="Result folder of a grid (results/<name>).")
@click.option(
    "--check", is_flag=True, help="Exit with 3 if something is left to run, else 1 after failures."
)
def status(target: Path, results: Path | None, check: bool) -> None:
    """Say what the scan of TARGET, a grid file or a result folder, has done and what is next."""
    from scanner.status import describe

    state = scanner.status(target, results)
    click.echo(describe(state))
    if check and (state.left or state.failed):
        sys.exit(LEFT if state.left else FAILED)


@cli.command()
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Folder of the report (reports/<name>), or FILE.html for its page alone.",
)
@click.option(
    "--convention", type=click.Choice(["clean", "published"]), default="clean", show_default=True,
    help="Ranking convention that tables and figures show.",
)  # fmt: skip
@click.option("--against", multiple=True, type=GRID, help="Challenge CSV file to rank beside.")
@click.option("--style", default="", metavar="NAME", help="Figures in a style of mplhep, as CMS.")
def report(
    sources: tuple[Path, ...], out: Path | None, convention: str, against: tuple[Path, ...],
    style: str,
) -> None:  # fmt: skip
    """Rank the models of SOURCES (result folders, challenge CSV files; the newest scan)."""
    made = scanner.report([*sources, *against], out, convention=convention, style=style)
    click.echo(made.text)


@cli.command("score")
@click.argument("file", type=GRID)
@click.option("--trial", required=True, metavar="ID", help="Trial, or the beginning of its id.")
@click.option("--results", type=FOLDER, help="Result folder (the newest in results/).")
@click.option("--score", "scores", multiple=True, help="Score, or a+b (all the scan has).")
@click.option(
    "--above", type=float, default=1e-2, show_default=True, metavar="EPS_B",
    help="List events above the cut that this share of the background passes.",
)  # fmt: skip
@click.option("--out", type=FOLDER, help="Folder of the files (reports/<scan>-<id>-<file>).")
def score_events(
    file: Path, trial: str, results: Path | None, scores: tuple[str, ...], above: float,
    out: Path | None,
) -> None:  # fmt: skip
    """Score the events of FILE (the challenge's text, or Parquet) with a trained trial."""
    made = scanner.score_events(file, trial, results, above, scores, out)
    click.echo(made.text)


@cli.group()
def data() -> None:
    """Look at datasets, or bring one in."""


@data.command("list")
@DATA_ROOT
def list_(data_root: Path | None) -> None:
    """List the datasets with their channels and signals; a damaged one with what it lacks."""
    for dataset in scanner.list_datasets(data_root):
        click.echo(f"{dataset.name:20s} {dataset.text}  {dataset.path}")


@data.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", default="darkmachines", show_default=True, help="Name of the dataset.")
@DATA_ROOT
@click.option(
    "--skip-bad", default=0, show_default=True, type=click.IntRange(min=0), metavar="N",
    help="Bad lines to tolerate per file.",
)  # fmt: skip
@CPUS
def import_(source: Path, name: str, data_root: Path | None, skip_bad: int, cpus: int) -> None:
    """Import SOURCE: one challenge file, or a folder with chan1, chan2a, chan2b, chan3.

    The files that an interrupted import has finished are taken over by the same command.
    """
    with _bytes_bar() as progress:
        made = scanner.import_folder(
            source, name, data_root, skip_bad=skip_bad, cpus=cpus, progress=progress
        )
    click.echo(made.text)


@data.command()
@click.argument("name")
@DATA_ROOT
@click.option("--server", default="https://zenodo.org", show_default=True, help="Or a mirror.")
@CPUS
def fetch(name: str, data_root: Path | None, server: str, cpus: int) -> None:
    """Download, check and import the published dataset NAME: darkmachines, darkmachines-secret.

    After an interruption the same command goes on where it stopped.
    """
    with _bytes_bar() as progress:
        made = scanner.fetch(name, data_root, server=server, cpus=cpus, progress=progress)
    click.echo(made.text)


@data.command()
@click.argument("source", type=FOLDER)
@click.option("--name", required=True, help="Name of the dataset.")
@DATA_ROOT
def add(source: Path, name: str, data_root: Path | None) -> None:
    """Add your own events: SOURCE holds chan<channel>/background.parquet and signals beside it."""
    made = scanner.add_dataset(source, name, data_root)
    click.echo(f"{made.name:20s} {made.text}  {made.path}")


@data.command()
@click.argument("name")
@DATA_ROOT
@click.option("--out", type=FOLDER, help="Folder for a page with figures, and the tables as CSV.")
@click.option("--verify", is_flag=True, help="Compare every file with its checksum first.")
def inspect(name: str, data_root: Path | None, out: Path | None, verify: bool) -> None:
    """Count and summarise the events of dataset NAME."""
    click.echo(scanner.inspect(name, data_root, out=out, verify=verify).text)


@data.command()
@click.argument("recipe", type=GRID)
@click.option("--name", help="Name of the dataset (the recipe's).")
@DATA_ROOT
@click.option("--csv", type=FOLDER, help="Write the challenge's text files here too.")
@click.option("--cpus", type=click.IntRange(min=1), help="Processes at once (all cores).")
def generate(
    recipe: Path, name: str | None, data_root: Path | None, csv: Path | None, cpus: int | None
) -> None:
    """Generate the events of RECIPE with PYTHIA and FastJet (the extra `generate`)."""
    with _progress("chunks", "starting PYTHIA") as progress:
        made = scanner.generate(
            recipe, data_root, name=name, csv=csv, cpus=cpus, progress=progress
        )
    click.echo(made.text)


def _plain(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def _progress(what: str, start: str) -> Iterator[Progress]:
    """A progress line on a terminal, plain lines otherwise."""
    if not sys.stderr.isatty():
        yield lambda done, planned, text: _plain(f"{done} of {planned} {what} done: {text}")
        return
    from rich import progress as rich

    text = rich.TextColumn("{task.description}")
    columns = text, rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn()
    with rich.Progress(*columns) as bar:
        task = bar.add_task(start)
        yield lambda done, planned, text: bar.update(
            task, completed=done, total=planned, description=text
        )


@contextmanager
def _bytes_bar() -> Iterator[Callable[[int, int, str], None]]:
    """A bar over bytes with their rate on a terminal, a plain line per tenth otherwise."""
    if not sys.stderr.isatty():
        said = set[tuple[int, str]]()

        def say(done: int, total: int, text: str) -> None:
            if (now := (10 * done // total if total else 0, text)) not in said:
                said.add(now)
                _plain(f"{done / 1e6:.0f} of {total / 1e6:.0f} MB, {text}")

        yield say
        return
    from rich import progress as rich

    text = rich.TextColumn("{task.description}")
    columns = rich.DownloadColumn(), rich.TransferSpeedColumn(), rich.TimeRemainingColumn()
    with rich.Progress(text, rich.BarColumn(), *columns) as bar:
        task = bar.add_task("")
        yield lambda done, total, text: bar.update(
            task, completed=done, total=total or None, description=text
        )


def _say_outcome(outcome: Outcome) -> None:
    from scanner.status import describe

    click.echo(describe(scanner.status(outcome.results)))
    if outcome.stopped:
        _plain(f"stopped: {outcome.stopped}")
    if outcome.interrupted:
        _plain("interrupted; the same command goes on from here")
        sys.exit(MORE_TO_DO)
    if outcome.failed or outcome.stopped:
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
