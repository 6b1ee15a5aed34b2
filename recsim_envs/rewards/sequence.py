"""The learned reward of LFM and Industry as an environment uses it: frozen weights, in NumPy.

What an environment imports fits nothing and starts no threads, so that it can be made before or
after a fork, in as many processes as a user likes. :mod:`recsim_envs.rewards.reward_model` is the
same function in PyTorch, where it is fitted; a test holds the two to each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.special import erf, expit

from recsim_envs.arrays import BoolArray, Float32Array, FloatArray, IntArray
from recsim_envs.data.stored import Stored
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import parse_tensors, read_whole, require_finite, write_whole

N_HEADS = 2
TABLES = ("encoder.item_embedding.weight", "similarity_embedding.weight")
STEP = ".step"
BATCH = 1024
"""Histories scored at once where there are many, so that memory stays small."""
EPSILON = 1e-5
"""PyTorch's, in its layer norm."""


class SequenceReward:
    """The probability of a positive response to an item after a history, ``sigmoid(score)``.

    The score of item a after history h is::

        <encode(h), item_a> + sum over items i of h, i != a, of lag_weight[l] <similar_i, similar_a>
            + bias_a + repeat_bias[l] if a stands in h

    where l is the lag of an item's newest place in h, 1 for the newest item. An item counts once,
    and is not similar to itself: a history of one item again and again is not ever more like it.

    Args:
        weights: of a :class:`recsim_envs.rewards.reward_model.SequenceRewardModel`, by name, and
            ``repeat_bias`` (H,): entry l - 1 is added for an item that stands at lag l, the newest
            item of the history being at lag 1.
    """

    def __init__(self, weights: dict[str, Float32Array]) -> None:
        self.weights = weights
        self.item = weights["encoder.item_embedding.weight"]  # (n_items + 1, d)
        self.position = weights["encoder.position_embedding.weight"]  # (H, d)
        self.similarity = weights["similarity_embedding.weight"]  # (n_items + 1, D)
        self.lag_weight = weights["lag_weight"]  # (H,), the newest item's first
        self.length = (self.similarity**2).sum(axis=1)  # (n_items + 1,), squared
        self.bias = weights["item_bias.weight"][:, 0]  # (n_items + 1,)
        self.repeat_bias = weights["repeat_bias"]  # (H,)
        self.n_items = len(self.item) - 1
        self.history_length = len(self.position)
        self.n_layers = sum(name.endswith("attention_norm.weight") for name in weights)

    @classmethod
    def load(cls, file: Path) -> SequenceReward:
        """Reads a file of :meth:`save`.

        Raises:
            DataError: if there is no such file, it is damaged, or of another version of recsim.
        """
        return cls.from_bytes(read_whole(file), file)

    @classmethod
    def of(cls, stored: Stored, name: str) -> SequenceReward:
        """Reads a file of a prepared folder.

        Raises:
            DataError: if it was prepared without it, or is damaged.
        """
        folder, about, content = stored
        if name not in content:
            raise DataError(
                f"{folder / name} is missing: this environment needs sequences, and "
                f"{about['name']!r} holds ratings"
            )
        reward = cls.from_bytes(content[name], folder / name)
        if reward.n_items != about["n_items"]:
            raise DamagedFileError(
                f"{folder / name} knows {reward.n_items} items, but the data has "
                f"{about['n_items']}: prepare it again"
            )
        return reward

    @classmethod
    def from_bytes(cls, content: bytes, file: Path) -> SequenceReward:
        """Reads the content of a file of :meth:`save`; the file's name is for errors.

        Raises:
            DataError: if it is damaged, or of another version of recsim.
        """
        packed = parse_tensors(content, file)
        if "repeat_bias" not in packed:
            raise DataError(
                f"{file} is a reward model of an older version, which paid for repeats: prepare "
                f"the data again with `recsim prepare {file.parent.name} SOURCE`"
            )
        _check_shapes(packed, file)
        require_finite(packed, file)
        stored = {name: values.astype(np.float32) for name, values in packed.items()}
        steps = {name: stored.pop(f"{name}{STEP}") for name in TABLES}
        return cls(stored | {name: stored[name] * step for name, step in steps.items()})

    def save(self, file: Path) -> None:
        """Writes the weights: items' vectors as bytes, each with its own step, the rest as halves.

        A file is a quarter of its size in memory; rounding moves a score by about a hundredth.
        """
        stored: dict[str, NDArray[Any]] = {
            name: values.astype(np.float16) for name, values in self.weights.items()
        }
        for name in TABLES:
            table = self.weights[name]
            step = (np.abs(table).max(axis=1, keepdims=True) / 127).astype(np.float16)  # (n + 1, 1)
            bytes_of = np.rint(table / np.where(step > 0, step, 1).astype(np.float32))
            stored[name], stored[f"{name}{STEP}"] = bytes_of.clip(-127, 127).astype(np.int8), step
        write_whole(file, save(stored))

    def probability(self, histories: NDArray[np.integer], items: IntArray) -> FloatArray:
        """Scores one item a history.

        Args:
            histories: (B, H) item ids, newest last, padded on the left with ``n_items``.
            items: (B,) item ids.

        Returns:
            (B,) probabilities.
        """
        query, near = self._queries(histories)
        score = (query * self.item[items]).sum(axis=1) + (near * self.similarity[items]).sum(axis=1)
        score += self.bias[items]
        at = histories == items[:, None]  # (B, H)
        lag = at[:, ::-1].argmax(axis=1)  # of the newest place, less 1
        change = self.repeat_bias[lag] - self.lag_weight[lag] * self.length[items]
        score += np.where(at.any(axis=1), change, 0.0)
        probability: FloatArray = expit(score.astype(np.float64))
        return probability

    def scores_of(self, histories: NDArray[np.integer], items: IntArray) -> FloatArray:
        """Scores K items a history, without ``repeat_bias``: (B, H) and (B, K) to (B, K)."""
        scores = [np.empty((0, items.shape[1]))]
        for first in range(0, len(histories), BATCH):
            batch = slice(first, first + BATCH)
            query, near = self._queries(histories[batch])
            found = np.einsum("bd,bkd->bk", query, self.item[items[batch]])
            found += np.einsum("bd,bkd->bk", near, self.similarity[items[batch]])
            newest = newest_places(histories[batch], self.n_items)[:, None, :]
            at = (items[batch, :, None] == histories[batch, None, :]) & newest  # (B, K, H)
            found -= at @ self.lag_weight[::-1] * self.length[items[batch]]
            scores.append(found + self.bias[items[batch]])
        return np.concatenate(scores).astype(np.float64)

    def probabilities(self, histories: NDArray[np.integer]) -> FloatArray:
        """As :meth:`probability`, of the whole catalogue: (B, H) to (B, n_items)."""
        query, near = self._queries(histories)
        score = np.zeros((len(histories), self.n_items + 1), dtype=np.float32)
        score[:, :-1] = query @ self.item[:-1].T + near @ self.similarity[:-1].T + self.bias[:-1]
        rows = np.arange(len(histories))
        newest = newest_places(histories, self.n_items)
        for lag in range(1, self.history_length + 1):
            item = histories[:, -lag]
            change = self.repeat_bias[lag - 1] - self.lag_weight[lag - 1] * self.length[item]
            score[rows, item] += np.where(newest[:, -lag], change, 0.0)
        probability: FloatArray = expit(score[:, :-1].astype(np.float64))
        return probability

    def _queries(self, histories: NDArray[np.integer]) -> tuple[Float32Array, Float32Array]:
        """What the items' vectors are multiplied with: (B, d) and (B, D)."""
        # Padding changes nothing, so the batch is cut to its longest history.
        longest = max(1, int((histories != self.n_items).sum(axis=1).max(initial=0)))
        histories = histories[:, self.history_length - longest :]
        weight = self.lag_weight[longest - 1 :: -1]  # (L,), as the items: newest last
        counted = weight * newest_places(histories, self.n_items)  # (B, L)
        near = np.einsum("bl,bld->bd", counted, self.similarity[histories])
        return self._encode(histories), near

    def _encode(self, histories: NDArray[np.integer]) -> Float32Array:
        """The SASRec encoder: (B, L) to (B, d)."""
        real = histories != self.n_items  # (B, L)
        place = np.maximum(real.cumsum(axis=1) - 1, 0)  # counted from the session's start
        x = self.item[histories] + self.position[place]  # (B, L, d)
        length = histories.shape[1]
        causal = np.tri(length, dtype=bool)
        mask = (causal & real[:, None, :]) | np.eye(length, dtype=bool)  # (B, L, L)
        hidden = np.where(mask, np.float32(0.0), np.float32(-np.inf))[:, None]  # (B, 1, L, L)
        for layer in range(self.n_layers):
            # Nothing reads the last block's other positions.
            n_last = 1 if layer == self.n_layers - 1 else length
            x = self._block(f"encoder.blocks.{layer}.", x, hidden[:, :, -n_last:])
        return self._norm("encoder.norm.", x)[:, -1]

    def _block(self, name: str, x: Float32Array, hidden: Float32Array) -> Float32Array:
        batch, length, dim = x.shape
        n_last = hidden.shape[2]
        weight = self.weights[f"{name}query_key_value.weight"]
        bias = self.weights[f"{name}query_key_value.bias"]
        normed = self._norm(f"{name}attention_norm.", x)
        heads = (batch, -1, N_HEADS, dim // N_HEADS)
        query = (normed[:, -n_last:] @ weight[:dim].T + bias[:dim]).reshape(heads)
        key = (normed @ weight[dim : 2 * dim].T + bias[dim : 2 * dim]).reshape(heads)
        value = (normed @ weight[2 * dim :].T + bias[2 * dim :]).reshape(heads)
        score = query.transpose(0, 2, 1, 3) @ key.transpose(0, 2, 3, 1)  # (B, heads, n_last, L)
        score = score / np.float32(np.sqrt(dim // N_HEADS)) + hidden
        score = np.exp(score - score.max(axis=-1, keepdims=True))
        share = score / score.sum(axis=-1, keepdims=True)
        attended = (share @ value.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
        attended = attended.reshape(batch, n_last, dim)
        x = x[:, -n_last:] + self._linear(f"{name}project.", attended)
        inner = self._linear(f"{name}feed_forward.1.", self._norm(f"{name}feed_forward.0.", x))
        inner = inner * np.float32(0.5) * (1 + erf(inner / np.float32(np.sqrt(2.0))))  # GELU
        return x + self._linear(f"{name}feed_forward.4.", inner)

    def _linear(self, name: str, x: Float32Array) -> Float32Array:
        out: Float32Array = x @ self.weights[f"{name}weight"].T + self.weights[f"{name}bias"]
        return out

    def _norm(self, name: str, x: Float32Array) -> Float32Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        out: Float32Array = centred / scale * self.weights[f"{name}weight"]
        return out + self.weights[f"{name}bias"]


def newest_places(histories: NDArray[np.integer], n_items: int) -> BoolArray:
    """Which places of (B, H) hold an item that does not stand at a newer place too."""
    later = ~np.tri(histories.shape[1], dtype=bool)  # (H, H)
    again = (histories[:, :, None] == histories[:, None, :]) & later
    newest: BoolArray = (histories < n_items) & ~again.any(axis=2)
    return newest


def _check_shapes(packed: dict[str, NDArray[Any]], file: Path) -> None:
    """Raises DamagedFileError unless the tensors are those of one reward model."""
    own = {name: (values.shape, str(values.dtype)) for name, values in packed.items()}
    n_layers = sum(name.endswith("attention_norm.weight") for name in own)
    try:
        (n, d), (_, similar), (history,) = (own[name][0] for name in (*TABLES, "lag_weight"))
    except (LookupError, ValueError) as error:
        raise DamagedFileError(f"{file} is no reward model, or damaged: {error!r}") from error
    halves: dict[str, tuple[int, ...]] = {
        "encoder.position_embedding.weight": (history, d),
        "encoder.norm.weight": (d,),
        "encoder.norm.bias": (d,),
        "lag_weight": (history,),
        "item_bias.weight": (n, 1),
        "repeat_bias": (history,),
        **{f"{name}{STEP}": (n, 1) for name in TABLES},
    }
    for layer in range(n_layers):
        for name, shape in (
            ("attention_norm", (d,)),
            ("query_key_value", (3 * d, d)),
            ("project", (d, d)),
            ("feed_forward.0", (d,)),
            ("feed_forward.1", (d, d)),
            ("feed_forward.4", (d, d)),
        ):
            halves[f"encoder.blocks.{layer}.{name}.weight"] = shape
            halves[f"encoder.blocks.{layer}.{name}.bias"] = shape[:1]
    wanted = {name: (shape, "float16") for name, shape in halves.items()}
    wanted |= {name: ((n, dim), "int8") for name, dim in zip(TABLES, (d, similar), strict=True)}
    for name in [*wanted, *own]:
        if own.get(name) != wanted.get(name):
            raise DamagedFileError(
                f"{file} is damaged: {name} is {own.get(name)}, not {wanted.get(name)}"
            )
    if n < 2 or d % N_HEADS or 0 in (d, similar, history, n_layers):
        raise DamagedFileError(f"{file} is damaged: no reward model has the sizes of {own}")
