"""Every background event is in exactly one part, the same in every trial."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.errors import DataError
from scanner.split import split_indices
from scanner.trial import PUBLISHED_TEST, Split


@pytest.mark.parametrize(
    ("test", "sizes"), [(0.3, (665, 35, 300)), (100, (855, 45, 100)), (0.5, (475, 25, 500))]
)
def test_split_is_fixed_complete_and_disjoint(test, sizes):
    parts = split_indices(1000, Split(test=test), "3")
    assert tuple(map(len, parts)) == sizes
    assert sorted(np.concatenate(parts)) == list(range(1000))
    again = split_indices(1000, Split(test=test), "3")
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    other = split_indices(1000, Split(test=test, seed=1), "3")
    assert set(parts[2]) != set(other[2])


def test_the_published_split():
    train, validation, test = split_indices(214_185, Split(test=PUBLISHED_TEST), "1")
    assert len(test) == 10_000
    assert len(validation) == round(0.05 * 204_185)
    assert len(train) + len(validation) + len(test) == 214_185


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(DataError, match="change `split`"):
        split_indices(100, Split(test=PUBLISHED_TEST), "3")
