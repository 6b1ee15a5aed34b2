"""The reward model, compiled: a new position and a scored item a step, in place of a history.

The function is :meth:`recsim_envs.rewards.sequence.SequenceReward.probability`, to 1e-5. A history
only grows and its positions count from the session's start, so an item's keys and values stay
what they are until the window slides. They are kept for each user, beside the ids that they belong
to: a history is compared with those ids, and what follows the first that differs is computed anew.
So what is kept is no state: whatever becomes of a history, its score is right.

One user is computed after the other with sums of one order, so that a score has the same bits
whoever else is in the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.compiled import compiled
from recsim_envs.rewards.sequence import EPSILON, N_HEADS, SequenceReward


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


def weights_of(reward: SequenceReward) -> Weights:
    """Packs a reward model for :func:`probability_of`."""
    blocks = [f"encoder.blocks.{layer}." for layer in range(reward.n_layers)]
    parts = ("query_key_value", "project", "feed_forward.1", "feed_forward.4")
    own, dim = reward.weights, reward.item.shape[1]
    products, offsets, norms = [], [], []
    for block in blocks:
        weight = np.concatenate([own[f"{block}{part}.weight"] for part in parts])  # (6 d, d)
        products.append(weight.reshape(6, dim, dim).transpose(0, 2, 1))
        offsets.append(np.concatenate([own[f"{block}{part}.bias"] for part in parts]))
        norms.append([*_norm(own, f"{block}attention_norm"), *_norm(own, f"{block}feed_forward.0")])
    norms.append(2 * _norm(own, "encoder.norm"))
    return Weights(
        reward.item,
        reward.similarity,
        reward.bias,
        reward.position,
        reward.lag_weight,
        reward.repeat_bias,
        np.array(products),
        np.array(offsets).reshape(len(blocks), 6, dim),
        np.array(norms),
    )


def nothing_kept(n: int, weights: Weights) -> Kept:
    """Room for N users of whom nothing was computed yet."""
    n_layers, _, dim, _ = weights.products.shape
    length = len(weights.position)
    return Kept(
        np.zeros((n, length), dtype=np.int32),
        np.zeros(n, dtype=np.int64),
        np.zeros((n, n_layers, length, dim), dtype=np.float32),
        np.zeros((n, n_layers, length, dim), dtype=np.float32),
        np.zeros((n, dim), dtype=np.float32),
        np.zeros((4, dim), dtype=np.float32),
        np.zeros(length, dtype=np.float32),
    )


def _norm(weights: dict[str, Float32Array], name: str) -> list[Float32Array]:
    return [weights[f"{name}.weight"], weights[f"{name}.bias"]]


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
        normalise(x, norm[0], norm[1], normed)
        multiply(normed, product[0], offset[0], out)
        multiply(normed, product[1], offset[1], keys[place])
        multiply(normed, product[2], offset[2], values[place])
        attend(out, keys, values, place + 1, kept.share, inside)
        multiply(inside, product[3], offset[3], out)
        for i in range(dim):
            x[i] += out[i]
        normalise(x, norm[2], norm[3], normed)
        multiply(normed, product[4], offset[4], inside)
        for i in range(dim):
            inside[i] = gelu(inside[i])
        multiply(inside, product[5], offset[5], out)
        for i in range(dim):
            x[i] += out[i]
    normalise(x, weights.norms[n_layers, 0], weights.norms[n_layers, 1], kept.query[user])


@compiled
def attend(
    query: Float32Array,
    keys: Float32Array,
    values: Float32Array,
    length: int,
    share: Float32Array,
    out: Float32Array,
) -> None:
    """What the newest of ``length`` places reads of keys and values (H, d): (d,)."""
    width = len(query) // N_HEADS
    scale = np.float32(1.0 / math.sqrt(width))
    for head in range(N_HEADS):
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
    x: Float32Array, weight: Float32Array, offset: Float32Array, out: Float32Array
) -> None:
    """PyTorch's layer norm."""
    total = np.float32(0.0)
    for i in range(len(x)):
        total += x[i]
    mean = total / np.float32(len(x))
    total = np.float32(0.0)
    for i in range(len(x)):
        total += (x[i] - mean) ** 2
    scale = np.float32(1.0) / np.sqrt(total / np.float32(len(x)) + np.float32(EPSILON))
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
