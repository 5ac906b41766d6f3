"""Figures of single models: ROC curves, latent space and training.

They are drawn for the first model by AUC of each of the six methods, so that their number does not
grow with the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scanner import store
from scanner.combinations import rank_averages
from scanner.findings import FEW_EVENTS, first_models
from scanner.metrics import roc
from scanner.rendering import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROC_EPS_B = np.logspace(-4, 0, 41)
MOST_LATENT = 3
WORDS = ("trial", "name", "model", "channel", "score", "flow")


def of_trials(
    results: pd.DataFrame, rows: pd.DataFrame, folders: Sequence[Path]
) -> Iterator[Drawing]:
    """The figures for which events or epochs are stored; where they are not, there is no figure.

    Args:
        results: Rows of `store.metrics` with the column `name`.
        rows: Rows of `ranking.rank` of one convention, over all pairs.
        folders: Result folders.
    """
    first = list(dict.fromkeys(first_models(rows).values()))
    trials = _trials(results, first)
    few = FEW_EVENTS / results.groupby("channel")["n_background"].min()
    yield from _roc(trials, few, folders)
    yield from _latent(_trials(results, _with_flow(results, rows, first)), folders)
    yield from _training(trials, folders)


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
    trials: pd.DataFrame, few: pd.Series, folders: Sequence[Path]
) -> Iterator[Drawing]:
    from scanner.plots import MOST_SIGNALS, roc_figure

    text = ("First model by AUC of each method. Line: median over the seeds; band: lowest to "
            "highest seed; grey zone: fewer than ten background events decide.")  # fmt: skip
    for channel, rows in trials.groupby("channel", sort=True):
        curves = roc_curves(rows, folders)
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
    parts = []
    for row in trials[["trial", "score", "name"]].astype(str).to_dict("records"):
        path = _stored(folders, "scores", row["trial"])
        if path is not None:
            events = store.read_scores(path, ["process", *row["score"].split("+")])
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


def _latent(trials: pd.DataFrame, folders: Sequence[Path]) -> Iterator[Drawing]:
    """Latent space per channel, of the lowest seed of at most three networks, flows first."""
    text = ("The posterior mean of up to 1,000 background and 200 events per signal, before and "
            "after the flow, of one seed. Dimensions: where the background varies most before the "
            "flow. Components: principal ones of the background.")  # fmt: skip
    networks = trials.assign(plain=trials["flow"] == "none").drop_duplicates(["channel", "model"])
    networks = networks.sort_values("plain", kind="stable")
    for channel, rows in networks.groupby("channel", sort=True):
        paths = {str(row.model): path for row in rows.itertuples()
                 if (path := _stored(folders, "latent", str(row.trial)))}  # fmt: skip
        if paths:
            shown = dict(list(paths.items())[:MOST_LATENT])
            title = f"Latent space before and after the flow, channel {channel}"
            yield Drawing(f"latent-{channel}", f"Latent space, channel {channel}", text,
                          partial(_read_and_draw, shown, title))  # fmt: skip


def _read_and_draw(paths: Mapping[str, Path], title: str) -> Figure:
    from scanner.plots import latent_figure

    return latent_figure({name: store.read_scores(path) for name, path in paths.items()}, title)


def _training(trials: pd.DataFrame, folders: Sequence[Path]) -> Iterator[Drawing]:
    from scanner.plots import training_figure

    text = ("Loss per background event: validation (dashes of the legend), training (faint), "
            "the epoch that was kept (mark), a line per seed. Losses of different beta or "
            "representation are no measure of each other.")  # fmt: skip
    labels, parts = ["channel", "model", "seed", "best_epoch"], []
    for trial, row in trials.drop_duplicates("trial").set_index("trial").iterrows():
        path = _stored(folders, "history", str(trial))
        if path is not None:
            parts.append(pd.read_parquet(path).assign(**row[labels]))
    if parts:
        yield Drawing("training", "Training curves", text,
                      partial(training_figure, pd.concat(parts), "Training"))  # fmt: skip


def _stored(folders: Sequence[Path], kind: str, trial: str) -> Path | None:
    paths = (folder / kind / f"{trial}.parquet" for folder in folders)
    return next((path for path in paths if path.exists()), None)
