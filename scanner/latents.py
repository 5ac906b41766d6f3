"""Latent vectors before and after the flow, of as many test events as a figure can show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from scanner.models import LATENT, build_model, set_precision
from scanner.representations import Inputs
from scanner.trial import Trial

BACKGROUND_EVENTS, SIGNAL_EVENTS = 1000, 200


def latent_vectors(
    trial: Trial, state: Mapping[str, Tensor], test: Mapping[str, Inputs],
    events: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:  # fmt: skip
    """z0 and z_K of test events spread evenly over each process, at the posterior mean.

    Args:
        trial: The trial.
        state: Its parameters and buffers.
        test: Inputs by process, `background` among them.
        events: Row of every test event in its file, by process.

    Returns:
        Columns process, event, z0_0 to z0_14 and, where the trial has a flow, zk_0 to zk_14;
        half precision, which a figure does not tell from more.
    """
    set_precision(trial)
    model = build_model(trial).to(next(iter(test.values())).objects).eval()
    names = ["z0"] if trial.flow.name == "none" else ["z0", "zk"]
    parts, rows = [], []
    for process, inputs in test.items():
        most = BACKGROUND_EVENTS if process == "background" else SIGNAL_EVENTS
        index = spread(len(inputs.objects), most)
        rows.append((np.full(len(index), process), events[process][index]))
        parts.append(_vectors(model, state, Inputs(*(t[index] for t in inputs)), names))
    columns = [f"{name}_{k}" for name in names for k in range(LATENT)]
    names_of, numbers = (np.concatenate(column) for column in zip(*rows, strict=True))
    vectors = dict(zip(columns, np.concatenate(parts).T, strict=True))
    return {"process": names_of, "event": numbers, **vectors}


def spread(total: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `total`, evenly spaced, the first and last among them."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))


def _vectors(
    model: torch.nn.Module, state: Mapping[str, Tensor], inputs: Inputs, names: list[str]
) -> np.ndarray:
    """(B, LATENT x names) float16."""
    placed = {name: value.to(inputs.objects.device) for name, value in state.items()}
    with torch.no_grad():
        noise = inputs.objects.new_zeros(len(inputs.objects), LATENT)
        outputs = functional_call(model, placed, (inputs, noise))
    found = torch.cat([getattr(outputs, name) for name in names], dim=1)
    return found.half().cpu().numpy()
