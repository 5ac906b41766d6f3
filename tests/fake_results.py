"""Result folders of made-up numbers, written as a scan writes them."""

from __future__ import annotations

import json

import numpy as np

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
