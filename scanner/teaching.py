"""Does training teach anything? Trained networks beside themselves untrained, and beside controls.

`results` is what `collected.metrics` returned, with one more column, `name`: what is ranked.
Seeds are combined by the median first. A network counts untrained only where it counts trained, so
that both columns are of the same networks.
"""

from __future__ import annotations

import pandas as pd

CONTROLS = ("norm", "ht", "met", "multiplicity")
RIVALS = ("untrained", *CONTROLS)
AUCS = ["trained", *RIVALS]
PAIR = ["channel", "signal"]
ROW = ["architecture", "score", "model"]
EVERY = "all"


def teaching(results: pd.DataFrame) -> pd.DataFrame:
    """Trained, untrained and controls per architecture and score, then per model.

    Where a row is of several models, an AUC is their median on each (channel, signal) pair before
    the median over the pairs.

    Args:
        results: Trained, untrained and control rows.

    Returns:
        Columns architecture, score, model (`all` for every model of the architecture), models,
        pairs; the median AUC over the pairs: trained, untrained, gain (trained - untrained) and one
        per control; the pairs on which the trained AUC is higher: `beats_untrained`, and
        `beats_...` of every control.
    """
    stages = set() if results.empty else set(results["stage"])
    if not stages >= {"trained", "untrained", "control"}:
        return pd.DataFrame()
    values = _paired(results)
    return pd.concat([_summary(values.assign(model=EVERY)), _summary(values)], ignore_index=True)


def teaching_count(table: pd.DataFrame) -> str:
    """How many architectures and scores training has improved, and how many beat the controls."""
    rows = table[table["model"] == EVERY]
    taught, useful = rows["gain"] > 0, rows["trained"] > rows[[*CONTROLS]].max(axis=1)
    return (
        f"Median AUC higher trained than untrained: {int(taught.sum())} of {len(rows)} "
        f"architectures and scores; higher than every control: {int(useful.sum())} of {len(rows)}."
    )


def teaching_sentences(table: pd.DataFrame) -> list[str]:
    """One sentence per architecture and score: what training did, and the strongest control."""
    lines = []
    for row in table[table["model"] == EVERY].to_dict("records"):
        aucs = {name: row[name] for name in CONTROLS}
        control = max(aucs, key=lambda name: aucs[name])
        lines.append(
            f"{row['architecture']}, {row['score']}: {row['trained']:.4f} trained, "
            f"{row['untrained']:.4f} untrained (lower on {row['beats_untrained']} of "
            f"{row['pairs']} pairs); the strongest control is {control} with {row[control]:.4f} "
            f"(lower on {row['beats_' + control]} of {row['pairs']})."
        )
    return lines


def _paired(results: pd.DataFrame) -> pd.DataFrame:
    """A row per model and pair: AUC trained, untrained and of every control."""
    keys = ["architecture", "score", "name", "representation", *PAIR]
    results = results.astype(dict.fromkeys(keys, "str"))
    networks = results[results["stage"] != "control"]
    wide = networks.pivot_table("auc", [*keys, "seed"], "stage", "median").dropna()
    controls = results[results["stage"] == "control"].pivot_table(
        "auc", ["representation", *PAIR], "score", "median"
    )
    both = wide.groupby(keys).median().join(controls.reindex(columns=[*CONTROLS]))
    return both.reset_index().assign(model=lambda rows: rows["name"])


def _summary(values: pd.DataFrame) -> pd.DataFrame:
    """A row per architecture, score and model."""
    pairs = values.groupby([*ROW, *PAIR])[AUCS].median()
    higher = pairs[[*RIVALS]].lt(pairs["trained"], axis=0).add_prefix("beats_")
    medians, wins = pairs.groupby(ROW).median(), higher.groupby(ROW).sum()
    medians.insert(2, "gain", medians["trained"] - medians["untrained"])
    counts = values.groupby(ROW).agg(models=("name", "nunique")).assign(
        pairs=pairs.groupby(ROW).size()
    )  # fmt: skip
    return pd.concat([counts, medians, wins], axis=1).reset_index()
