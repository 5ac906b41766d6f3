"""What a device could do: operations and bytes of a step by hand, against measured ceilings.

The count is of what the method needs, not of what an implementation does: matrix products, Chamfer
distances, one reading and writing of every activation and weight. The share of the roofline is the
time that the slower of both ceilings would take, over the time that the step took.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import torch

from scanner.models import LATENT

from .rows import Row

FLOAT = 4  # bytes
STEP_PASSES = 3  # forward, and a backward pass of twice its products
ADAM_PASSES = 7  # weights and two moments read and written, the gradient read
KERNELS, WIDTHS = ((3, 4), (5, 1), (7, 1)), (1, 32, 16, 8)
NODES = (32, 16, 2)
MATRIX, COPY = 8192, 2**28


@dataclass(frozen=True)
class Count:
    """Work per event of one forward pass: multiply-adds of products, and numbers passed on."""

    products: int
    activations: int

    def __add__(self, other):
        return Count(self.products + other.products, self.activations + other.activations)


def dense(rows, before, after):
    """A linear layer on so many rows of an event."""
    return Count(rows * before * after, rows * (before + after))


def architecture_count(name, settings, shape):
    """Encoder, posterior heads and decoder of one event, with the width of the flow's context."""
    heads = 2
    if name == "gcn_vae" and settings.get("preset") != "plus":
        widths, flat = (shape.features, *NODES), shape.slots * NODES[-1]
        total, context = Count(0, 0), flat + shape.extra + shape.hlf
        for before, after in [*pairwise(widths), *pairwise(widths[::-1])]:
            total += dense(shape.slots + 1, before, after)  # every node, and their sum
        total += dense(1, LATENT, flat + shape.hlf)
    elif name == "conv_vae":
        same = settings.get("padding") == "same"
        total, rows, columns = Count(0, 0), shape.slots, shape.kinematic
        for (before, after), (high, broad) in zip(pairwise(WIDTHS), KERNELS, strict=True):
            rows, columns = (rows, columns) if same else (rows - high + 1, columns - broad + 1)
            cells = rows * columns
            total += Count(2 * cells * high * broad * before * after,  # and its mirror image
                           2 * cells * (high * broad * before + after))  # fmt: skip
        joined, context = rows * columns * WIDTHS[-1] + shape.extra + shape.hlf, 20
        total += dense(1, joined, 20) + dense(1, LATENT, 20) + dense(1, 20, joined - shape.extra)
    elif name == "deepset_vae":
        context = 16 + shape.extra + shape.hlf
        total = dense(1, shape.features, 32) + dense(1, 32, 16) + dense(1, LATENT, 16 + shape.hlf)
        total += dense(1, 16, 32) + dense(1, 32, shape.features)
    else:
        return None
    for _ in range(heads):
        total += dense(1, context, LATENT)
    return total, context


def flow_count(name, settings, context):
    """A flow of one event: its hyper-network, then what it does with the numbers."""
    flows, d = settings.get("flows", 0), LATENT
    if name == "none":
        return Count(0, 0)
    if name == "planar":
        return dense(1, context, flows * (2 * d + 1)) + Count(flows * 3 * d, flows * 2 * d)
    if name.startswith("sylvester"):
        m = settings.get("vectors", d)
        seed = {"orthogonal": d * m, "householder": d * settings.get("reflections", 0),
                "triangular": 0}[name.partition("_")[2]]  # fmt: skip
        hyper = dense(1, context, flows * (m * m + 3 * m + seed))
        basis = seed * (m if m < d else settings.get("reflections", 0))
        return hyper + Count(flows * (basis + 2 * d * m + m * m), flows * (2 * seed + m * m))
    if name == "convolutional":
        layers = flows * d.bit_length()
        return Count(layers * d * settings["kernel"], layers * 2 * d)
    hidden = settings["hidden"]
    outputs = 2 * d if name == "iaf" else d * (3 * settings["bins"] - 1)
    inputs = d + (context if name == "iaf" else 0)
    one = dense(1, inputs, hidden) + dense(1, hidden, hidden) + dense(1, hidden, outputs)
    return Count(flows * one.products, flows * one.activations)


def step_work(forward, shape, parameters, members, batch=32):
    """Operations and bytes of one training step of a pack.

    Args:
        forward: `Count` of one event.
        shape: Sizes of the inputs.
        parameters: Of one member.
        members: Members of the pack.
        batch: Events per member.
    """
    points = shape.slots * shape.slots * shape.features
    operations = 2 * STEP_PASSES * forward.products + 3 * points
    events = members * batch
    inputs = shape.slots * shape.features + shape.extra + shape.hlf + LATENT
    traffic = FLOAT * (inputs + 2 * STEP_PASSES * forward.activations)
    state = FLOAT * parameters * members * (ADAM_PASSES + STEP_PASSES)
    return events * operations + 12 * parameters * members, events * traffic + state


def ceilings(device):
    """Operations and bytes per second: the best of a few big products and copies, in float32."""
    size = MATRIX if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    wide = torch.empty((COPY if device == "cuda" else 2**25) // FLOAT, device=device)
    target = torch.empty_like(wide)
    product_s = _best(lambda: a @ b, device)
    copy_s = _best(lambda: target.copy_(wide), device)
    return 2 * size**3 / product_s, 2 * FLOAT * len(wide) / copy_s


def roofline_row(point, shape, row, parameters, limits):
    """The share of the roofline that a measured rate of training reaches; None if not counted."""
    made = architecture_count(point.architecture.name, point.architecture.get(), shape)
    if made is None:
        return None
    total, context = made
    forward = total + flow_count(point.flow.name, point.flow.get(), context)
    operations, traffic = step_work(forward, shape, parameters, row.size)
    bound_s = max(operations / limits[0], traffic / limits[1])
    step_s = 32 * row.size / row.value
    bound = "arithmetic" if operations / limits[0] > traffic / limits[1] else "memory"
    name = f"{point.name} x{row.size}, {bound} bound"
    return Row("roofline", name, None, 100 * bound_s / step_s, "% of the roofline")


def _best(work, device, repeats=5):
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def _wait(device):
    if device == "cuda":
        torch.cuda.synchronize()
