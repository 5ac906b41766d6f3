"""Tables S1 and S2 of arXiv:2110.08508, to lie beside a scan of the published data.

The numbers are those of `jobs/published/`; the paper prints percent.
"""

from __future__ import annotations

import pandas as pd

from scanner.ranking import MERITS

DATASET = "darkmachines"
SCORE = "reconstruction"
# (table, row, architecture, flow, loss) -> median over all channels of every merit, and, in Table
# S1, what the paper quotes with +- over five seeds.
PUBLISHED: dict[tuple[str, str, str, str, str], tuple[float, ...]] = {
    ("S1", "Conv-VAE", "conv_vae", "none", "paper"):
        (0.756, 0.017, 0.0026, 0.0013, 0.005, 0.006, 0.0004, 0.0007),
    ("S1", "GCN-VAE", "gcn_vae", "none", "paper"):
        (0.768, 0.557, 0.162, 0.071, 0.002, 0.011, 0.006, 0.001),
    ("S1", "GCN-VAE + Householder SNF", "gcn_vae", "sylvester_householder", "paper"):
        (0.861, 0.696, 0.342, 0.082, 0.004, 0.019, 0.009, 0.005),
    ("S1", "GCN-VAE + Orthogonal SNF", "gcn_vae", "sylvester_orthogonal", "paper"):
        (0.824, 0.650, 0.161, 0.076, 0.006, 0.014, 0.014, 0.001),
    ("S1", "GCN-VAE + NSF-AR", "gcn_vae", "nsf_ar", "paper"):
        (0.821, 0.641, 0.156, 0.051, 0.004, 0.018, 0.010, 0.003),
    ("S1", "GCN-VAE + Planar", "gcn_vae", "planar", "paper"):
        (0.800, 0.611, 0.162, 0.071, 0.007, 0.014, 0.012, 0.001),
    ("S1", "GCN-VAE + ConvolutionalFlow", "gcn_vae", "convolutional", "paper"):
        (0.792, 0.627, 0.160, 0.060, 0.002, 0.014, 0.014, 0.002),
    ("S1", "GCN-VAE + Triangular SNF", "gcn_vae", "sylvester_triangular", "paper"):
        (0.759, 0.647, 0.161, 0.061, 0.005, 0.015, 0.013, 0.006),
    ("S1", "GCN-VAE + IAF", "gcn_vae", "iaf", "paper"):
        (0.751, 0.592, 0.098, 0.058, 0.008, 0.027, 0.008, 0.007),
    ("S2", "modified ELBO", "gcn_vae", "sylvester_householder", "modified_elbo"):
        (0.783, 0.571, 0.161, 0.066),
    ("S2", "our loss", "gcn_vae", "sylvester_householder", "paper"):
        (0.864, 0.716, 0.340, 0.082),
}  # fmt: skip


def beside_paper(seeds: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The published rows, each with the models of the scan that it describes.

    A model is laid beside a row if it has its architecture, flow and loss, the reconstruction score
    and the representation `all` without HLF; the settings of the network and of the training are
    the scan's own.

    Args:
        seeds: What `findings.seed_table` returned.
        cells: The planned cells, with columns name, dataset, architecture, flow, loss, score,
            representation and hlf.

    Returns:
        Columns table, row, model (ours), and for each merit the published number, ours, and the
        two spreads over seeds; no rows where no model is trained on the published data.
    """
    if seeds.empty or cells.empty:
        return pd.DataFrame()
    like = cells[(cells["dataset"] == DATASET) & (cells["score"] == SCORE) & ~cells["hlf"]
                 & (cells["representation"] == "all")].drop_duplicates("name")  # fmt: skip
    ours = like.merge(seeds, left_on="name", right_on="model", suffixes=("", " ours"))
    lines = []
    for (table, row, *axes), numbers in PUBLISHED.items():
        same = (ours[["architecture", "flow", "loss"]] == axes).all(axis=1)
        for mine in ours[same].to_dict("records"):
            line = {"table": table, "row": row, "model": mine["name"]}
            spreads = numbers[len(MERITS):] or (None,) * len(MERITS)
            for merit, value, spread in zip(MERITS, numbers, spreads, strict=False):
                line |= {merit: value, f"{merit} sd": spread, f"{merit} ours": mine[merit],
                         f"{merit} ours sd": mine[f"{merit} sd"]}  # fmt: skip
            lines.append(line)
    return pd.DataFrame(lines)


def as_printed(beside: pd.DataFrame) -> pd.DataFrame:
    """What `beside_paper` returned, as the paper prints: percent, `median ± spread over seeds`.

    Returns:
        Columns table, row, model, and for each merit the published number and ours.
    """
    out = beside[["table", "row", "model"]].copy()
    for merit in MERITS:
        for column in (merit, f"{merit} ours"):
            pairs = zip(beside[column], beside[f"{column} sd"], strict=True)
            out[column] = [_percent(value, spread) for value, spread in pairs]
    return out


def _percent(value: float, spread: float) -> str:
    """One decimal from 1 % on, two below, as in the paper."""
    digits = 1 if value >= 0.01 else 2
    text = f"{100 * value:.{digits}f}"
    return text if pd.isna(spread) else f"{text} ± {100 * spread:.{digits}f}"
