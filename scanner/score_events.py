"""New events through a trained trial: their scores, a histogram, and those above a cut."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from scanner import parquet, store
from scanner.atomic import write_atomic, write_text
from scanner.datasets import read_file
from scanner.datasets.files import sha256
from scanner.datasets.published import SELECTIONS, outside_selection
from scanner.errors import ResultError
from scanner.events import Events, ht, met, multiplicity
from scanner.findings import FEW_EVENTS
from scanner.metrics import interval, threshold
from scanner.provenance import provenance
from scanner.report import newest_scan
from scanner.tables import to_csv, to_markdown
from scanner.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from scanner.trained import Trained

    Columns = Mapping[str, NDArray[np.float32]]

PNG_DPI = 150
UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@dataclass(frozen=True)
class Scored:
    """What `score_events` made.

    Attributes:
        trial: The trial that scored.
        source: The file of the events.
        folder: Where the files lie.
        scores: A row per event, in file order: `line` (from 1), and float32 scores.
        summary: A row per score: the cut, and how many events are above it.
        above: The events above the cut, highest first: score, line, value, met_gev, ht_gev,
            multiplicity.
        notes: What a reader must know beside these.
        files: The files written.
    """

    trial: Trial
    source: Path
    folder: Path
    scores: pd.DataFrame
    summary: pd.DataFrame
    above: pd.DataFrame
    notes: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def text(self) -> str:
        """The summary, the notes and where the files are, for a terminal."""
        trial = self.trial
        head = (f"{len(self.scores)} events of {self.source} through trial {trial.id}\n"
                f"({trial.model}, channel {trial.channel}, seed {trial.seed}, {trial.dataset})\n")
        written = f"Written: {', '.join(path.name for path in self.files)} in {self.folder}"
        return "\n".join([head, to_markdown(self.summary), *self.notes, written])


def score_events(
    file: Path | str,
    trial: str,
    results: Path | str | None = None,
    above: float = 1e-2,
    scores: Sequence[str] = (),
    out: Path | str | None = None,
) -> Scored:
    """Score the events of a file with a trained trial, and list those above a cut.

    The weights, the scaler and the representation are the trial's own. A file that the scan has
    scored gets the numbers that the scan gave it (see `trained.score`). The cut of each score is
    the lowest that at most the share `above` of the trial's background test events passes. Ranks of
    a combined score `a+b` are taken among these background events.

    Args:
        file: The challenge's text (plain or gzip), or Parquet with the event schema.
        trial: Id of a trial that is done, or the beginning of its id.
        results: Result folder; the newest in `results` if not given.
        above: Background efficiency eps_B of the list, above 0 and below 1.
        scores: Scores, or combinations `a+b`; all scores, and what the scan combines, if empty.
        out: Folder of the files; `reports/<scan>-<id>-<file>` if not given.

    Raises:
        ResultError: No such trial, or it is not done or diverged; an unknown score; `above` is no
            fraction.
        DataError: A file that is not there, or not of events.
    """
    from scanner.trained import background_scores, checked_names, load, score

    source, eps_b = Path(file), _fraction(above)
    folder = newest_scan(Path("results")) if results is None else Path(results)
    trained = load(folder, trial)
    names, events = checked_names(trained, scores), read_file(source)
    new, known = score(trained, events, names), background_scores(trained, names)
    cuts = {name: threshold(known[name], eps_b) for name in names}
    listed = _above(events, new, cuts)
    target = _target(folder, trained.trial, source) if out is None else Path(out)
    frame = pd.DataFrame({"line": np.arange(1, len(events) + 1)} | new)
    metadata = _metadata(trained, source, eps_b)
    figure = partial(_figure, trained.trial, source, known, new, cuts, eps_b)
    files = _write(target, frame, listed, metadata, figure)
    return Scored(trained.trial, source, target, frame, _summary(known, new, cuts, eps_b), listed,
                  tuple(_notes(trained, events, known, new, eps_b)), files)  # fmt: skip


def _fraction(above: float) -> float:
    if not 0 < above < 1:
        text = f"eps_B = {above}: expected a fraction between 0 and 1, such as 1e-2"
        raise ResultError(f"{text} for the events above what one background event in 100 reaches")
    return float(above)


def _target(results: Path, trial: Trial, source: Path) -> Path:
    stem = Path(source.name.removesuffix(".gz")).stem
    return Path("reports") / f"{results.resolve().name}-{trial.id}-{stem}"


def _above(events: Events, new: Columns, cuts: Mapping[str, float]) -> pd.DataFrame:
    """A row per score and event above its cut, highest first, equal ones in file order."""
    facts = pd.DataFrame({
        "line": np.arange(1, len(events) + 1), "met_gev": met(events), "ht_gev": ht(events),
        "multiplicity": multiplicity(events).sum(axis=1),
    })  # fmt: skip
    parts = []
    for name, values in new.items():
        rows = facts[values > cuts[name]].copy()
        rows.insert(0, "score", name)
        rows.insert(2, "value", values[values > cuts[name]])
        parts.append(rows.sort_values("value", ascending=False, kind="stable"))
    return pd.concat(parts, ignore_index=True)


def _summary(known: Columns, new: Columns, cuts: Mapping[str, float], eps_b: float) -> pd.DataFrame:
    """A row per score: background events and new events above its cut, with a 68 % interval."""
    rows = []
    for name, values in new.items():
        passed, total = int((values > cuts[name]).sum()), len(values)
        low, high = map(float, interval(passed, total))
        beyond = int((known[name] > cuts[name]).sum())
        rows.append((name, cuts[name], f"{beyond} of {len(known[name])}",
                     f"{passed} of {total}", passed / total, low, high))  # fmt: skip
    columns = ["score", f"cut at eps_B = {eps_b:g}", "background above", "new above", "share",
               "68 % low", "68 % high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _notes(
    trained: Trained, events: Events, known: Columns, new: Columns, eps_b: float
) -> Iterable[str]:
    """One sentence for everything that makes the numbers weaker than they look."""
    channel, size = trained.trial.channel, len(next(iter(known.values())))
    if outside := int(outside_selection(channel, events).sum()):
        words = ", ".join(f"{key} >= {value:g}" for key, value in
                          SELECTIONS[channel]._asdict().items() if value)  # fmt: skip
        yield (f"Warning: {outside} of {len(events)} events miss the selection of channel "
               f"{channel} ({words}; GeV): the trial has learnt from no such event.")
    if size * eps_b < FEW_EVENTS:
        yield (f"Caution: of {size} background test events {size * eps_b:g} pass eps_B = {eps_b:g};"
               f" a cut that fewer than {FEW_EVENTS} decide is a rough one.")
    if bad := {name: int((~np.isfinite(v)).sum()) for name, v in new.items()
               if not np.isfinite(v).all()}:  # fmt: skip
        words = ", ".join(f"{count} by {name}" for name, count in bad.items())
        yield f"Warning: scores that are no finite number: {words}."
    if (device := json.loads(trained.provenance).get("device", "cpu")) != "cpu":
        yield (f"The scan scored on {device}, this is the CPU: the scores of the same events agree "
               "to rounding, not to the last bit.")


def _metadata(trained: Trained, source: Path, eps_b: float) -> dict[str, str]:
    return {
        "trial": trained.trial.to_json(), "trained": trained.provenance,
        "provenance": json.dumps(provenance("cpu")), "source": source.name,
        "source_sha256": sha256(source), "above": repr(eps_b),
    }  # fmt: skip


def _figure(
    trial: Trial, source: Path, known: Columns, new: Columns, cuts: Mapping[str, float],
    eps_b: float,
) -> Figure:  # fmt: skip
    from scanner.histograms import score_figure  # matplotlib is loaded where figures are drawn

    title = f"{source.name}: trial {trial.id}, {trial.model}, channel {trial.channel}"
    return score_figure(known, new, cuts, title, f"cut at eps_B = {eps_b:g}")


def _write(
    folder: Path, scores: pd.DataFrame, listed: pd.DataFrame, metadata: Mapping[str, str],
    draw: Callable[[], Figure],
) -> tuple[Path, ...]:  # fmt: skip
    """Write every file of the result, each atomically and without a date in figures."""
    import matplotlib as mpl

    columns = {str(name): scores[name].to_numpy() for name in scores}
    paths = [folder / name for name in ("scores.parquet", "above.parquet", "above.csv")]
    store.write_scores(paths[0], columns, metadata)
    parquet.write_table(paths[1], pa.Table.from_pandas(listed, preserve_index=False))
    write_text(paths[2], to_csv(listed))
    figure = draw()
    for kind, words in UNDATED.items():
        buffer = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "scanner"}):
            figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=words)
        paths.append(folder / f"histogram.{kind}")
        write_atomic(paths[-1], partial(Path.write_bytes, data=buffer.getvalue()))
    return tuple(paths)
