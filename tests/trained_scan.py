"""A small scan of the sample that is trained for real, for tests of what comes after training."""

from __future__ import annotations

from scanner import store
from scanner.grid import parse
from scanner.place import Place
from scanner.plan import plan
from scanner.run import run_pack

GRID = """\
name: demo
dataset: sample
channels: ["3"]
grid:
  representation: [truncated]
  architecture: [gcn_vae]
  hlf: [true]
  beta: [0.5]
  score: [kl, kl+rz]
  flow: [{flow}]
  seed: [0, 1]
training: {{learning_rate: {learning_rate}, max_epochs: 1}}
"""


def train_scan(folder, learning_rate="1.0e-3", flow="planar"):
    """A result folder as the launcher leaves it; returns its trials."""
    text = GRID.format(learning_rate=learning_rate, flow=flow)
    trials = plan(parse(text, "demo.yaml")).trials
    store.write_scan(folder, store.Scan("demo.yaml", text, "sample", "digest", {}))
    run_pack(trials, Place(folder))
    return trials
