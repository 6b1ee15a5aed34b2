"""Repeats as in the data: how likely a user takes an item again, by how long ago it was.

A reward model that was trained on true items against random ones extrapolates: it likes best what
looks most like the history, and nothing looks more like it than the history itself. Users of the
shipped data hardly ever take an item again. So after the fit each lag gets an intercept, under
which the mean probability of taking the item at that lag again is its rate in the sequences that
the model was fitted on. Data in which users do come back (re-listening) keeps that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from recsim_envs.arrays import BoolArray, Float32Array, FloatArray, IntArray
from recsim_envs.rewards.sequence import SequenceReward, newest_places

MAX_TRANSITIONS = 20_000
"""Drawn to solve for the intercepts: their mean probability then has an error below a hundredth of
itself; rates are counted on all."""
BOUND = 50.0
"""Of an intercept: beyond it a probability is 0 or 1 in every use."""


class Transitions(NamedTuple):
    """What came next after each history.

    Attributes:
        histories: (T, H) items, newest last, padded on the left with ``n_items``.
        following: (T,) the next item.
    """

    histories: IntArray
    following: IntArray


class RepeatRate(TypedDict):
    """How often an item is taken again.

    Attributes:
        lag: how many items ago it was taken; 1 is the newest.
        transitions: how many histories hold an item at that lag that is not in them again later.
        data: share of them whose next item is that one.
        simulated: mean probability that the model gives it.
    """

    lag: int
    transitions: int
    data: float
    simulated: float


def transitions_of(sequences: Sequence[IntArray], n_items: int, history_length: int) -> Transitions:
    """Returns every transition of the sequences with its last ``history_length`` items."""
    padded = [
        np.concatenate([np.full(history_length, n_items), sequence]) for sequence in sequences
    ]
    windows = [
        np.lib.stride_tricks.sliding_window_view(row, history_length + 1)[1:] for row in padded
    ]
    windows = [np.empty((0, history_length + 1), np.int64), *windows]
    joined = np.concatenate(windows)  # (T, H + 1)
    return Transitions(joined[:, :-1], joined[:, -1])


def calibrate_repeats(
    reward: SequenceReward, sequences: Sequence[IntArray], seed: int
) -> Float32Array:
    """Solves for the intercepts, given the model's score as offset.

    A lag's rate has one transition more, at the rate of all lags together, whose repeats in turn
    are counted with half a repeat more: no rate is 0, and a lag without any transition has theirs.

    Args:
        reward: the fitted model; its present intercepts play no part.
        sequences: what it was fitted on.
        seed: of the transitions that are drawn, where there are more than
            :data:`MAX_TRANSITIONS`.

    Returns:
        (H,) intercepts, for lags 1 to H.
    """
    found = transitions_of(sequences, reward.n_items, reward.history_length)
    at, again = _repeats(found, reward.n_items)
    pooled = (again.sum() + 0.5) / (at.sum() + 1)
    rate = ((again.sum(axis=0) + pooled) / (at.sum(axis=0) + 1))[::-1]  # by lag
    rng = np.random.default_rng(seed)
    n = len(found.following)
    drawn = rng.choice(n, MAX_TRANSITIONS, replace=False) if n > MAX_TRANSITIONS else np.arange(n)
    score = reward.scores_of(found.histories[drawn], found.histories[drawn])[:, ::-1]
    at = at[drawn][:, ::-1]
    everywhere = score[at]
    return np.array(
        [
            _intercept(score[at[:, lag], lag] if at[:, lag].any() else everywhere, rate[lag])
            for lag in range(reward.history_length)
        ],
        dtype=np.float32,
    )


def repeat_rates(reward: SequenceReward, sequences: Sequence[IntArray]) -> list[RepeatRate]:
    """Compares the model with sequences, lag by lag."""
    found = transitions_of(sequences, reward.n_items, reward.history_length)
    at, again = _repeats(found, reward.n_items)
    score = reward.scores_of(found.histories, found.histories)  # (T, H)
    chance = expit(score + reward.repeat_bias[::-1])
    result = []
    for lag in range(1, reward.history_length + 1):
        here = at[:, -lag]
        if here.any():
            rate, mean = float(again[here, -lag].mean()), float(chance[here, -lag].mean())
            result.append(
                RepeatRate(lag=lag, transitions=int(here.sum()), data=rate, simulated=mean)
            )
    return result


def _repeats(found: Transitions, n_items: int) -> tuple[BoolArray, BoolArray]:
    """Which places could be taken again, newest ones only, and which were: (T, H) both."""
    at = newest_places(found.histories, n_items)
    return at, at & (found.histories == found.following[:, None])


def _intercept(score: FloatArray, rate: float) -> float:
    """The b at which ``mean(sigmoid(score + b)) = rate``, which grows with b."""
    if not len(score):
        return 0.0

    def excess(b: float) -> float:
        return float(expit(score + b).mean() - rate)

    low, high = -BOUND - float(score.max()), BOUND - float(score.min())
    return float(brentq(excess, low, high)) if excess(low) < 0 < excess(high) else low
