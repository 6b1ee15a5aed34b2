"""Sessions that walk through a catalogue, following its attributes.

An item's weight follows Zipf's law as Mandelbrot has it, ``(rank + offset) ** -exponent``. A session
starts at an item drawn by weight. Each further item resembles an *anchor*: the last item or, now
and then, any earlier one. How closely it does is a level drawn from a mixture, from the finest (the
next track, say) to the coarsest (anything). Among the items that share the level's attribute with
the anchor, one is drawn by weight. So a session's taste shows in its own history, and items keep
their popularity, because a draw by weight within a group leaves the weights stationary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Draw = Callable[[np.random.Generator, IntArray], IntArray]
"""Maps anchors (n,) to items (n,) that resemble them."""


@dataclass(frozen=True)
class Walk:
    """How sessions move.

    Attributes:
        shortest: the shortest session.
        mean_length: mean number of items a session.
        stickiness: (a, b) of the Beta distribution of a session's share of close moves.
        close: probability of each level in a close move, from the finest to the coarsest.
        far: probability of each level in a far move.
        recall: probability that the anchor is any earlier item of the session, not the last one.
    """

    shortest: int
    mean_length: float
    stickiness: tuple[float, float]
    close: tuple[float, ...]
    far: tuple[float, ...]
    recall: float


def walk(
    rng: np.random.Generator, lengths: IntArray, ladder: Sequence[Draw], walk: Walk
) -> IntArray:
    """Walks all sessions at once; returns their items, one session after the other.

    No item comes twice in a session: a move to one that is already there is made again, one level
    coarser.
    """
    n, longest = len(lengths), int(lengths.max())
    sessions = np.full((n, longest), -1)
    sessions[:, 0] = ladder[-1](rng, np.zeros(n, dtype=int))
    stickiness = rng.beta(*walk.stickiness, size=n)
    for t in range(1, longest):
        active = np.flatnonzero(lengths > t)
        past = sessions[active, :t]
        recalled = rng.random(len(active)) < walk.recall
        place = np.where(recalled, rng.integers(t, size=len(active)), t - 1)
        anchor = past[np.arange(len(active)), place]
        level = np.where(
            rng.random(len(active)) < stickiness[active],
            choice(rng, len(active), walk.close),
            choice(rng, len(active), walk.far),
        )
        item = np.full(len(active), -1)
        moving = np.arange(len(active))
        while len(moving):
            for step, draw in enumerate(ladder):
                here = moving[level[moving] == step]
                item[here] = draw(rng, anchor[here])
            moving = moving[(past[moving] == item[moving, None]).any(axis=1)]
            level[moving] = np.minimum(level[moving] + 1, len(ladder) - 1)
        sessions[active, t] = item
    return sessions[sessions >= 0]


def same(code: IntArray, weight: FloatArray) -> Draw:
    """Returns a draw, by weight, among the items whose ``code`` (n_items,) is the anchor's."""
    order = np.argsort(code, kind="stable")
    end = np.cumsum(weight[order])
    last = np.cumsum(np.bincount(code)) - 1
    high = end[last]
    low = np.concatenate([[0.0], high[:-1]])

    def draw(rng: np.random.Generator, anchor: IntArray) -> IntArray:
        group = code[anchor]
        place = np.searchsorted(end, rng.uniform(low[group], high[group]), side="right")
        return order[np.minimum(place, last[group])]  # the bound: uniform() may round up to high

    return draw


def cover(
    rng: np.random.Generator, events: IntArray, minimum: int, codes: Sequence[IntArray]
) -> IntArray:
    """Makes every item occur at least ``minimum`` times.

    An event of an item that can spare it becomes one of an item that lacks it, which shares the
    finest of ``codes`` possible, so that the sessions keep their attributes.
    """
    n_items = len(codes[0])
    if len(events) < minimum * n_items:
        raise ValueError(
            f"{len(events)} events are too few for each of n_items={n_items} to occur {minimum} "
            "times: raise n_sequences or lower n_items"
        )
    events = events.copy()
    for code in (*codes, np.zeros(n_items, dtype=int)):
        count = np.bincount(events, minlength=n_items)
        lacking = np.repeat(np.arange(n_items), np.maximum(minimum - count, 0))
        event = rng.permutation(len(events))
        spare = event[occurrence(events[event]) >= minimum]
        # The k-th lack within a group meets the group's k-th spare event.
        wanted = code[lacking] * len(events) + occurrence(code[lacking])
        offered = code[events[spare]] * len(events) + occurrence(code[events[spare]])
        _, lack, offer = np.intersect1d(wanted, offered, return_indices=True)
        events[spare[offer]] = lacking[lack]
    return events


def session_lengths(rng: np.random.Generator, n_sequences: int, walk: Walk) -> IntArray:
    """Session lengths: the shortest plus a Pareto (Lomax) excess, with the mean asked for."""
    quantile = (rng.permutation(n_sequences) + 0.5) / n_sequences
    excess = (1 - quantile) ** (-1 / 3.5) - 1
    return parts(excess, round(walk.mean_length * n_sequences), walk.shortest)


def item_weights(
    rng: np.random.Generator, group: IntArray, shared: float, exponent: float, offset: float
) -> FloatArray:
    """Zipf weights in an order that items of a ``group`` (an artist, say) share in part."""
    own = rng.normal(size=len(group))
    size = np.bincount(group)
    common = (rng.normal(size=len(size)) + np.log(size))[group]
    score = np.sqrt(1 - shared) * own + np.sqrt(shared) * common
    rank = np.argsort(np.argsort(-score))
    return zipf(len(group), exponent, offset * len(group))[rank]


def zipf(n: int, exponent: float, offset: float) -> FloatArray:
    return (np.arange(1, n + 1) + offset) ** -exponent


def parts(share: FloatArray, total: int, minimum: int) -> IntArray:
    """Whole numbers of at least ``minimum`` that sum to ``total``, in proportion to ``share``."""
    rest = total - minimum * len(share)
    up_to = np.rint(np.cumsum(share) / share.sum() * rest).astype(int)
    return minimum + np.diff(up_to, prepend=0)


def choice(rng: np.random.Generator, n: int, weight: Sequence[float] | FloatArray) -> IntArray:
    total = np.cumsum(weight)
    return np.searchsorted(total, rng.random(n) * total[-1], side="right")


def occurrence(values: IntArray) -> IntArray:
    """How many equal values stand before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    result = np.empty_like(values)
    result[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return result


def dense(*columns: IntArray) -> IntArray:
    """Numbers the distinct rows of ``columns``, in their sorted order."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()
