"""Result folders of made-up numbers, written as a scan writes them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from scipy.stats import norm

from scanner import store
from scanner.grid import parse
from scanner.plan import plan

GRID = """\
name: {name}
dataset: {dataset}
channels: [{channels}]
grid:
  representation: [all]
  architecture: [conv_vae, gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [reconstruction, kl]
  flow: [none]
  seed: [{seeds}]
"""
SIGNALS = {"1": ("sa", "sb"), "3": ("sa", "sc", "sd")}
CONTROLS = ("norm", "ht", "met", "multiplicity")
METADATA = {"provenance": json.dumps({"commit": "c0ffee", "host": "h"})}


def numbers(random, low=0.4, high=1.0, background=20_000):
    """A row's numbers with an AUC between `low` and `high`."""
    auc = float(random.uniform(low, high))
    return {"auc": auc, "eps_s_1e-2": auc / 4, "eps_s_1e-3": auc / 20, "eps_s_1e-4": auc / 90,
            "n_background": background, "n_signal": 500}  # fmt: skip


def write_results(folder, name="demo", channels=("1", "3"), seeds=(0, 1), missing=(), diverged=(),
                  dataset="sample", signals=SIGNALS, shift=0, best=1.0):  # fmt: skip
    """A result folder; trials are left out or diverge by their place in the plan.

    Returns:
        The folder and its trials.
    """
    text = GRID.format(name=name, dataset=dataset, seeds=", ".join(map(str, seeds)),
                       channels=", ".join(f'"{c}"' for c in channels))  # fmt: skip
    grid = parse(text, "demo.yaml")
    store.write_scan(folder, store.Scan("demo.yaml", text, dataset, "digest", {}))
    trials = plan(grid).trials
    for k, trial in enumerate(trials):
        metadata = {"trial": trial.to_json(), **METADATA}
        random = np.random.default_rng([shift, k])
        size = {"1": 9_000, "3": 200_000}[trial.channel]
        status = "diverged" if k in diverged else "done"
        rows, controls = [], []
        for signal in signals[trial.channel]:
            for score in ("reconstruction", "kl", "rz"):
                row = {"score": score, "signal": signal, "status": status, "epochs": 3}
                found = numbers(random, 0.6, best, size)
                if status == "diverged":
                    found = {key: found[key] for key in ("n_background", "n_signal")}
                rows.append({**row, "stage": "trained", **found})
                rows.append({**row, "stage": "untrained", **numbers(random, 0.4, 0.7, size)})
            controls += [{"score": c, "signal": signal, "status": "done", "stage": "control",
                          **numbers(random, 0.3, 0.8, size)} for c in CONTROLS]  # fmt: skip
        path = folder / "controls" / f"{store.control_name(trial)}.parquet"
        if not path.exists():
            store.write_metrics(path, controls, metadata)
        if k not in missing:
            store.write_metrics(folder / "trials" / f"{trial.id}.parquet", rows, metadata)
    return folder, trials


def replica_rows(models, seeds, signals, channels=("3",), signal_sd=1.0, seed_sd=0.1,
                 single_sd=0.1, shift=0):  # fmt: skip
    """Tidy rows of trained networks whose AUC is 0.5 in the median over all possible signals.

    On the scale of a normal quantile an AUC is the sum of three normal terms: of the signal, of
    the seed in its channel, and of both.
    """
    random = np.random.default_rng(shift)
    names = [f"m{k:04}" for k in range(models)]
    rows = []
    for channel in channels:
        shape = (models, seeds, signals)
        total = signal_sd * random.normal(size=(models, 1, signals))
        total = total + seed_sd * random.normal(size=(models, seeds, 1))
        total = total + single_sd * random.normal(size=shape)
        model, seed, signal = (index.ravel() for index in np.indices(shape))
        rows.append(pd.DataFrame({
            "name": np.array(names)[model], "channel": channel, "seed": seed, "scan": "demo",
            "signal": np.array([f"s{k:02}" for k in range(signals)])[signal],
            "auc": norm.cdf(total).ravel(), "stage": "trained", "status": "done",
            "n_signal": 1000, "n_background": 50_000,
        }))  # fmt: skip
    out = pd.concat(rows, ignore_index=True)
    cuts = {f"eps_s_1e-{k}": out["auc"] / 4**k for k in (2, 3, 4)}
    return out.assign(model=out["name"], **cuts)
