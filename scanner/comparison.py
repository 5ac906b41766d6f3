"""What stands beside the six rankings: total improvement, and how far the methods agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from scanner.metrics import EPS_B, significance_improvement
from scanner.ranking import DECIMALS, RANKINGS, check, drop_incomplete, refuse_gaps


def total_improvement(table: pd.DataFrame) -> pd.DataFrame:
    """Total improvement of every complete model: model, min, median, max; best median first.

    Per signal it is the largest eps_S / sqrt(eps_B) of its channels and the three eps_B; then the
    minimum, median and maximum over the signals (arXiv:2105.14027). Equal medians go by name.
    """
    found = improvements(table)
    per_signal = found.pivot(index="model", columns="signal", values="improvement")
    numbers = {word: getattr(per_signal, word)(axis=1) for word in ("min", "median", "max")}
    out = pd.DataFrame(numbers).round(DECIMALS).rename_axis("model").reset_index()
    return out.sort_values(["median", "model"], ascending=[False, True], ignore_index=True)


def improvements(table: pd.DataFrame) -> pd.DataFrame:
    """Total improvement of every complete model per signal, and where it is reached.

    Returns:
        Columns model, signal, channel, eps_b (as a merit's word), improvement. Of several places
        with the same improvement the loosest cut, then the first channel.
    """
    pool, _ = drop_incomplete(check(table, set(table["Chan"])))
    refuse_gaps(pool)
    pool = pool.sort_values(["Model", "Signal", "Chan"], ignore_index=True)
    factors = [significance_improvement(1, eps_b) for eps_b in EPS_B.values()]
    reached = pool[[*EPS_B]].to_numpy(dtype=np.float64) * factors
    cut = reached.argmax(axis=1)
    pool = pool.assign(eps_b=np.array([*EPS_B])[cut], improvement=reached.max(axis=1))
    picked = pool.loc[pool.groupby(["Model", "Signal"])["improvement"].idxmax()]
    names = {"Model": "model", "Signal": "signal", "Chan": "channel"}
    return picked.rename(columns=names)[[*names.values(), "eps_b", "improvement"]].reset_index(
        drop=True)  # fmt: skip


def agreement(ranked: pd.DataFrame, merit: str) -> pd.DataFrame:
    """Kendall's tau-b between the orders of every two methods, over all models of the pool.

    Args:
        ranked: Rows of `rank` of one convention.
        merit: Which merit.

    Returns:
        A row and a column per method; missing where a method ties all models, or there is only one,
        which orders nothing.
    """
    rows = ranked[(ranked["channel"] == "All") & (ranked["merit"] == merit)]
    places = rows.pivot(index="model", columns="method", values="place")[[*RANKINGS]]
    if len(places) < 2:  # of which scipy warns
        return pd.DataFrame(np.nan, [*RANKINGS], [*RANKINGS])
    taus = [[float(kendalltau(places[a], places[b]).statistic) for b in RANKINGS]
            for a in RANKINGS]  # fmt: skip
    return pd.DataFrame(taus, [*RANKINGS], [*RANKINGS])
