"""What every simulated user population has in common: sessions of recommended items, batched.

A :class:`Simulator` holds N users at once as arrays; it knows neither Gymnasium's autoreset nor
SB3. ``recsim_envs.envs`` turns it into environments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.checks import check_choice, check_whole
from recsim_envs.compiled import can_compile
from recsim_envs.data.dataset import Dataset
from recsim_envs.state import State, check_settings
from recsim_envs.users.patience import Patience

Observation = Any
"""(N, H) int32 histories; or a dict of them as ``history`` and, where there are such, ``user``
(N,) int64 and ``shown`` (N, H) int32, the latest offers."""
Repeats = Literal["allow", "mask"]
Split = Literal["train", "test"]
Start = dict[str, IntArray]
"""How new sessions begin, where the caller chose: (N,) ids by name, see ``Simulator.choices``."""
Terms = dict[str, NDArray[Any]]
"""Named parts of the reward and of the users' state, each (N,)."""


@dataclass(frozen=True)
class Outcome:
    """What one recommendation to each of N users did.

    Attributes:
        reward: (N,).
        leaves: (N,) whether the user ends the session.
        enters: (N,) whether the item enters the history.
        terms: named parts of the reward and the user's state.
    """

    reward: FloatArray
    leaves: BoolArray
    enters: BoolArray
    terms: Terms


class Steps(Protocol):
    """What steps a simulator's users in its place, see :mod:`recsim_envs.users.fast`."""

    def step(
        self, items: IntArray, rng: np.random.Generator
    ) -> tuple[FloatArray, BoolArray, BoolArray, Terms]:
        """As :meth:`Simulator.step`."""
        ...


class Simulator(ABC):
    """N independent users, stepped together.

    Args:
        n: number of users simulated at once.
        dataset: the catalogue.
        history_length: H, how many of the latest items an observation holds.
        max_steps: the length cap of a session.
        leaves: if False the user never leaves before the cap.
        repeats: "mask" leaves items already shown out of :meth:`action_masks`.

    Raises:
        ValueError: for an argument out of its range.
    """

    observation_space: spaces.Space[Any]
    reward_hash: str | None = None
    """Content hash of the file that the rewards come from; None for a model made in memory."""
    split: str | None = None
    """Which part of the data the users come from; None for a simulator made in memory."""
    fast = False
    """Whether steps are compiled where Numba is installed, as the environments' are; else they are
    NumPy's, the reference. It may change at any time."""

    def __init__(
        self,
        n: int,
        dataset: Dataset,
        history_length: int,
        max_steps: int,
        leaves: bool,
        repeats: Repeats,
    ) -> None:
        check_whole("num_envs", n)
        check_whole("max_steps", max_steps)
        check_choice("repeats", repeats, get_args(Repeats))
        self.n = n
        self.dataset = dataset
        self.max_steps = max_steps
        self.leaves = leaves
        self.repeats = repeats
        self.n_items = n_items = dataset.n_items
        self.action_space = spaces.Discrete(n_items)
        self.history_space = spaces.Box(0, n_items, (history_length,), np.int32)
        self.history = np.full((n, history_length), n_items, dtype=np.int32)  # (N, H)
        self.shown = np.full((n, max_steps), n_items, dtype=np.int64)  # (N, max_steps)
        self.steps = np.zeros(n, dtype=np.int64)
        self.distinct = np.zeros(n, dtype=np.int64)
        self._steps: Steps | None = None  # made at the first compiled step
        # The masks that action_masks() returned last, and the items that they leave out.
        self._allowed: BoolArray | None = None  # (N, n_items + 1), made where masks are asked for
        self._left_out = self.shown.copy()  # (N, max_steps)

    @property
    @abstractmethod
    def choices(self) -> dict[str, int]:
        """What a caller may choose of a session's start: names, and how many ids each has."""

    @abstractmethod
    def start(self, users: IntArray, rng: np.random.Generator, chosen: Start) -> None:
        """Begins new sessions for the rows ``users``, whose common state was just cleared."""

    def check_start(self, chosen: Start) -> None:  # noqa: B027  most have nothing to refuse
        """Raises ValueError for ids that are in range and still no start; changes nothing."""

    @abstractmethod
    def respond(self, items: IntArray, rng: np.random.Generator) -> Outcome:
        """Shows ``items`` (N,) to the users and changes their state."""

    @abstractmethod
    def compiled_steps(self) -> Steps:
        """What steps these users with Numba, to rounding as :meth:`step` does without."""

    @abstractmethod
    def outlook(self) -> tuple[FloatArray, BoolArray]:
        """For an oracle: what each action would bring now.

        Returns:
            Expected reward (N, n_items), and whether the user would surely leave (N, n_items).
        """

    @abstractmethod
    def patience_at(self, terms: Mapping[str, float]) -> Patience:
        """What one user's terms, of a step or of the start, say of when that user leaves."""

    def observe(self) -> Observation:
        """The current observations, in arrays that nothing else holds."""
        return self.history.copy()

    def terms_at_start(self) -> Terms:
        """The keys of :meth:`step`'s terms before the first step: no item (``n_items``) yet."""
        return {
            "item": np.full(self.n, self.n_items),
            "distinct": np.zeros(self.n),
        }

    def reset(self, mask: BoolArray, rng: np.random.Generator, chosen: Start | None = None) -> None:
        """Replaces the users where ``mask`` (N,) is True by new ones, starting as ``chosen``."""
        users = np.flatnonzero(mask)
        self.history[users] = self.n_items
        self.shown[users] = self.n_items
        self.steps[users] = 0
        self.distinct[users] = 0
        self.start(users, rng, chosen or {})

    def step(
        self, items: IntArray, rng: np.random.Generator
    ) -> tuple[FloatArray, BoolArray, BoolArray, Terms]:
        """Shows one item to each user.

        Args:
            items: (N,) item ids within the catalogue, as the environments have checked.
            rng: source of the users' randomness.

        Returns:
            Reward, terminated (the user left), truncated (the length cap), each (N,); and named
            terms: ``item``, ``distinct`` (share of distinct items in the session so far) and the
            simulator's own.
        """
        if self.fast and can_compile():
            if self._steps is None:
                self._steps = self.compiled_steps()
            return self._steps.step(items, rng)
        rows = np.arange(self.n)
        outcome = self.respond(items, rng)
        self.distinct += ~(self.shown == items[:, None]).any(axis=1)
        self.shown[rows, self.steps] = items
        self.steps += 1
        enters = np.flatnonzero(outcome.enters)
        self.history[enters, :-1] = self.history[enters, 1:]
        self.history[enters, -1] = items[enters]
        terminated = outcome.leaves & self.leaves
        truncated = ~terminated & (self.steps >= self.max_steps)
        terms = {"item": items.copy(), "distinct": self.distinct / self.steps, **outcome.terms}
        return outcome.reward, terminated, truncated, terms

    def action_masks(self) -> BoolArray:
        """Which actions are allowed, (N, n_items): all, or all not yet shown in the session.

        The array is read-only, and the next call changes it: copy it to keep it. So a call costs
        what was shown since the last one, not the catalogue.
        """
        if self._allowed is None:
            self._allowed = np.ones((self.n, self.n_items + 1), dtype=bool)
        if self.repeats == "mask":
            rows = np.arange(self.n)[:, None]
            self._allowed[rows, self._left_out] = True
            self._allowed[rows, self.shown] = False
            self._left_out[:] = self.shown
        allowed = self._allowed[:, :-1]
        allowed.flags.writeable = False
        return allowed

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that change from step to step, by name; a subclass adds its own."""
        return {
            "history": self.history,
            "shown": self.shown,
            "steps": self.steps,
            "distinct": self.distinct,
        }

    def settings(self) -> State:
        """What a state can only be taken back under; a subclass adds its own."""
        return {
            "n": self.n,
            "max_steps": self.max_steps,
            "leaves": self.leaves,
            "repeats": self.repeats,
            "split": self.split,
            "reward_hash": self.reward_hash,
            "data": self.dataset.name,
            "data_hash": self.dataset.hash,
        }

    def get_state(self) -> State:
        """The users' state and what they were made with, see :mod:`recsim_envs.state`."""
        state: State = {name: values.copy() for name, values in self.arrays().items()}
        return {**state, "settings": self.settings()}

    def set_state(self, state: State) -> None:
        """Takes back what :meth:`get_state` returned.

        Raises:
            ValueError: if it comes from other data or another rule; the message names both.
        """
        check_settings(state["settings"], self.settings(), f"this {type(self).__name__}")
        for name, values in self.arrays().items():
            values[:] = state[name]

    def already_shown(self) -> BoolArray:
        """Which items the running sessions have shown, (N, n_items)."""
        return which_held(self.shown, self.n_items)


def which_held(rows: NDArray[np.integer], n_items: int) -> BoolArray:
    """Which items each of (N, L) rows holds, padding (``n_items``) aside: (N, n_items)."""
    held = np.zeros((len(rows), n_items + 1), dtype=bool)
    held[np.arange(len(rows))[:, None], rows] = True
    return held[:, :-1]
