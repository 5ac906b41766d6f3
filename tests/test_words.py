"""Combinations of scores in a grid: read, put in order, and refused with a near miss."""

from __future__ import annotations

import pytest

from scanner.errors import GridError
from scanner.grid import parse
from scanner.plan import plan

GRID = """\
name: words
dataset: sample
channels: ["3"]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [reconstruction, kl, SCORE]
  flow: [none]
  seed: [0]
"""


def read(score, more=""):
    return parse(GRID.replace("SCORE", score) + more, "words.yaml")


def test_a_combination_is_a_score_and_costs_no_trial():
    assert read("rz+kl").score == ("reconstruction", "kl", "kl+rz")
    with_it, without = plan(read("kl+rz")), plan(read("rz"))
    assert [t.id for t in with_it.trials] == [t.id for t in without.trials]
    assert with_it.scores == (("reconstruction", "kl", "kl+rz"),)


def test_a_rule_names_a_combination_in_any_order():
    made = plan(read("kl+rz", "exclude: [{score: rz+kl}]\n"))
    assert made.scores == (("reconstruction", "kl"),)
    assert plan(read("kl+rz", "exclude: [{score: kl}]\n")).scores == (("reconstruction", "kl+rz"),)


@pytest.mark.parametrize(("score", "fault"), [
    ("recontruction+kl", "'recontruction' is not a score; did you mean 'reconstruction'?"),
    ("kl+kl", "'kl+kl' is not a combination; write two different scores, a+b"),
    ("kl+rz+elbo", "'kl+rz+elbo' is not a combination; write two different scores, a+b"),
    ("kl+", "'' is not a score"),
    ("kl + rz", "'kl ' is not a score; did you mean 'kl'?"),
    ("kl-rz", "'kl-rz' is not a score"),
    ("[rz+elbo, kl]", "a list is not a score"),
])  # fmt: skip
def test_a_near_miss_is_told_with_its_place(score, fault):
    with pytest.raises(GridError) as caught:
        read(score)
    assert f"words.yaml:9:31: score: {fault}" in str(caught.value)


def test_the_same_combination_twice_is_a_fault():
    with pytest.raises(GridError, match="'kl\\+rz' is given twice, first at 9:31"):
        read("kl+rz, rz+kl")
    with pytest.raises(GridError, match="is not a score"):
        read("rz", "exclude: [{score: kl+rx}]\n")


def test_channels_that_another_dataset_lacks_are_left_out():
    text = GRID.replace("SCORE", "rz").replace('["3"]', '["1", "3", "9"]')
    known = {"sample": ("2a", "3"), "other": ("5",)}
    grid = parse(text, "words.yaml", known, "sample")
    assert (grid.channels, grid.absent) == (("3",), ("1", "9"))
    with pytest.raises(GridError, match="'1' is not a channel of the dataset"):
        parse(text, "words.yaml", known)
    with pytest.raises(GridError, match="'3' is not a channel of the dataset"):
        parse(text, "words.yaml", known, "other")
    assert parse(text, "words.yaml").absent == ()
