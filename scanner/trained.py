"""A trained network as its scan stored it, and its scores of events it has never seen."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from scanner import store
from scanner.combinations import name_of, rank_averages
from scanner.errors import ResultError
from scanner.events import Events
from scanner.members import State
from scanner.plan import plan
from scanner.registry import SCORES
from scanner.representations import Inputs, Scaler, encode
from scanner.run import SCORE_BATCH, score_inputs
from scanner.schema import nearest
from scanner.trial import Trial, from_json

CHUNK = 64 * SCORE_BATCH["cpu"]  # whole batches, so that an event keeps its place in its batch
NAMED = 5
BACKGROUND, NEW = "background", "new"
Columns = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Trained:
    """A trained trial, ready to score.

    Attributes:
        trial: What was trained.
        state: Its weights.
        scaler: Fitted on its background training events.
        background: Scores of its background test events, by name, as the scan stored them.
        names: Scores it has, and the combinations that its scan ranks.
        provenance: What the scan said of its making, as JSON.
    """

    trial: Trial
    state: State
    scaler: Scaler
    background: Columns
    names: tuple[str, ...]
    provenance: str


def load(results: Path, prefix: str) -> Trained:
    """The trained trial whose id begins with `prefix`.

    Raises:
        ResultError: No result folder, no such trial or several, a trial that is not done, has
            failed or diverged, or a file that cannot be read.
    """
    scan = store.read_scan(results)
    planned = plan(scan.grid())
    ranked = dict(zip((trial.id for trial in store.standing(results, planned)), planned.scores,
                      strict=True))  # fmt: skip
    found = find(results, prefix, ranked)
    _refuse_unfinished(results, found, scan.grid_path)
    state, scaler, metadata = _read_weights(results / "weights" / f"{found}.pt")
    stored = store.read_scores(results / "scores" / f"{found}.parquet")
    rows = stored[stored["process"] == BACKGROUND]
    background = {name: rows[name].to_numpy() for name in SCORES if name in rows}
    combined = sorted(name for name in ranked.get(found, ()) if "+" in name)
    return Trained(from_json(metadata["trial"]), state, Scaler.from_state(scaler), background,
                   (*background, *combined), metadata["provenance"])  # fmt: skip


def find(results: Path, prefix: str, planned: Iterable[str]) -> str:
    """The only id, planned or done, that begins with `prefix`.

    Raises:
        ResultError: None does, or several.
    """
    ids = sorted({*planned, *store.done(results)})
    matches = [name for name in ids if name.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        some = ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
        text = f"{results}: none of its {len(ids)} trials has an id that begins with {prefix!r}"
        raise ResultError(f"{text}: {some}; ids are the file names in {results / 'trials'}")
    some = ", ".join(matches[:NAMED]) + (", ..." if len(matches) > NAMED else "")
    text = f"{results}: {len(matches)} trials have ids that begin with {prefix!r}"
    raise ResultError(f"{text}: {some}; give more of the id")


def score(trained: Trained, events: Events, names: Iterable[str]) -> Columns:
    """Scores of new events, float32 in their order, from the posterior mean, on the CPU.

    The rank of a combination `a+b` is taken among the trial's background test events, as in its
    scan: new events are compared with the background and never with each other. Of the same events
    in the same order the scores are those of the scan to the bit (if it scored on a CPU too); other
    neighbours in a batch change the last bits of some, because matrix products do.

    Args:
        trained: The trial.
        events: New events, GeV and radians.
        names: Scores and combinations of `checked_names`.
    """
    return _with_combinations(trained.background, _single(trained, events), names)


def background_scores(trained: Trained, names: Iterable[str]) -> Columns:
    """The same scores of the trial's background test events, as its scan stored them."""
    return _with_combinations(trained.background, trained.background, names)


def checked_names(trained: Trained, names: Iterable[str]) -> tuple[str, ...]:
    """Names of scores and of combinations of two, as results have them; all of them for none.

    Raises:
        ResultError: A name is no score of this trial.
    """
    return tuple(dict.fromkeys(_checked(trained, name) for name in names)) or trained.names


def _checked(trained: Trained, name: str) -> str:
    words = name.split("+")
    for word in words:
        if word not in trained.background:
            text = f"score {name!r}: {word!r} is no score of trial {trained.trial.id}"
            raise ResultError(text + nearest(word, trained.background))
    if len(set(words)) < len(words) or len(words) > 2:
        raise ResultError(f"score {name!r}: write one score, or two different ones as a+b")
    return name_of(words)


def _single(trained: Trained, events: Events) -> Columns:
    trial, scaler = trained.trial, trained.scaler
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a scan: sums in one order
    try:
        parts = [
            score_inputs(trial, trained.state, Inputs(*scaler.apply(
                encode(trial.representation, events.take(slice(start, start + CHUNK))))))
            for start in range(0, len(events), CHUNK)
        ]  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    return {name: np.concatenate([part[name] for part in parts]) for name in trained.background}


def _with_combinations(background: Columns, new: Columns, names: Iterable[str]) -> Columns:
    """The named columns of `new`; combinations are ranks among `background`."""
    out = dict(new)
    for name in names:
        if name not in out:
            pair = name.split("+")
            source = {BACKGROUND: background, NEW: new}
            ranks = rank_averages({p: {w: s[w] for w in pair} for p, s in source.items()})
            out[name] = ranks[NEW][name].astype(np.float32)
    return {name: out[name] for name in names}


def _refuse_unfinished(results: Path, found: str, grid_path: str) -> None:
    path = results / "trials" / f"{found}.parquet"
    if not path.exists():
        if failed := store.failures(results).get(found):
            why = f"failed ({failed['class']}: {failed['exception']})"
            again = f" --retry {failed['class']}"
        else:
            why, again = "is not done", ""
        text = f"trial {found} {why} and has no weights"
        raise ResultError(f"{text}; run `scanner launch {grid_path}{again} --only {found}`")
    if "diverged" in pq.read_table(path, columns=["status"])["status"].to_pylist():
        text = f"trial {found} diverged: its training ended without usable weights"
        raise ResultError(f"{text}; score with another trial (`scanner status {results}`)")


def _read_weights(path: Path) -> tuple[State, dict[str, Tensor], dict[str, str]]:
    """Weights, scaler and metadata of a weights file."""
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        return record["state"], record["scaler"], record["metadata"]
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        text = f"{path}: unreadable ({type(error).__name__})"
        raise ResultError(f"{text}; delete trials/{path.stem}.parquet and launch again") from error
