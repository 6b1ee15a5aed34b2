"""Steps in one call of a compiled function, in place of NumPy's; for simulators that are ``fast``.

It is imported where Numba is there, at the first step: Numba takes a third of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.compiled import call
from recsim_envs.rewards.kernels import nothing_kept, weights_of
from recsim_envs.users.kernels import Sessions, step_listeners, step_shoppers
from recsim_envs.users.simulator import Simulator, Terms

if TYPE_CHECKING:
    from recsim_envs.users.sessions import SessionSimulator
    from recsim_envs.users.shoppers import ShopperSimulator


class ListenerSteps:
    """Steps of a session simulator; what is kept of the histories is no state of the users."""

    def __init__(self, simulator: SessionSimulator) -> None:
        from recsim_envs.users.sessions import UserModel

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
