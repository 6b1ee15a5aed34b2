"""A whole step of the users, compiled: their answers, what they remember, and whether they leave.

The rules are those of :mod:`recsim_envs.users.sessions` and :mod:`recsim_envs.users.shoppers`, the
reward model is :meth:`recsim_envs.rewards.sequence.SequenceReward.probability`; tests hold this
file to them. A history only grows and its positions count from the session's start, so an item's
keys and values stay what they are until the window slides. They are kept for each user, beside the
ids that they belong to: a history is compared with those ids, and what follows the first that
differs is computed anew. So what is kept is no state: whatever becomes of a history, its score is
right.

One user is computed after the other, with sums of one order, so that a score has the same bits
whoever else is in the batch. What could leave an array's bounds is refused before anything changes:
compiled code checks no index.

All that decides compiled code stands in this one file, whose hash Numba keeps with it: it would not
see a change in another. Constants of other files come as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from recsim_envs.arrays import Float32Array, FloatArray, IntArray

Kernel = Callable[..., Any]
# What lets sums be vectorised. NaN and infinity keep their meaning.
_compile: Any = partial(
    numba.njit, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", nogil=True
)


def compiled(function: Kernel) -> Kernel:
    """Marks what the entries call; it is kept with them."""
    part: Kernel = _compile(function)
    return part


def entry(function: Kernel) -> Kernel:
    """Compiles a function for this CPU at its first call, and keeps what came out on disk.

    The file lies in ``$NUMBA_CACHE_DIR``, beside the source or in the user's cache folder; where
    none of them can be written, each process compiles anew.
    """
    try:
        kept: Kernel = _compile(function, cache=True)
    except RuntimeError:  # no folder can be written
        kept = _compile(function)
    return kept


class Weights(NamedTuple):
    """A :class:`SequenceReward`'s; the tables of items are its own, the small matrices packed.

    Attributes:
        item: (n_items + 1, d).
        similarity: (n_items + 1, D).
        bias: (n_items + 1,).
        position: (H, d).
        lag_weight: (H,), the newest item's first.
        repeat_bias: (H,).
        products: (layers, 6, d, d), inputs by outputs: query, key, value, project, and the two
            of the feed-forward layer.
        offsets: (layers, 6, d), what is added to their outputs.
        norms: (layers + 1, 4, d), scale and offset before attention and before feed-forward; at
            last of the encoder's end, twice.
        n_heads: of the attention.
        epsilon: of the norms.
    """

    item: Float32Array
    similarity: Float32Array
    bias: Float32Array
    position: Float32Array
    lag_weight: Float32Array
    repeat_bias: Float32Array
    products: Float32Array
    offsets: Float32Array
    norms: Float32Array
    n_heads: int
    epsilon: np.float32


class Kept(NamedTuple):
    """What was computed of N users' histories, and of which.

    Attributes:
        ids: (N, H) the histories, oldest first.
        lengths: (N,) how many of them count.
        keys: (N, layers, H, d).
        values: (N, layers, H, d).
        query: (N, d) the encoder's output at the newest item.
        work: (4, d) room for one place.
        share: (H,) the same.
    """

    ids: NDArray[np.int32]
    lengths: IntArray
    keys: Float32Array
    values: Float32Array
    query: Float32Array
    work: Float32Array
    share: Float32Array


class Sessions(NamedTuple):
    """The arrays of :class:`recsim_envs.users.simulator.Simulator` that a step changes.

    Attributes:
        history: (N, H).
        shown: (N, max_steps).
        steps: (N,).
        distinct: (N,) distinct items shown.
    """

    history: NDArray[np.int32]
    shown: IntArray
    steps: IntArray
    distinct: IntArray


@entry
def step_listeners(
    items: IntArray,
    uniform: FloatArray,
    sessions: Sessions,
    patience: FloatArray,
    recent: NDArray[np.int32],
    rule: int,
    all_enter: bool,
    limit: float,
    reward_scale: float,
    leaves: bool,
    weights: Weights,
    kept: Kept,
    numbers: FloatArray,
    flags: NDArray[np.bool_],
) -> None:
    """A step of N users of a :class:`recsim_envs.users.sessions.SessionSimulator`.

    Args:
        items: (N,).
        uniform: (N,) draws from 0 to 1; a user accepts where the draw is below the probability.
        sessions: changed in place, as ``patience`` (N,) and ``recent`` (N, H).
        patience: see there.
        recent: see there.
        rule: place of the user model in ``UserModel``.
        all_enter: whether items enter the history unless they are refused.
        limit: the patience below which a user leaves.
        reward_scale: of the reconstruction's reward.
        leaves: whether users leave before the cap.
        weights: of the reward model.
        kept: what was computed of these users' histories.
        numbers: (4, N) to be written: reward, share of distinct items, probability, patience.
        flags: (3, N) to be written: terminated, truncated, accepted.
    """
    n_items = len(weights.item) - 1
    check(items, sessions, n_items)
    for user in range(len(items)):
        item = items[user]
        probability = probability_of(user, sessions.history[user], item, weights, kept)
        accepted = uniform[user] < probability
        if rule == 0:
            reward = reward_scale * probability
        elif rule == 1:
            reward = 1.0 if accepted else -0.1
        else:
            reward = 1.0 if accepted else 0.0
        lost = (1.0 - reward) + 1.0 if rule == 1 else min(max(2.0 - reward, 0.0), 2.0)
        patience[user] -= lost
        push(recent[user], item)
        record(user, item, accepted or all_enter, sessions)
        numbers[0, user] = reward
        numbers[1, user] = sessions.distinct[user] / sessions.steps[user]
        numbers[2, user] = probability
        numbers[3, user] = patience[user]
        flags[0, user] = leaves and patience[user] < limit
        flags[1, user] = not flags[0, user] and sessions.steps[user] >= sessions.shown.shape[1]
        flags[2, user] = accepted


@entry
def step_shoppers(
    items: IntArray,
    sessions: Sessions,
    shoppers: IntArray,
    ratings: Float32Array,
    distance: FloatArray,
    n_recent: int,
    forgets: bool,
    limit: float,
    leaves: bool,
    numbers: FloatArray,
    flags: NDArray[np.bool_],
) -> None:
    """A step of N users of a :class:`recsim_envs.users.shoppers.ShopperSimulator`.

    Args:
        items: (N,).
        sessions: changed in place.
        shoppers: (N,) rows of ``ratings``.
        ratings: (n_users, n_items).
        distance: (n_items + 1, n_items + 1).
        n_recent: how many shown items count as recent.
        forgets: whether the window is EasyRL4Rec's.
        limit: the distance below which a user leaves.
        leaves: whether users leave before the cap.
        numbers: (3, N) to be written: reward, share of distinct items, distance to the nearest.
        flags: (2, N) to be written: terminated, truncated.
    """
    n_items = len(distance) - 1
    check(items, sessions, n_items)
    for user in range(len(items)):
        if not 0 <= shoppers[user] < len(ratings):
            raise IndexError("a user is not among the ratings")
    for user in range(len(items)):
        item, step = items[user], sessions.steps[user]
        first = step - n_recent
        if forgets and first < 0:
            first += step
        nearest = np.inf
        for place in range(max(first, 0), step):
            nearest = min(nearest, distance[item, sessions.shown[user, place]])
        record(user, item, True, sessions)
        numbers[0, user] = ratings[shoppers[user], item]
        numbers[1, user] = sessions.distinct[user] / sessions.steps[user]
        numbers[2, user] = nearest
        flags[0, user] = leaves and nearest < limit
        flags[1, user] = not flags[0, user] and sessions.steps[user] >= sessions.shown.shape[1]


@compiled
def check(items: IntArray, sessions: Sessions, n_items: int) -> None:
    """Raises IndexError where a step would read or write outside of an array."""
    for user in range(len(items)):
        if not 0 <= items[user] < n_items:
            raise IndexError("an item is not in the catalogue")
        if not 0 <= sessions.steps[user] < sessions.shown.shape[1]:
            raise IndexError("a session goes on after its last step")
        for place in range(sessions.history.shape[1]):
            if not 0 <= sessions.history[user, place] <= n_items:
                raise IndexError("a history holds what is not in the catalogue")
        for place in range(sessions.steps[user]):
            if not 0 <= sessions.shown[user, place] <= n_items:
                raise IndexError("a session holds what is not in the catalogue")


@compiled
def record(user: int, item: int, enters: bool, sessions: Sessions) -> None:
    """Writes down that an item was shown."""
    new = 1
    for place in range(sessions.steps[user]):
        if sessions.shown[user, place] == item:
            new = 0
    sessions.distinct[user] += new
    sessions.shown[user, sessions.steps[user]] = item
    sessions.steps[user] += 1
    if enters:
        push(sessions.history[user], item)


@compiled
def push(row: NDArray[Any], item: int) -> None:
    """Appends an item to a row, whose oldest goes."""
    for place in range(len(row) - 1):
        row[place] = row[place + 1]
    row[len(row) - 1] = item


@compiled
def probability_of(
    user: int, history: NDArray[np.int32], item: int, weights: Weights, kept: Kept
) -> float:
    """The probability that a user accepts an item, (H,) item ids as the environments hold them."""
    n_items, size = len(weights.item) - 1, len(history)
    first = 0  # place of the oldest item; a history of nothing is one of padding
    while first < size - 1 and history[first] == n_items:
        first += 1
    length = size - first
    # Places that are as they were; the newest is computed anew where it was not the last.
    same = 0
    while same < min(length, kept.lengths[user]) and (
        kept.ids[user, same] == history[first + same]
    ):
        same += 1
    if same == length != kept.lengths[user]:
        same -= 1
    for place in range(same, length):
        kept.ids[user, place] = history[first + place]
        encode(user, place, history[first + place], weights, kept)
    kept.lengths[user] = length
    score = weights.bias[item] + inner(kept.query[user], weights.item[item])
    for place in range(size - 1, first - 1, -1):
        if not newest(history, place):
            continue
        lag = size - 1 - place
        if history[place] == item:
            score += weights.repeat_bias[lag]
        else:
            near = inner(weights.similarity[history[place]], weights.similarity[item])
            score += weights.lag_weight[lag] * near
    return 1.0 / (1.0 + math.exp(-np.float64(score)))


@compiled
def newest(history: NDArray[np.int32], place: int) -> bool:
    """Whether the item at a place does not stand at a newer one too."""
    for later in range(place + 1, len(history)):  # noqa: SIM110  Numba knows no any()
        if history[later] == history[place]:
            return False
    return True


@compiled
def encode(user: int, place: int, item: int, weights: Weights, kept: Kept) -> None:
    """The SASRec encoder at one place, whose earlier places are kept."""
    n_layers, dim = len(weights.products), weights.item.shape[1]
    x, normed, inside, out = kept.work[0], kept.work[1], kept.work[2], kept.work[3]
    for i in range(dim):
        x[i] = weights.item[item, i] + weights.position[place, i]
    for layer in range(n_layers):
        norm, product, offset = (
            weights.norms[layer],
            weights.products[layer],
            weights.offsets[layer],
        )
        keys, values = kept.keys[user, layer], kept.values[user, layer]
        normalise(x, norm[0], norm[1], weights.epsilon, normed)
        multiply(normed, product[0], offset[0], out)
        multiply(normed, product[1], offset[1], keys[place])
        multiply(normed, product[2], offset[2], values[place])
        attend(out, keys, values, place + 1, weights.n_heads, kept.share, inside)
        multiply(inside, product[3], offset[3], out)
        for i in range(dim):
            x[i] += out[i]
        normalise(x, norm[2], norm[3], weights.epsilon, normed)
        multiply(normed, product[4], offset[4], inside)
        for i in range(dim):
            inside[i] = gelu(inside[i])
        multiply(inside, product[5], offset[5], out)
        for i in range(dim):
            x[i] += out[i]
    last = weights.norms[n_layers]
    normalise(x, last[0], last[1], weights.epsilon, kept.query[user])


@compiled
def attend(
    query: Float32Array,
    keys: Float32Array,
    values: Float32Array,
    length: int,
    n_heads: int,
    share: Float32Array,
    out: Float32Array,
) -> None:
    """What the newest of ``length`` places reads of keys and values (H, d): (d,)."""
    width = len(query) // n_heads
    scale = np.float32(1.0 / math.sqrt(width))
    for head in range(n_heads):
        first, end = head * width, (head + 1) * width
        asked, found = query[first:end], out[first:end]
        most = np.float32(-np.inf)
        for place in range(length):
            share[place] = scale * inner(asked, keys[place, first:end])
            most = max(most, share[place])
        total = np.float32(0.0)
        for place in range(length):
            share[place] = np.exp(share[place] - most)
            total += share[place]
        found[:] = np.float32(0.0)
        for place in range(length):
            value, part = values[place, first:end], share[place] / total
            for i in range(width):
                found[i] += part * value[i]


@compiled
def multiply(
    x: Float32Array, weight: Float32Array, offset: Float32Array, out: Float32Array
) -> None:
    """``out = x @ weight + offset``: (I,) and (I, O) to (O,), four rows of the weights at once."""
    n_out = len(offset)
    for j in range(n_out):
        out[j] = offset[j]
    whole = len(x) - len(x) % 4
    for k in range(0, whole, 4):
        a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
        row_a, row_b, row_c, row_d = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for j in range(n_out):
            out[j] += a * row_a[j] + b * row_b[j] + c * row_c[j] + d * row_d[j]
    for k in range(whole, len(x)):
        for j in range(n_out):
            out[j] += x[k] * weight[k, j]


@compiled
def inner(a: Float32Array, b: Float32Array) -> np.float32:
    """The inner product of two vectors."""
    total = np.float32(0.0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@compiled
def normalise(
    x: Float32Array,
    weight: Float32Array,
    offset: Float32Array,
    epsilon: np.float32,
    out: Float32Array,
) -> None:
    """PyTorch's layer norm."""
    total = np.float32(0.0)
    for i in range(len(x)):
        total += x[i]
    mean = total / np.float32(len(x))
    total = np.float32(0.0)
    for i in range(len(x)):
        total += (x[i] - mean) ** 2
    scale = np.float32(1.0) / np.sqrt(total / np.float32(len(x)) + epsilon)
    for i in range(len(x)):
        out[i] = (x[i] - mean) * scale * weight[i] + offset[i]


@compiled
def gelu(x: np.float32) -> np.float32:
    """GELU with a rational erf, which is vectorised and right to 5e-7.

    The coefficients are those of Eigen's single-precision erf.
    """
    f = np.float32
    y = min(max(x * f(0.7071067811865476), f(-4.0)), f(4.0))
    s = y * y
    p = f(-2.72614225801306e-10) * s + f(2.77068142495902e-08)
    p = p * s + f(-2.10102402082508e-06)
    p = p * s + f(-5.69250639462346e-05)
    p = p * s + f(-7.34990630326855e-04)
    p = p * s + f(-2.95459980854025e-03)
    p = p * s + f(-1.60960333262415e-02)
    q = f(-1.45660718464996e-05) * s + f(-2.13374055278905e-04)
    q = q * s + f(-1.68282697438203e-03)
    q = q * s + f(-7.37332916720468e-03)
    q = q * s + f(-1.42647390514189e-02)
    return f(0.5) * x * (f(1.0) + y * p / q)
