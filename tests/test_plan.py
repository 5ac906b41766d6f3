"""Plans: the product minus the rules, every trial in one pack, ids that do not move."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.grid import parse
from scanner.plan import ORDER, plan, summary
from scanner.registry import ARCHITECTURES, FLOWS, REPRESENTATIONS, SCORES

QUICKSTART = Path(__file__).parents[1] / "jobs" / "quickstart.yaml"
WORDS = {
    "channel": ["1", "2a", "2b", "3"],
    "representation": list(REPRESENTATIONS),
    "architecture": list(ARCHITECTURES),
    "hlf": [False, True],
    "flow": list(FLOWS),
    "beta": [0.0, 1e-6, 0.25, 0.5, 1],
    "seed": [0, 1, 2, 7, 11],
    "score": list(SCORES),
}


def some(values, most):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


AXES = st.fixed_dictionaries({axis: some(words, 3) for axis, words in WORDS.items()})


@st.composite
def grids(draw):
    """Axes with their values, and rules that each take a part of them."""
    axes = draw(AXES)
    return axes, [draw(rules(axes)) for _ in range(draw(st.integers(0, 3)))]


@st.composite
def rules(draw, axes):
    wide = [axis for axis in ORDER if len(axes[axis]) > 1] or [None]
    chosen = draw(st.lists(st.sampled_from(wide), min_size=1, max_size=3, unique=True))
    if chosen == [None]:
        return None
    rule = {axis: draw(some(axes[axis], 3)) for axis in chosen}
    rule[chosen[0]] = rule[chosen[0]][: len(axes[chosen[0]]) - 1]
    return rule


def quoted(values):
    return "[" + ", ".join(f'"{v}"' if isinstance(v, str) else str(v).lower() for v in values) + "]"


def written(axes, exclude=(), pack="auto"):
    """The text of a grid file."""
    lines = ["name: x", "dataset: sample", f"channels: {quoted(axes['channel'])}", "grid:"]
    lines += [f"  {axis}: {quoted(axes[axis])}" for axis in ORDER if axis != "channel"]
    words = (", ".join(f"{a}: {quoted(v)}" for a, v in rule.items()) for rule in exclude)
    lines += ["exclude:", *(f"- {{{rule}}}" for rule in words), f"resources: {{pack: {pack}}}"]
    return "\n".join(lines)


def planned(axes, exclude=(), pack="auto", **options):
    return plan(parse(written(axes, [rule for rule in exclude if rule], pack), "x"), **options)


def point(trial):
    """A trial by its words."""
    named = {axis: getattr(trial, axis) for axis in ORDER if axis != "score"}
    return tuple(getattr(value, "name", value) for value in named.values())


@settings(max_examples=30, deadline=None)
@given(grids())
def test_the_cells_are_the_product_minus_the_rules(grid):
    axes, exclude = grid
    exclude = [rule for rule in exclude if rule]
    taken = [0] * len(exclude)
    left = []
    for cell in product(*(axes[axis] for axis in ORDER)):
        named = dict(zip(ORDER, cell, strict=True))
        hits = (all(named[a] in v for a, v in rule.items()) for rule in exclude)
        first = next((i for i, hit in enumerate(hits) if hit), None)
        if first is None:
            left.append(cell)
        else:
            taken[first] += 1
    made = planned(axes, exclude)
    cells = [(*point(trial), score) for trial, scores in zip(made.trials, made.scores, strict=True)
             for score in scores]
    assert cells == left
    assert made.n_cells == len(left)
    assert [n for _, n in made.excluded] == taken
    assert made.n_excluded == sum(taken)
    assert all(made.scores)


@settings(max_examples=30, deadline=None)
@given(grids())
def test_the_counts_are_those_of_the_cells(grid):
    axes, exclude = grid
    made = planned(axes, exclude)
    for axis in ORDER:
        assert sum(n for a, _, n in made.counts if a == axis) == made.n_cells
        assert sum(a == axis for a, _, _ in made.counts) == len(axes[axis])


@settings(max_examples=30, deadline=None)
@given(grids(), st.integers(1, 5))
def test_every_trial_is_in_one_pack(grid, size):
    axes, exclude = grid
    for made in (planned(axes, exclude, size), planned(axes, exclude, automatic=size)):
        assert tuple(trial for pack in made.packs for trial in pack) == made.trials
        members = {}
        for pack in made.packs:
            assert 1 <= len(pack) <= size
            assert len({trial.pack_key for trial in pack}) == 1
            members.setdefault(pack[0].pack_key, []).append(len(pack))
        for sizes in members.values():
            assert max(sizes) - min(sizes) <= 1
            assert len(sizes) == -(-sum(sizes) // size)


@settings(max_examples=25, deadline=None)
@given(grids(), st.randoms(use_true_random=False))
def test_ids_are_unique_and_ignore_the_order_of_values(grid, random):
    axes, exclude = grid
    ids = [trial.id for trial in planned(axes, exclude).trials]
    assert len(set(ids)) == len(ids)
    assert ids == [trial.id for trial in planned(axes, exclude).trials]
    shuffled = {axis: random.sample(values, len(values)) for axis, values in axes.items()}
    assert sorted(ids) == sorted(trial.id for trial in planned(shuffled, exclude).trials)


@settings(max_examples=25, deadline=None)
@given(AXES, st.sampled_from(ORDER))
def test_a_longer_axis_keeps_the_ids(axes, axis):
    before = {trial.id for trial in planned(axes).trials}
    after = {trial.id for trial in planned({**axes, axis: WORDS[axis]}).trials}
    assert before <= after


ONE = {"channel": ["3"], "representation": ["all"], "architecture": ["gcn_vae"], "hlf": [False],
       "flow": ["none"], "beta": [0.5], "seed": [0], "score": ["rz"]}


def test_a_rule_on_a_score_takes_cells_and_no_trials():
    axes = {**ONE, "score": ["rz", "kl"], "seed": [0, 1]}
    made = planned(axes, [{"score": ["kl"], "seed": [1]}])
    assert (len(made.trials), made.n_cells, made.n_excluded) == (2, 3, 1)
    assert made.scores == (("rz", "kl"), ("rz",))


def test_a_trial_without_cells_is_dropped():
    axes = {**ONE, "score": ["rz", "kl"], "seed": [0, 1]}
    made = planned(axes, [{"score": ["kl"], "seed": [1]}, {"score": ["rz"], "seed": [1]}])
    assert [trial.seed for trial in made.trials] == [0]
    assert made.n_cells == 2


def test_a_score_costs_no_training():
    few, many = planned(ONE), planned({**ONE, "score": list(SCORES)})
    assert few.trials == many.trials
    assert many.n_cells == len(SCORES)


def test_packs_do_not_mix_shapes_and_do_mix_seeds_and_betas():
    axes = {**ONE, "seed": [0, 1, 2], "beta": [0.5, 1], "hlf": [False, True], "channel": ["1", "3"]}
    made = planned(axes)
    assert [len(pack) for pack in made.packs] == [6, 6, 6, 6]
    assert [len(pack) for pack in planned(axes, pack=4).packs] == [3] * 8


def test_a_plan_takes_the_training_settings_of_the_grid():
    text = written(ONE) + "\ntraining: {patience: 9}\nsplit: {test: 0.5}\n"
    (trial,) = plan(parse(text, "x")).trials
    assert (trial.training.patience, trial.split.test, trial.dataset) == (9, 0.5, "sample")


def test_a_plan_of_nothing_says_so():
    made = planned({**ONE, "seed": [0, 1]}, [{"seed": [0]}, {"seed": [1]}])
    assert (made.trials, made.packs, made.n_cells, made.n_excluded) == ((), (), 0, 2)
    assert "0 trials, 0 cells" in summary(made)


def test_the_summary_names_trials_cells_packs_and_rules():
    axes = {**ONE, "seed": [0, 1], "score": ["rz", "kl"]}
    assert summary(planned(axes, [{"seed": [1], "score": ["kl"]}], automatic=1)) == """\
scan x: 2 trials, 3 cells (trial x score), 2 packs of at most 1 trials
axis            value                 cells
channel         3                         3
representation  all                       3
architecture    gcn_vae                   3
hlf             false                     3
flow            none                      3
beta            0.5                       3
seed            0                         2
seed            1                         1
score           rz                        2
score           kl                        1
excluded        seed: 1; score: 'kl'      1
excluded        in all                    1"""


def test_the_quickstart_is_small():
    made = plan(parse(QUICKSTART.read_text(), str(QUICKSTART), {"sample": ["2a", "2b", "3"]}))
    assert (len(made.trials), made.n_cells, len(made.packs)) == (32, 96, 8)


GRIDS = [path for path in sorted(QUICKSTART.parent.glob("*.yaml")) if "generate" not in path.stem]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda p: p.stem)
def test_every_grid_that_is_shipped_has_trials(grid):
    assert plan(parse(grid.read_text(), str(grid))).trials


def test_a_hundred_thousand_cells_are_planned_at_once():
    axes = {**ONE, "seed": list(range(5_000)), "beta": [i / 10 for i in range(10)],
            "hlf": [False, True]}
    grid = parse(written({**axes, "seed": [0]}), "x")
    start = time.process_time()
    made = plan(replace(grid, seed=tuple(axes["seed"])))
    assert len(made.trials) == 100_000
    assert time.process_time() - start < 5
