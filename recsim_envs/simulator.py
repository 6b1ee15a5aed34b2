"""What every simulated user population has in common: sessions of recommended items, batched.

A :class:`Simulator` holds N users at once as arrays; it knows neither Gymnasium's autoreset nor
SB3. ``recsim_envs.envs`` turns it into environments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from recsim_envs.dataset import Dataset, IntArray
from recsim_envs.state import State, check_settings

Observation = Any
"""(N, H) int32 histories, or a dict with ``user`` (N,) int64 and ``history`` (N, H) int32."""
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Repeats = Literal["allow", "mask"]


@dataclass(frozen=True)
class Outcome:
    """What one recommendation to each of N users did.

    Attributes:
        reward: (N,).
        leaves: (N,) whether the user ends the session.
        clicked: (N,) whether the item enters the history.
        terms: named parts of the reward and the user's state, each (N,).
    """

    reward: FloatArray
    leaves: BoolArray
    clicked: BoolArray
    terms: dict[str, NDArray[Any]]


class Simulator(ABC):
    """N independent users, stepped together.

    Args:
        n: number of users simulated at once.
        dataset: the catalogue.
        history_length: H, how many of the latest items an observation holds.
        max_steps: the length cap of a session.
        leaves: if False the user never leaves before the cap.
        repeats: "mask" leaves items already shown out of :meth:`action_masks`.
    """

    observation_space: spaces.Space[Any]
    reward_hash: str | None = None
    """Content hash of the file that the rewards come from; None for a model made in memory."""
    split: str | None = None
    """Which part of the data the users come from; None for a simulator made in memory."""

    SETTINGS: ClassVar[tuple[str, ...]] = (
        "n",
        "max_steps",
        "leaves",
        "repeats",
        "split",
        "reward_hash",
    )
    """The attributes that :meth:`set_state` requires to be equal; a subclass adds its own."""
    STATE: ClassVar[tuple[str, ...]] = ("history", "shown", "steps", "distinct")
    """The arrays that change from step to step; a subclass adds its own."""

    def __init__(
        self,
        n: int,
        dataset: Dataset,
        history_length: int,
        max_steps: int,
        leaves: bool,
        repeats: Repeats,
    ) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps={max_steps} must be at least 1")
        if repeats not in ("allow", "mask"):
            raise ValueError(f"repeats={repeats!r} is unknown: use 'allow' or 'mask'")
        self.n = n
        self.dataset = dataset
        self.max_steps = max_steps
        self.leaves = leaves
        self.repeats = repeats
        n_items = dataset.n_items
        self.action_space = spaces.Discrete(n_items)
        self.history_space = spaces.Box(0, n_items, (history_length,), np.int32)
        self.history = np.full((n, history_length), n_items, dtype=np.int32)  # (N, H)
        self.shown = np.full((n, max_steps), n_items, dtype=np.int64)  # (N, max_steps)
        self.steps = np.zeros(n, dtype=np.int64)
        self.distinct = np.zeros(n, dtype=np.int64)

    @abstractmethod
    def start(self, users: IntArray, rng: np.random.Generator) -> None:
        """Begins new sessions for the rows ``users``, whose common state was just cleared."""

    @abstractmethod
    def respond(self, items: IntArray, rng: np.random.Generator) -> Outcome:
        """Shows ``items`` (N,) to the users and changes their state."""

    @abstractmethod
    def outlook(self) -> tuple[FloatArray, BoolArray]:
        """For an oracle: what each action would bring now.

        Returns:
            Expected reward (N, n_items), and whether the user would surely leave (N, n_items).
        """

    def observe(self) -> Observation:
        """The current observations, in arrays that nothing else holds."""
        return self.history.copy()

    def reset(self, mask: BoolArray, rng: np.random.Generator) -> None:
        """Replaces the users where ``mask`` (N,) is True by new ones."""
        users = np.flatnonzero(mask)
        self.history[users] = self.dataset.n_items
        self.shown[users] = self.dataset.n_items
        self.steps[users] = 0
        self.distinct[users] = 0
        self.start(users, rng)

    def step(
        self, items: IntArray, rng: np.random.Generator
    ) -> tuple[FloatArray, BoolArray, BoolArray, dict[str, NDArray[Any]]]:
        """Shows one item to each user.

        Args:
            items: (N,) item ids.
            rng: source of the users' randomness.

        Returns:
            Reward, terminated (the user left), truncated (the length cap), each (N,); and named
            terms, each (N,): ``item``, ``distinct`` (share of distinct items in the session so
            far) and the simulator's own.

        Raises:
            ValueError: for an id outside the catalogue.
        """
        items = np.asarray(items, dtype=np.int64)
        outside = (items < 0) | (items >= self.dataset.n_items)
        if outside.any():
            raise ValueError(
                f"action {items[outside][0]} is no item: actions are 0..{self.dataset.n_items - 1}"
            )
        rows = np.arange(self.n)
        outcome = self.respond(items, rng)
        self.distinct += ~(self.shown == items[:, None]).any(axis=1)
        self.shown[rows, self.steps] = items
        self.steps += 1
        clicked = np.flatnonzero(outcome.clicked)
        self.history[clicked, :-1] = self.history[clicked, 1:]
        self.history[clicked, -1] = items[clicked]
        terminated = outcome.leaves & self.leaves
        truncated = ~terminated & (self.steps >= self.max_steps)
        terms = {"item": items.copy(), "distinct": self.distinct / self.steps, **outcome.terms}
        return outcome.reward, terminated, truncated, terms

    def action_masks(self) -> BoolArray:
        """Which actions are allowed, (N, n_items): all, or all not yet shown in the session."""
        if self.repeats == "mask":
            return ~self.already_shown()
        return np.ones((self.n, self.dataset.n_items), dtype=bool)

    def get_state(self) -> State:
        """The users' state and what they were made with, see :mod:`recsim_envs.state`."""
        state: State = {name: getattr(self, name).copy() for name in self.STATE}
        return {**state, "settings": self._settings()}

    def set_state(self, state: State) -> None:
        """Takes back what :meth:`get_state` returned.

        Raises:
            ValueError: if it comes from other data or another rule; the message names both.
        """
        check_settings(state["settings"], self._settings(), f"this {type(self).__name__}")
        for name in self.STATE:
            getattr(self, name)[:] = state[name]

    def _settings(self) -> State:
        settings = {name: getattr(self, name) for name in self.SETTINGS}
        return {**settings, "data": self.dataset.name, "data_hash": self.dataset.hash}

    def already_shown(self) -> BoolArray:
        """Which items the running sessions have shown, (N, n_items)."""
        shown = np.zeros((self.n, self.dataset.n_items + 1), dtype=bool)
        shown[np.arange(self.n)[:, None], self.shown] = True
        return shown[:, :-1]
