"""What one worker does with a pack: load, fit, score, measure, write."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call

from scanner import store
from scanner.channel import ChannelData, load_channel_of
from scanner.checkpoint import Keeper
from scanner.combinations import rank_averages
from scanner.errors import DataError, Interrupted, ResultError
from scanner.latents import latent_vectors
from scanner.members import State
from scanner.metrics import measure
from scanner.models import LATENT, build_model, set_precision
from scanner.packing import fit_in_parts, is_out_of_memory
from scanner.place import Place
from scanner.provenance import provenance
from scanner.registry import SCORES, resolve
from scanner.representations import Inputs
from scanner.scores import Evaluated
from scanner.stopping import is_asked
from scanner.study import Study
from scanner.train import FitResult
from scanner.trial import Trial

SCORE_BATCH = {"cpu": 256, "cuda": 8192}
UNTRAINED = "untrained_"
TWICE = "%s: was trained twice; its first result stays"
Row = dict[str, str | float | int]
log = logging.getLogger(__name__)


def run_pack(
    pack: Sequence[Trial], place: Place, on_epoch: Callable[[int, int], None] | None = None
) -> dict[str, str]:
    """Train, score and write every trial of a pack; a failure is recorded with its class.

    Args:
        pack: Trials with one `Trial.pack_key`. What has a result is left out.
        place: Where.
        on_epoch: Called after each epoch with its number and how many members go on.

    Returns:
        Trial id -> `done`, `diverged`, `interrupted` or the class of its failure.
    """
    done = store.done(place.results)
    left = [trial for trial in pack if trial.id not in done]
    return {trial.id: "done" for trial in pack} | attempt(left, place.results, lambda: {
        result.trial.id: result.status for result in train_pack(left, place, on_epoch)
    })  # fmt: skip


def attempt(
    units: Sequence[Trial | Study], results: Path, work: Callable[[], dict[str, str]]
) -> dict[str, str]:
    """What `work` returns, or the class of its failure for every unit, with a record of each."""
    torch.set_num_threads(1)
    try:
        return work()
    except Interrupted:
        done = store.done(results)
        return {unit.id: "done" if unit.id in done else "interrupted" for unit in units}
    except Exception as error:  # the worker's edge: whatever it was, the scan must hear of it
        record, done = failure(error), store.done(results)
        with suppress(ResultError):  # a full disk: then only the driver says what happened
            for unit in units:
                if unit.id not in done:
                    store.write_failure(results, unit, record)
        return {unit.id: "done" if unit.id in done else record["class"] for unit in units}


def train_pack(
    pack: Sequence[Trial], place: Place, on_epoch: Callable[[int, int], None] | None = None
) -> list[FitResult]:
    """Train, score and write every trial of a pack, as `run_pack` has it."""
    if is_asked(place.marker):
        raise Interrupted
    if not pack:
        return []
    data = load_channel_of(pack[0], place.data_root, place.device)
    made = {"provenance": json.dumps(provenance(place.device))}
    _write_controls(pack[0], data, place.results, made)
    trained: list[FitResult] = []
    keeper = Keeper(place)
    parts = fit_in_parts(
        pack, data.train, data.validation, on_epoch, place.automatic, keeper, place.gpu_share
    )
    for part in parts:
        for result in part:
            keeper.look()
            metadata = {"trial": result.trial.to_json(), **made}
            write_trial(result, data, place.results, metadata)
        trained += part
    return trained


def failure(error: Exception) -> dict[str, str]:
    """Class, text and last own frame of an exception, as `failures/<id>.json` holds them."""
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).parent
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(here)] or frames
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else "unknown"
    if is_out_of_memory(error):
        kind = "out_of_memory"
    elif isinstance(error, DataError):
        kind = "data"
    elif isinstance(error, ResultError):
        kind = "storage"
    else:
        kind = "bug"
    text = "".join(traceback.format_exception(error))
    return {"class": kind, "exception": repr(error), "frame": where, "traceback": text}


def score_inputs(
    trial: Trial, state: State, inputs: Inputs, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Every registered score of every event, from the posterior mean: float32, in event order."""
    set_precision(trial)
    model = build_model(trial).to(inputs.objects).eval()
    placed = {k: v.to(inputs.objects.device) for k, v in state.items()}
    functions = {name: resolve(entry) for name, entry in SCORES.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    size = SCORE_BATCH[inputs.objects.device.type]
    with torch.inference_mode():
        for start in range(0, len(inputs.objects), size):
            batch = Inputs(*(t[start : start + size] for t in inputs))
            noise = batch.objects.new_zeros(len(batch.objects), LATENT)
            found = Evaluated(batch, functional_call(model, placed, (batch, noise)), trial)
            for name, function in functions.items():
                parts[name].append(function(found).float().cpu().numpy())
    return {prefix + name: np.concatenate(values) for name, values in parts.items()}


def control_scores(data: ChannelData, process: str) -> dict[str, np.ndarray]:
    """What no training gives: norm of the scaled event, HT, MET and multiplicity, float32."""
    inputs = data.test[process]
    met, ht, _, multiplicity = data.quantities[process].T
    return {
        "norm": inputs.objects.flatten(1).norm(dim=1).float().cpu().numpy(),
        "ht": ht,
        "met": met,
        "multiplicity": multiplicity.astype(np.int64),
    }


def _write_controls(
    trial: Trial, data: ChannelData, results: Path, made: Mapping[str, str]
) -> None:
    name = store.control_name(trial)
    path = results / "controls" / f"{name}.parquet"
    if path.exists():
        return
    scores = {process: control_scores(data, process) for process in data.test}
    metadata = {"trial": trial.to_json(), **made}
    columns = _columns(data, scores)
    store.write_scores(results / "scores" / f"control-{name}.parquet", columns, metadata)
    store.write_metrics(path, _rows(scores, {"status": "done"}, "control"), metadata)


def write_trial(
    result: FitResult, data: ChannelData, results: Path, metadata: Mapping[str, str]
) -> None:
    """Score and measure a trained trial and write its files, the table of metrics last.

    Where it has a table already, of an attempt that was taken for dead, that one stays.
    """
    trial = result.trial
    if store.table_path(results, trial.id).exists():
        log.warning(TWICE, trial.id)
        return
    scores = {
        process: {
            **score_inputs(trial, result.best, inputs),
            **score_inputs(trial, result.initial, inputs, UNTRAINED),
        }
        for process, inputs in data.test.items()
    }
    history = result.history
    trained = [v for s in scores.values() for n, v in s.items() if not n.startswith(UNTRAINED)]
    shared: Row = {
        "status": "diverged" if _any_nan(trained) else result.status,
        "epochs": len(history),
        "best_epoch": result.best_epoch,
        "validation_loss": _lowest([row["validation_loss"] for row in history]),
        "parameters": sum(p.numel() for p in build_model(trial).parameters()),
        "wall_s": sum(row["wall_s"] for row in history),
    }
    store.write_history(results, trial, history)
    store.write_weights(results, trial, result.best, data.scaler.state(), metadata)
    store.write_scores(results / "scores" / f"{trial.id}.parquet", _columns(data, scores), metadata)
    store.write_scores(results / "latent" / f"{trial.id}.parquet",
                       latent_vectors(trial, result.best, data.test, data.events), metadata)
    pairs = [rank_averages(scores, prefix) for prefix in ("", UNTRAINED)]
    ranked = {p: {**scores[p], **pairs[0][p], **pairs[1][p]} for p in scores}
    rows = _rows(ranked, shared, "trained")
    if not store.write_result(results, trial, rows, metadata):
        log.warning(TWICE, trial.id)
    store.clear_failure(results, trial)


def _columns(
    data: ChannelData, scores: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    names = list(scores["background"])
    columns = {
        "process": np.concatenate([np.full(len(data.events[p]), p) for p in scores]),
        "event": np.concatenate([data.events[p] for p in scores]),
    }
    return columns | {n: np.concatenate([scores[p][n] for p in scores]) for n in names}


def _rows(
    scores: Mapping[str, Mapping[str, np.ndarray]], shared: Row, stage: str
) -> list[Row]:
    """A row of metrics per (score, signal); a diverged trial has rows without numbers."""
    rows: list[Row] = []
    background = scores["background"]
    for signal in sorted(set(scores) - {"background"}):
        for name, values in scores[signal].items():
            untrained = name.startswith(UNTRAINED)
            row = {**shared, "signal": signal, "score": name.removeprefix(UNTRAINED)}
            row["stage"] = "untrained" if untrained else stage
            counts = untrained or shared["status"] == "done"
            if counts and not _any_nan([background[name], values]):
                row |= measure(background[name], values)
            else:
                row |= {"n_background": len(background[name]), "n_signal": len(values)}
            rows.append(row)
    return rows


def _any_nan(arrays: Iterable[np.ndarray]) -> bool:
    return any(np.isnan(array).any() for array in arrays)


def _lowest(losses: list[float]) -> float:
    finite = [loss for loss in losses if np.isfinite(loss)]
    return min(finite) if finite else np.nan
