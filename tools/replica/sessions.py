"""Sessions that walk through a catalogue, following its attributes.

A session starts at an item drawn by popularity. Each further item resembles an *anchor*: the last
item or, now and then, any earlier one. How closely it does is a *level* drawn from a mixture, from
the finest (the next track, say) to the coarsest (anything). Among the items that share the level's
group with the anchor, one is drawn by popularity. Some groups are attributes; others are known only
by what is used together (:func:`companions`), and item-kNN lives on these. So a session's taste
shows in its own history, and items keep their popularity: a draw by weight within a group leaves
the weights stationary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.errors import DataError

Draw = Callable[[np.random.Generator, IntArray], IntArray]
"""Maps anchors (n,) to items (n,) that resemble them."""


@dataclass(frozen=True)
class Moves:
    """How sessions move.

    Attributes:
        stickiness: (a, b) of the Beta distribution of a session's share of close moves.
        close: probability of each level in a close move, from the finest to the coarsest.
        far: probability of each level in a far move.
        recall: probability that the anchor is any earlier item of the session, not the last one.
    """

    stickiness: tuple[float, float]
    close: tuple[float, ...]
    far: tuple[float, ...]
    recall: float


def walk(
    rng: np.random.Generator,
    n_items: int,
    lengths: IntArray,
    ladder: Sequence[Draw],
    moves: Moves,
) -> IntArray:
    """Walks all sessions at once.

    No item comes twice in a session: a move to one that is already there is made again, one level
    coarser.

    Args:
        rng: the source of randomness.
        n_items: catalogue size.
        lengths: (n,) items of each session.
        ladder: one draw a level, from the finest to the coarsest, which must reach every item.
        moves: the mixture of levels.

    Returns:
        (sum of lengths,) items, one session after the other.

    Raises:
        DataError: if a session is longer than half the catalogue.
    """
    n, longest = len(lengths), int(lengths.max())
    if longest > n_items // 2:
        raise DataError(
            f"n_items={n_items} is too few for a session of {longest} different items: "
            "raise n_items or lower n_sequences"
        )
    sessions = np.full((n, longest), -1)
    sessions[:, 0] = ladder[-1](rng, np.zeros(n, dtype=np.int64))
    stickiness = rng.beta(*moves.stickiness, size=n)  # (n,)
    for t in range(1, longest):
        active = np.flatnonzero(lengths > t)
        k = len(active)
        past = sessions[active, :t]  # (k, t)
        recalled = rng.random(k) < moves.recall
        anchor = past[np.arange(k), np.where(recalled, rng.integers(t, size=k), t - 1)]  # (k,)
        level = np.where(
            rng.random(k) < stickiness[active],
            rng.choice(len(ladder), size=k, p=moves.close),
            rng.choice(len(ladder), size=k, p=moves.far),
        )
        item = np.full(k, -1)
        moving = np.arange(k)
        while len(moving):
            for step, draw in enumerate(ladder):
                here = moving[level[moving] == step]
                item[here] = draw(rng, anchor[here])
            moving = moving[(past[moving] == item[moving, None]).any(axis=1)]
            level[moving] = np.minimum(level[moving] + 1, len(ladder) - 1)
        sessions[active, t] = item
    return sessions[sessions >= 0]


def same(code: IntArray, weight: FloatArray) -> Draw:
    """Returns the draw, by ``weight``, among the items whose ``code`` (n_items,) is the anchor's.

    Codes are numbered 0, 1, ... without gaps.
    """
    order = np.argsort(code, kind="stable")
    end = np.cumsum(weight[order])  # (n_items,): each group is a stretch of this line
    last = np.cumsum(np.bincount(code)) - 1
    high = end[last]
    low = np.concatenate([[0.0], high[:-1]])

    def draw(rng: np.random.Generator, anchor: IntArray) -> IntArray:
        group = code[anchor]
        place = np.searchsorted(end, rng.uniform(low[group], high[group]), side="right")
        return order[np.minimum(place, last[group])]  # uniform() may round up to high

    return draw


def companions(
    rng: np.random.Generator, home: IntArray, size: int, abroad: float = 0.0
) -> IntArray:
    """Groups what is used together though nothing in its attributes says so: codes (n,).

    Args:
        rng: the source of randomness.
        home: (n,) codes; a group's members share theirs.
        size: members of a group; a home's last may have fewer.
        abroad: share of the members that change places with others of any home.
    """
    home = home.copy()
    moved = np.flatnonzero(rng.random(len(home)) < abroad)
    home[moved] = home[rng.permutation(moved)]
    order = rng.permutation(len(home))
    group = np.empty_like(home)
    group[order] = dense(home[order], occurrence(home[order]) // size)
    return group


def take_again(
    rng: np.random.Generator, lengths: IntArray, events: IntArray, rate: float
) -> IntArray:
    """Replaces about ``rate`` of the events by an item that the session had, likelier a new one.

    Args:
        rng: the source of randomness.
        lengths: (n,) items of each session.
        events: (sum of lengths,) items, one session after the other.
        rate: share of the events that look back; those that look beyond the start stay.
    """
    place = np.arange(len(events)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    lag = rng.geometric(0.4, size=len(events))
    again = np.flatnonzero((rng.random(len(events)) < rate) & (lag <= place))
    result = events.copy()
    result[again] = events[again - lag[again]]
    return result


def cover(
    rng: np.random.Generator, events: IntArray, minimum: int, codes: Sequence[IntArray]
) -> IntArray:
    """Makes every item occur at least ``minimum`` times.

    An event of an item that can spare it becomes one of an item that lacks it, which shares the
    finest of ``codes`` (each (n_items,)) possible, so that the sessions keep their attributes.

    Raises:
        DataError: if there are fewer than ``minimum`` events an item.
    """
    n_items = len(codes[0])
    if len(events) < minimum * n_items:
        raise DataError(
            f"{len(events)} events are too few for each of n_items={n_items} to occur {minimum} "
            "times: raise n_sequences or lower n_items"
        )
    events = events.copy()
    for code in (*codes, np.zeros(n_items, dtype=np.int64)):
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


def item_weights(
    rng: np.random.Generator, group: IntArray, shared: float, exponent: float, offset: float
) -> FloatArray:
    """Zipf weights (n_items,), in an order of the items that is part chance and part their group's.

    Args:
        rng: the source of randomness.
        group: (n_items,) code of the item's group, such as its artist; large ones are popular.
        shared: share of the order's variance that comes from the group (its size aside).
        exponent: of :func:`zipf`.
        offset: of :func:`zipf`, as a share of the number of items.
    """
    size = np.bincount(group)
    of_group = (rng.normal(size=len(size)) + np.log(size))[group]
    score = np.sqrt(shared) * of_group + np.sqrt(1 - shared) * rng.normal(size=len(group))
    weight = np.empty(len(group))
    weight[np.argsort(-score)] = zipf(len(group), exponent, offset * len(group))
    return weight


def zipf(n: int, exponent: float, offset: float) -> FloatArray:
    """Probabilities (n,) by rank, as ``(rank + offset) ** -exponent`` (Zipf and Mandelbrot)."""
    weight = (np.arange(1.0, n + 1) + offset) ** -exponent
    probability: FloatArray = weight / weight.sum()
    return probability


def parts(share: FloatArray, total: int, minimum: int) -> IntArray:
    """Whole numbers of at least ``minimum`` that sum to ``total``, in proportion to ``share``.

    Raises:
        DataError: if ``total`` is too small for the minimum.
    """
    rest = total - minimum * len(share)
    if rest < 0:
        raise DataError(f"total={total} is too small for {len(share)} parts of {minimum} or more")
    up_to = np.rint(np.cumsum(share) / share.sum() * rest).astype(np.int64)
    whole: IntArray = np.diff(up_to, prepend=0) + minimum
    return whole


def pareto_parts(
    rng: np.random.Generator, n: int, total: int, minimum: int, shape: float
) -> IntArray:
    """:func:`parts` in the proportions of a Pareto (Lomax) distribution's n quantiles, shuffled."""
    quantile = (rng.permutation(n) + 0.5) / n
    return parts((1 - quantile) ** (-1 / shape) - 1, total, minimum)


def occurrence(values: IntArray) -> IntArray:
    """How many equal values stand before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    result = np.empty_like(values)
    result[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return result


def dense(*columns: IntArray) -> IntArray:
    """Numbers the distinct rows of ``columns`` (each (n,)) 0, 1, ... in their sorted order."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()
