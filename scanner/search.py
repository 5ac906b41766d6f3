"""Run a search: ask Optuna for a batch of suggestions, train it as one pack, tell, ask again.

Nothing is kept but the search's own record: a batch follows from what the batches before it found
and from a random stream of its own. A search that was killed therefore goes on as if it had not
been, and loses at most the batch in flight. A training whose result is gone, though the record has
it, is trained again as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from math import inf, isfinite
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

from scanner import store
from scanner.channel import load_channel_of
from scanner.losses import training_loss
from scanner.members import State, stream
from scanner.models import LATENT, build_model, set_precision
from scanner.place import Place
from scanner.provenance import provenance
from scanner.representations import Inputs
from scanner.run import attempt, train_pack
from scanner.study import Found, Record, Study
from scanner.train import validation_batch
from scanner.trial import Trial

if TYPE_CHECKING:
    import optuna


def run_study(
    study: Study, place: Place, on_batch: Callable[[int], None] | None = None
) -> dict[str, str]:
    """Finish a search from where its record stands; a failure is recorded with its class.

    Args:
        study: The search.
        place: Where.
        on_batch: Called with the number of trainings after every batch.

    Returns:
        Trial id -> `done` or `diverged`, or the search's id -> the class of its failure.
    """
    return attempt([study], place.results, lambda: _search(study, place, on_batch))


def suggest(record: Record) -> list[Trial]:
    """The trainings of the batch that the record stands in, but for those it has.

    The batch depends on the search and on the batches before it alone; the grid's own settings are
    the first of the first.
    """
    import optuna

    study, number = record.study, len(record.found) // record.study.batch
    start = number * study.batch
    ranges: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, low, high in study.space
    }  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    teller = optuna.create_study(sampler=_sampler(study, number))
    teller.add_trials([
        optuna.create_trial(params=_varied(found, study), distributions=ranges,
                            value=found.objective)
        for found in record.found[:start] if _inside(found, study)
    ])  # fmt: skip
    asked = [_rounded(teller.ask(dict(ranges)).params, study) for _ in range(study.batch)]
    batch = [study.suggestion(values) for values in asked]
    if number == 0:
        batch = [study.trial, *batch[:-1]]
    return batch[len(record.found) - start : study.trials - start]


def objective(trial: Trial, state: State, validation: Inputs) -> float:
    """Mean validation loss per event of weights, as the training of `trial` measures it."""
    set_precision(trial)
    model = build_model(trial).to(validation.objects).eval()
    placed = {name: value.to(validation.objects.device) for name, value in state.items()}
    events = len(validation.objects)
    noise = torch.randn((events, LATENT), generator=stream(trial.seed, "validation"))
    total, weights = 0.0, (trial.beta, trial.training.hlf_weight)
    beta, weight = (validation.objects.new_tensor(number) for number in weights)
    size = validation_batch(beta.device)
    with torch.no_grad():
        for start in range(0, events, size):
            part = slice(start, start + size)
            batch = Inputs(*(tensor[part] for tensor in validation))
            outputs = functional_call(model, placed, (batch, noise[part].to(batch.objects)))
            losses = training_loss(
                batch, outputs, beta=beta, hlf_weight=weight, training=trial.training
            )
            total += float(losses.double().sum())
    return total / events


def _search(study: Study, place: Place, on_batch: Callable[[int], None] | None) -> dict[str, str]:
    (record,) = store.read_studies(place.results, [study])
    finished = store.done(place.results)
    lost = [found.trial for found in record.found if found.trial.id not in finished]
    outcome = {found.trial.id: status for found, status in _train(lost, study, place)}
    while not record.complete:
        trained = _train(suggest(record), study, place)
        outcome |= {found.trial.id: status for found, status in trained}
        record = replace(record, found=(*record.found, *(found for found, _ in trained)))
        store.write_study(place.results, record, provenance(place.device))
        if on_batch:
            on_batch(len(record.found))
    store.clear_failure(place.results, study)
    return outcome


def _train(batch: list[Trial], study: Study, place: Place) -> list[tuple[Found, str]]:
    """Train and store trials, in packs; each with its objective and how it ended."""
    validation = load_channel_of(study.trial, place.data_root, place.device).validation
    packs = [batch[i : i + place.pack] for i in range(0, len(batch), place.pack)]
    made = []
    for result in (result for pack in packs for result in train_pack(pack, place)):
        value = objective(study.trial, result.best, validation) if result.status == "done" else inf
        found = Found(result.trial, value if isfinite(value) else inf)
        made.append((found, result.status))
    return made


def _sampler(study: Study, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one batch, with a random stream that only this batch has."""
    import optuna

    digest = hashlib.sha256(f"{study.id}:{number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if study.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(n_startup_trials=study.batch, seed=seed)


def _varied(found: Found, study: Study) -> dict[str, float]:
    return {name: found.values[name] for name, *_ in study.space}


def _inside(found: Found, study: Study) -> bool:
    """Whether a training is in the space: the grid's own settings need not be."""
    return all(low <= found.values[name] <= high for name, low, high in study.space)


def _rounded(values: dict[str, float], study: Study) -> dict[str, float]:
    """Suggested values with six digits, which a grid file can repeat."""
    return {name: min(max(float(f"{values[name]:.6g}"), low), high)
            for name, low, high in study.space}  # fmt: skip
