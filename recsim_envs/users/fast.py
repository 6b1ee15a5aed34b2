"""Steps in one call of a compiled function, in place of NumPy's; for simulators that are ``fast``.

It is imported where Numba is there, at the first step: Numba takes a third of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from recsim_envs.arrays import BoolArray, Float32Array, FloatArray, IntArray
from recsim_envs.rewards.sequence import EPSILON, N_HEADS, SequenceReward
from recsim_envs.users.kernels import (
    Kept,
    Kernel,
    Sessions,
    Weights,
    step_listeners,
    step_shoppers,
)
from recsim_envs.users.sessions import LEAVE_BELOW, REWARD_SCALE, SessionSimulator, UserModel
from recsim_envs.users.simulator import Simulator, Terms

if TYPE_CHECKING:
    from recsim_envs.users.shoppers import ShopperSimulator


class ListenerSteps:
    """Steps of a session simulator; what is kept of the histories is no state of the users."""

    def __init__(self, simulator: SessionSimulator) -> None:
        self.simulator = simulator
        self.sessions = _sessions(simulator)
        self.rule = get_args(UserModel).index(simulator.user_model)
        self.weights = weights_of(simulator.reward)
        self.kept = nothing_kept(simulator.n, self.weights)

    def step(
        self, items: IntArray, rng: np.random.Generator
    ) -> tuple[FloatArray, BoolArray, BoolArray, Terms]:
        """As :meth:`recsim_envs.users.simulator.Simulator.step`."""
        users = self.simulator
        numbers, flags = np.empty((4, users.n)), np.empty((3, users.n), dtype=bool)
        call(
            step_listeners,
            items,
            rng.random(users.n),
            self.sessions,
            users.patience,
            users.recent,
            self.rule,
            users.history_rule == "shown",
            LEAVE_BELOW,
            REWARD_SCALE,
            users.leaves,
            self.weights,
            self.kept,
            numbers,
            flags,
        )
        reward, distinct, probability, patience = numbers
        terminated, truncated, accepted = flags
        terms = {
            "item": items.copy(),
            "distinct": distinct,
            "probability": probability,
            "patience": patience,
            "accepted": accepted,
        }
        return reward, terminated, truncated, terms


class ShopperSteps:
    """Steps of a shopper simulator."""

    def __init__(self, simulator: ShopperSimulator) -> None:
        self.simulator = simulator
        self.sessions = _sessions(simulator)

    def step(
        self, items: IntArray, rng: np.random.Generator
    ) -> tuple[FloatArray, BoolArray, BoolArray, Terms]:
        """As :meth:`recsim_envs.users.simulator.Simulator.step`."""
        users = self.simulator
        numbers, flags = np.empty((3, users.n)), np.empty((2, users.n), dtype=bool)
        call(
            step_shoppers,
            items,
            self.sessions,
            users.user,
            users.ratings,
            users.distance,
            users.n_recent,
            users.window == "easyrl4rec",
            users.leave_distance,
            users.leaves,
            numbers,
            flags,
        )
        reward, distinct, nearest = numbers
        terminated, truncated = flags
        terms = {"item": items.copy(), "distinct": distinct, "nearest": nearest}
        return reward, terminated, truncated, terms


def _sessions(simulator: Simulator) -> Sessions:
    # The arrays are changed in place, so these stay the simulator's.
    return Sessions(simulator.history, simulator.shown, simulator.steps, simulator.distinct)


def weights_of(reward: SequenceReward) -> Weights:
    """A reward model's weights, the small matrices packed."""
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
        N_HEADS,
        np.float32(EPSILON),
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


def call(kernel: Kernel, *arguments: Any) -> None:
    """Calls a compiled function, whose first call may also fail to write its file."""
    try:
        kernel(*arguments)
    except OSError:  # the disk is full; the function is compiled, but has not run yet
        kernel(*arguments)
