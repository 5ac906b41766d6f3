"""AUC and signal efficiency of one score on one signal, exact under ties.

A score is higher for more anomalous events. Numbers are compared in the dtype they come in, so
float32 scores that are equal stay tied. Infinite scores are ordinary values; NaN is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from scanner.errors import ResultError

EPS_B = {"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}
Scores = NDArray[np.floating]


def auc(background: Scores, signal: Scores) -> float:
    """Area under the ROC curve, P(signal > background) + 0.5 P(signal = background).

    Args:
        background: Scores of the background events, shape (n,).
        signal: Scores of the signal events, shape (m,).

    Raises:
        ResultError: A score is NaN, or there is no event.
    """
    return _auc(np.sort(_checked("background", background)), np.sort(_checked("signal", signal)))


def signal_efficiency(background: Scores, signal: Scores, eps_b: float) -> float:
    """Largest eps_S of any cut `score > t` whose background efficiency does not exceed `eps_b`.

    Tied scores pass or fail together and nothing is interpolated, so that the background efficiency
    of the cut may be below `eps_b`: 0 where the sample or its ties do not resolve it.

    Args:
        background: Scores of the background events, shape (n,).
        signal: Scores of the signal events, shape (m,).
        eps_b: Background efficiency that is allowed, from 0 to 1.

    Raises:
        ResultError: A score is NaN, there is no event, or `eps_b` is not in [0, 1].
    """
    ordered = np.sort(_checked("background", background))
    return _efficiency(ordered, np.sort(_checked("signal", signal)), _fraction(eps_b))


def threshold(background: Scores, eps_b: float) -> float:
    """The cut of `signal_efficiency`: the smallest t whose `score > t` passes at most `eps_b`.

    It is a background score, or -inf where every event may pass.

    Args:
        background: Scores of the background events, shape (n,).
        eps_b: Background efficiency that is allowed, from 0 to 1.

    Raises:
        ResultError: A score is NaN, there is no event, or `eps_b` is not in [0, 1].
    """
    ordered = np.sort(_checked("background", background))
    allowed = _allowed(ordered.size, _fraction(eps_b))
    return float("-inf") if allowed >= ordered.size else float(ordered[-1 - allowed])


def measure(background: Scores, signal: Scores) -> dict[str, float | int]:
    """AUC, eps_S at eps_B = 1e-2, 1e-3 and 1e-4, and the numbers of events, from one sort.

    Raises:
        ResultError: A score is NaN, or there is no event.
    """
    low, high = np.sort(_checked("background", background)), np.sort(_checked("signal", signal))
    row: dict[str, float | int] = {"auc": _auc(low, high)}
    row |= {f"eps_s_{word}": _efficiency(low, high, eps_b) for word, eps_b in EPS_B.items()}
    return row | {"n_background": low.size, "n_signal": high.size}


def roc(background: Scores, signal: Scores, eps_b: Sequence[float]) -> NDArray[np.float64]:
    """`signal_efficiency` at every one of `eps_b`, from one sort.

    Raises:
        ResultError: A score is NaN, or there is no event.
    """
    low, high = np.sort(_checked("background", background)), np.sort(_checked("signal", signal))
    return np.array([_efficiency(low, high, value) for value in eps_b])


def interval(
    passed: ArrayLike, total: ArrayLike, level: float = 0.6827
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Clopper-Pearson intervals of efficiencies: the true one is inside at least `level` often.

    Args:
        passed: Events that pass the cut, any shape.
        total: All events, at least 1.
        level: Confidence level, between 0 and 1.

    Returns:
        Lower and upper limits; 0 where nothing passes, 1 where everything does.

    Raises:
        ResultError: `passed` is not in [0, total], or `total` is 0.
    """
    k, n = np.broadcast_arrays(np.asarray(passed), np.asarray(total))
    if (bad := (k < 0) | (k > n) | (n == 0)).any():
        text = f"{k[bad].flat[0]} of {n[bad].flat[0]} events"
        raise ResultError(f"{text}: expected 0 <= passed <= total, total >= 1")
    tail = (1 - level) / 2
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
    return low, high


def significance_improvement(eps_s: float, eps_b: float) -> float:
    """eps_S / sqrt(eps_B): factor on S / sqrt(B) from a cut (arXiv:2105.14027)."""
    return eps_s / sqrt(eps_b)


def _fraction(eps_b: float) -> float:
    if not 0 <= eps_b <= 1:
        raise ResultError(f"eps_B = {eps_b}: expected a fraction from 0 to 1")
    return eps_b


def _checked(name: str, scores: Scores) -> Scores:
    values = np.asarray(scores).ravel()
    if values.size == 0:
        raise ResultError(f"no {name} event to measure: every (channel, signal) needs at least one")
    if bad := int(np.isnan(values).sum()):
        raise ResultError(f"{bad} of {values.size} {name} scores are NaN: the model has diverged")
    return values


def _auc(background: Scores, signal: Scores) -> float:
    below = int(np.searchsorted(background, signal, "left").sum())
    not_above = int(np.searchsorted(background, signal, "right").sum())
    return (below + not_above) / (2 * background.size * signal.size)


def _efficiency(background: Scores, signal: Scores, eps_b: float) -> float:
    n = background.size
    allowed = _allowed(n, eps_b)
    if allowed >= n:
        return 1.0
    cut = background[n - 1 - allowed]
    return (signal.size - int(np.searchsorted(signal, cut, "right"))) / signal.size


def _allowed(events: int, eps_b: float) -> int:
    """The largest count whose share of the events, as a float, stays within `eps_b`."""
    allowed = floor(eps_b * events) + 1
    while allowed / events > eps_b:
        allowed -= 1
    return allowed
