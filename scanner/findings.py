"""What a report says beside its rankings: coverage, controls, and rows that deserve doubt.

`results` is what `collected.metrics` returned, with one more column, `name`: what is ranked.
`table` is in challenge format. Nothing here drops or repairs a row.
"""

from __future__ import annotations

import pandas as pd

from scanner.metrics import EPS_B
from scanner.ranking import COLUMNS, MERITS, RANKINGS

FEW_EVENTS = 10
MEASURES = {"auc": "AUC"} | {f"eps_s_{word}": word for word in EPS_B}
PAIR = ["channel", "signal"]
CELL_AXES = ["representation", "architecture", "hlf", "beta", "flow", "score", "seed"]


def combine_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Challenge format: per model and pair the median over the seeds that have numbers."""
    done = results[results["auc"].notna()]
    combined = done.groupby(["name", *PAIR])[list(MEASURES)].median().reset_index()
    names = {"name": "Model", "channel": "Chan", "signal": "Signal"}
    return combined.astype(dict.fromkeys(names, "str")).rename(columns=MEASURES | names)[COLUMNS]


def seed_table(table: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Median over the pairs and spread over the seeds, as in Table S1 of arXiv:2110.08508.

    Args:
        table: The ranked models, challenge format.
        results: Rows of trained networks among others.

    Returns:
        A row per model that has seeds, best AUC first: model, seeds (those with every pair), and
        for each merit its median over the pairs and, in `<merit> sd`, the standard deviation of the
        medians of single seeds (n - 1 in the denominator), missing where there is one seed.
    """
    if results.empty:
        return pd.DataFrame()
    done = results[(results["stage"] == "trained") & results["auc"].notna()]
    done = done.astype({"name": "str"})
    runs = done.rename(columns=MEASURES).groupby(["name", "seed"])
    pairs = table.groupby("Model").size()
    whole = runs.size() == pairs.reindex(runs.size().index.get_level_values("name")).to_numpy()
    singles = runs[list(MERITS)].median()[whole].groupby("name")
    spread, seeds = singles.std(), singles.size()
    medians = table.groupby("Model")[list(MERITS)].median().loc[seeds.index]
    order = [column for merit in MERITS for column in (merit, f"{merit} sd")]
    out = medians.join(spread.add_suffix(" sd"))[order]
    out.insert(0, "seeds", seeds)
    out = out.rename_axis("model").reset_index()
    return out.sort_values(["AUC", "model"], ascending=[False, True], ignore_index=True)


def coverage(cells: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """The planned cells, each with its status: done, diverged or missing.

    Args:
        cells: Columns trial, name, channel, seed, score; one row per planned cell.
        results: Rows of trained networks.
    """
    keys = ["trial", "score"]
    whole = (results["status"] == "done").groupby([results[key] for key in keys]).all()
    found = whole.map({True: "done", False: "diverged"}).reset_index()
    out = cells.merge(found.astype(dict.fromkeys([*keys, "status"], "str")), "left", on=keys)
    return out.assign(status=out["status"].fillna("missing"))


def coverage_matrix(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells done of cells planned for every value of every axis, by channel.

    Args:
        cells: What `coverage` returned, with the columns of `CELL_AXES`.

    Returns:
        Columns axis, value, one per channel and all; each cell is "n of N", or empty where nothing
        is planned.
    """
    done = cells["status"] == "done"
    parts = []
    for axis in CELL_AXES:
        keys = [cells[axis].astype(str), cells["channel"]]
        there, full = (flags.groupby(keys, sort=False).sum().unstack()
                       for flags in (done, done | ~done))  # fmt: skip
        both = there.assign(all=there.sum(axis=1)), full.assign(all=full.sum(axis=1))
        words = pd.DataFrame({name: [_n_of(*pair) for pair in zip(both[0][name], both[1][name],
                                                                strict=True)]
                              for name in both[0]})  # fmt: skip
        words.insert(0, "axis", axis)
        words.insert(1, "value", list(there.index))
        parts.append(words)
    return pd.concat(parts, ignore_index=True)


def _n_of(there: float, full: float) -> str:
    return f"{int(there)} of {int(full)}" if full > 0 else ""


def small_backgrounds(results: pd.DataFrame) -> pd.DataFrame:
    """Where fewer than ten background events pass a cut: channel, merit, n_background, passing."""
    columns = ["channel", "merit", "n_background", "passing"]
    if results.empty:
        return pd.DataFrame(columns=columns)
    counts = results.groupby("channel")["n_background"].min()
    rows = [(channel, merit, int(n), round(n * eps_b, 6))
            for channel, n in counts.items() for merit, eps_b in EPS_B.items()
            if round(n * eps_b, 6) < FEW_EVENTS]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def control_rows(results: pd.DataFrame) -> pd.DataFrame:
    """Challenge format of everything untrained: single variables, and the networks before training.

    A single variable is called by its score, with the representation where there are several; an
    untrained network by `untrained` and the name of its model.
    """
    rows = results[results["stage"] != "trained"]
    rows = rows.astype(dict.fromkeys(["name", "score", "representation"], "str"))
    single = rows["stage"] == "control"
    several = rows.loc[single, "representation"].nunique() > 1
    names = rows["score"] + (" (" + rows["representation"] + ")" if several else "")
    return combine_seeds(rows.assign(name=names.where(single, "untrained " + rows["name"])))


def against_controls(
    table: pd.DataFrame, ranked: pd.DataFrame, controls: pd.DataFrame
) -> pd.DataFrame:
    """AUC per pair: the first model of every method, and every control.

    Args:
        table: The ranked models, challenge format.
        ranked: Rows of `ranking.rank` of one convention.
        controls: What `control_rows` returned.

    Returns:
        A row per pair that has controls: channel, signal, one column per method (its first model
        by AUC over all pairs), one per single variable, `untrained` (the highest of the untrained
        networks), `highest` (of all ranked models), whether that one beats all controls
        (`beats_all`), and its name (`model`).
    """
    models = _wide(table)
    others = _wide(controls).reindex(index=models.index).dropna(how="all")
    models = models.loc[others.index]
    networks = others.columns.str.startswith("untrained ")
    out = pd.DataFrame({m: models[name] for m, name in first_models(ranked).items()})
    out = pd.concat([out, others.loc[:, ~networks]], axis=1)
    out = out.assign(untrained=others.loc[:, networks].max(axis=1), highest=models.max(axis=1))
    out = out.assign(beats_all=out["highest"] > others.max(axis=1), model=models.idxmax(axis=1))
    return out.reset_index(names=PAIR)


def first_models(ranked: pd.DataFrame) -> dict[str, str]:
    """Method -> its first model by AUC over all pairs; of several at place 1 the first by name."""
    rows = ranked.query("channel == 'All' and merit == 'AUC'")
    return {method: str(rows.loc[rows["method"] == method, "model"].iloc[0]) for method in RANKINGS}


def control_summary(
    table: pd.DataFrame, ranked: pd.DataFrame, controls: pd.DataFrame
) -> pd.DataFrame:
    """On how many pairs the first model of each method beats the controls.

    Its controls are the single variables and its own network before training.

    Returns:
        Columns method, model, beats_all ("k of N").
    """
    models, others = _wide(table), _wide(controls)
    rows = []
    for method, name in first_models(ranked).items():
        networks = others.columns.str.startswith("untrained ")
        rivals = others.loc[:, ~networks | (others.columns == f"untrained {name}")].max(axis=1)
        both = models[name].index.intersection(rivals.dropna().index)
        wins = int((models.loc[both, name] > rivals[both]).sum())
        rows.append((RANKINGS[method].title, name, f"{wins} of {len(both)}"))
    return pd.DataFrame(rows, columns=["method", "model", "beats_all"])


def control_sentences(compared: pd.DataFrame) -> list[str]:
    """One sentence per pair of `against_controls`: do the trained models beat every control?"""
    known = {*PAIR, *RANKINGS, "highest", "model", "beats_all"}
    names = [name for name in compared.columns if name not in known]
    lines = []
    for row in compared.to_dict("records"):
        present = {name: row[name] for name in names if row[name] == row[name]}
        strongest = max(present, key=lambda name: present[name])
        verdict = "beats every control" if row["beats_all"] else "does not beat every control"
        lines.append(
            f"{row['channel']}/{row['signal']}: the highest AUC of a trained model, "
            f"{row['highest']:.4f} ({row['model']}), {verdict}; the strongest control is "
            f"{strongest} with {present[strongest]:.4f}."
        )
    return lines


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """AUC with a row per (channel, signal) and a column per model."""
    return table.pivot(index=["Chan", "Signal"], columns="Model", values="AUC").sort_index()
