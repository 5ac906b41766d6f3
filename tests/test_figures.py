"""Which figures: the same number for ten models and for a hundred, none without its data."""

import numpy as np
import pandas as pd
import pytest
from fake_results import write_results

from scanner.comparison import improvements
from scanner.figures import MOST_ROWS, planned
from scanner.pool import Pool, read_pool
from scanner.ranking import COLUMNS, RANKINGS, rank

OF_TABLES = [*RANKINGS, "improvement", "improvement-scatter", "heat-auc", "heat-improvement"]


def tables_alone(models):
    random = np.random.default_rng(0)
    rows = [(f"s{k}", f"m{m:03d}", "3", *(random.random() * np.array([1, 0.5, 0.1, 0.02])))
            for m in range(models) for k in range(4)]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Pool(table, pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), ("3",), ())


@pytest.mark.parametrize("models", [2, 100])
def test_the_number_of_figures_does_not_grow(models):
    pool = tables_alone(models)
    drawings = planned("n", pool, rank(pool.table), [], {})
    assert [one.name for one in drawings] == OF_TABLES
    heat = next(one for one in drawings if one.name == "heat-auc").make()
    assert heat.axes[0].images[0].get_array().shape == (min(models, MOST_ROWS), 4)


def test_the_first_row_of_a_heat_map_has_the_highest_mean():
    pool = tables_alone(40)
    heat = planned("n", pool, rank(pool.table), [], {})[OF_TABLES.index("heat-auc")].make()
    means = heat.axes[0].images[0].get_array().mean(axis=1)
    assert (np.diff(means) <= 1e-9).all()
    assert means[0] == pytest.approx(pool.table.groupby("Model")["AUC"].mean().max())


def test_the_heat_map_of_improvement_is_the_improvement():
    pool = tables_alone(5)
    heat = planned("n", pool, rank(pool.table), [], {})[OF_TABLES.index("heat-improvement")].make()
    drawn = heat.axes[0].images[0].get_array()
    found = improvements(pool.table).pivot(index="model", columns="signal", values="improvement")
    assert sorted(drawn.ravel()) == pytest.approx(sorted(found.to_numpy().ravel()))


def test_seeds_are_drawn_where_there_are_several(tmp_path):
    for seeds, drawn in (((0,), False), ((0, 1), True)):
        folder, _ = write_results(tmp_path / str(len(seeds)), seeds=seeds)
        pool = read_pool([folder])
        names = [one.name for one in planned("n", pool, rank(pool.table), [folder], {})]
        assert ("seeds" in names) is drawn
