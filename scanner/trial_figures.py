"""Figures of single models: ROC curves, latent space and training.

They are drawn for the first model by AUC of each of the six methods, so that their number does not
grow with the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from scanner import store
from scanner.combinations import rank_averages
from scanner.errors import ResultError
from scanner.findings import FEW_EVENTS, first_models
from scanner.metrics import roc
from scanner.rendering import Drawing

ROC_EPS_B = np.logspace(-4, 0, 41)
MOST_LATENT = 3
Faults: TypeAlias = dict[Path, str]
WORDS = ("trial", "name", "model", "channel", "score", "flow")


@dataclass(frozen=True)
class _Stored:
    """The files beside the tables of trials, and the faults of those that cannot be read."""

    folders: Sequence[Path]
    unread: Faults

    def read(
        self, kind: str, trial: str, columns: Sequence[str] | None = None
    ) -> pd.DataFrame | None:
        """The file of this kind; nothing where there is none, or it is damaged."""
        paths = (folder / kind / f"{trial}.parquet" for folder in self.folders)
        for path in (path for path in paths if path.exists()):
            try:
                if kind == "history":
                    return pd.read_parquet(path)
                return store.read_scores(path, columns)
            except (ResultError, OSError, ValueError) as error:
                self.unread[path] = str(error)
        return None


def of_trials(
    results: pd.DataFrame, rows: pd.DataFrame, folders: Sequence[Path], unread: Faults | None = None
) -> Iterator[Drawing]:
    """The figures for which events or epochs are stored; where they are not, there is no figure.

    Args:
        results: Rows of `store.metrics` with the column `name`.
        rows: Rows of `ranking.rank` of one convention, over all pairs.
        folders: Result folders.
        unread: Damaged files and their faults are added here; the figures are without them.
    """
    stored = _Stored(folders, {} if unread is None else unread)
    first = list(dict.fromkeys(first_models(rows).values()))
    trials = _trials(results, first)
    few = FEW_EVENTS / results.groupby("channel")["n_background"].min()
    yield from _roc(trials, few, stored)
    yield from _latent(_trials(results, _with_flow(results, rows, first)), stored)
    yield from _training(trials, stored)


def _trials(results: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """One row per trial of these models, in their order, then by channel and seed."""
    done = results[(results["stage"] == "trained") & results["auc"].notna()]
    found = done[done["name"].isin(models)].drop_duplicates(["trial", "score"])
    found = found.astype(dict.fromkeys(WORDS, str))  # categories would come back in groups
    order = found["name"].map(models.index)
    return found.assign(order=order).sort_values(["order", "channel", "seed"])


def _with_flow(results: pd.DataFrame, rows: pd.DataFrame, models: list[str]) -> list[str]:
    """These models, and the first with a flow by highest mean AUC where none of them has one."""
    flows = set(results.loc[~results["flow"].isin(["", "none"]), "name"])
    if flows & set(models):
        return models
    order = rows[(rows["method"] == "mean") & (rows["merit"] == "AUC")]["model"]
    return [*models, *order[order.isin(flows)].head(1)]


def _roc(
    trials: pd.DataFrame, few: pd.Series, stored: _Stored
) -> Iterator[Drawing]:
    from scanner.plots import MOST_SIGNALS, roc_figure

    text = ("First model by AUC of each method. Line: median over the seeds; band: lowest to "
            "highest seed; grey zone: fewer than ten background events decide.")  # fmt: skip
    for channel, rows in trials.groupby("channel", sort=True):
        curves = _roc_curves(rows, stored)
        if len(curves):
            signals = curves["signal"].nunique()
            cut = f" The first {MOST_SIGNALS} of {signals} signals by name." if (
                signals > MOST_SIGNALS) else ""  # fmt: skip
            yield Drawing(f"roc-{channel}", f"ROC curves, channel {channel}", text + cut,
                          partial(roc_figure, curves, float(few[channel]),
                                  f"ROC curves, channel {channel}"))  # fmt: skip


def roc_curves(trials: pd.DataFrame, folders: Sequence[Path]) -> pd.DataFrame:
    """ROC curves of every signal: columns signal, model, eps_b, median, low, high over the seeds.

    Args:
        trials: Columns trial, name, score; trials without stored scores are left out.
        folders: Result folders.
    """
    return _roc_curves(trials, _Stored(folders, {}))


def _roc_curves(trials: pd.DataFrame, stored: _Stored) -> pd.DataFrame:
    parts = []
    for row in trials[["trial", "score", "name"]].astype(str).to_dict("records"):
        events = stored.read("scores", row["trial"], ["process", *row["score"].split("+")])
        if events is not None:
            parts.append(_curves_of_one(events, row["score"]).assign(model=row["name"]))
    if not parts:
        return pd.DataFrame(columns=["signal", "model", "eps_b", "median", "low", "high"])
    grouped = pd.concat(parts).groupby(["signal", "model", "eps_b"], sort=False)["eps_s"]
    return grouped.agg(median="median", low="min", high="max").reset_index()


def _curves_of_one(events: pd.DataFrame, score: str) -> pd.DataFrame:
    """eps_S on the grid of eps_B for every signal: columns signal, eps_b, eps_s."""
    by_process = {str(process): rows for process, rows in events.groupby("process", sort=True)}
    values = {process: {name: rows[name].to_numpy() for name in rows.columns[1:]}
              for process, rows in by_process.items()}  # fmt: skip
    if "+" in score:
        values = rank_averages(values)
    background = np.sort(values.pop("background")[score])  # once, not for every signal
    return pd.concat([
        pd.DataFrame({"signal": signal, "eps_b": ROC_EPS_B,
                      "eps_s": roc(background, found[score], ROC_EPS_B.tolist())})
        for signal, found in values.items()
    ])  # fmt: skip


def _latent(trials: pd.DataFrame, stored: _Stored) -> Iterator[Drawing]:
    """Latent space per channel, of the lowest seed of at most three networks, flows first."""
    from scanner.plots import latent_figure

    text = ("The posterior mean of up to 1,000 background and 200 events per signal, before and "
            "after the flow, of one seed. Dimensions: where the background varies most before the "
            "flow. Components: principal ones of the background.")  # fmt: skip
    networks = trials.assign(plain=trials["flow"] == "none").drop_duplicates(["channel", "model"])
    networks = networks.sort_values("plain", kind="stable")
    for channel, rows in networks.groupby("channel", sort=True):
        read = ((str(row.model), stored.read("latent", str(row.trial)))
                for row in rows.itertuples())  # fmt: skip
        shown = dict(islice(((name, table) for name, table in read if table is not None),
                            MOST_LATENT))  # fmt: skip
        if shown:
            title = f"Latent space before and after the flow, channel {channel}"
            yield Drawing(f"latent-{channel}", f"Latent space, channel {channel}", text,
                          partial(latent_figure, shown, title))  # fmt: skip


def _training(trials: pd.DataFrame, stored: _Stored) -> Iterator[Drawing]:
    from scanner.plots import training_figure

    text = ("Loss per background event: validation (dashes of the legend), training (faint), "
            "the epoch that was kept (mark), a line per seed. Losses of different beta or "
            "representation are no measure of each other.")  # fmt: skip
    labels, parts = ["channel", "model", "seed", "best_epoch"], []
    for trial, row in trials.drop_duplicates("trial").set_index("trial").iterrows():
        epochs = stored.read("history", str(trial))
        if epochs is not None:
            parts.append(epochs.assign(**row[labels]))
    if parts:
        yield Drawing("training", "Training curves", text,
                      partial(training_figure, pd.concat(parts), "Training"))  # fmt: skip
