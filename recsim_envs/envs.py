"""Gymnasium's two faces of a simulator: a vector environment, and a batch of one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from recsim_envs.arrays import BoolArray
from recsim_envs.checks import ONE_ITEM, as_ids
from recsim_envs.data.dataset import Dataset
from recsim_envs.render.frame import RENDER_FPS, drawn
from recsim_envs.render.session import Session, SessionLog, row_of, session_of
from recsim_envs.state import State, check_settings
from recsim_envs.users.patience import Patience
from recsim_envs.users.simulator import Observation, Simulator, Start, Terms


class RecommenderVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """N users as one environment: a single reward-model call steps them all.

    A user who is gone is replaced as Gymnasium's autoreset modes say:

    - ``AutoresetMode.SAME_STEP``, the default: in the same step. The returned observation is the
      new user's first, and ``infos["final_obs"][i]`` the old user's last, where
      ``infos["_final_obs"][i]``. All other infos are those of the step just taken;
      ``infos["final_info"]`` repeats them with the mask of ended sessions.
    - ``AutoresetMode.NEXT_STEP``: in the next step, which shows that user nothing and pays 0.
    - ``AutoresetMode.DISABLED``: by ``reset(options={"reset_mask": ...})``.

    Infos are arrays (N,), each beside the mask of the rows that it holds for, ``infos["_item"]``
    and so on.

    Args:
        simulator: the users.
        render_mode: "ansi" or "rgb_array": :meth:`render` returns a frame for each user; None
            draws nothing, and is faster.
        autoreset_mode: one of the above, or its value as a string ("SameStep").

    Raises:
        TypeError: for another render mode; libraries that try one take it as "not supported".
        ValueError: for an unknown autoreset mode.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": RENDER_FPS}

    def __init__(
        self,
        simulator: Simulator,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.autoreset_mode = _read_autoreset_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.simulator = simulator
        self.num_envs = simulator.n
        self.single_observation_space = simulator.observation_space
        self.single_action_space = simulator.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._everyone = np.ones(self.num_envs, dtype=bool)  # (N,)
        self._needs_reset = self._everyone.copy()  # (N,)
        self._pending = np.zeros(self.num_envs, dtype=bool)  # (N,) replaced by the next step
        # One a user, kept for frames alone.
        self._logs = [] if render_mode is None else [SessionLog() for _ in range(self.num_envs)]

    @property
    def dataset(self) -> Dataset:
        """The catalogue and its source."""
        return self.simulator.dataset

    def action_masks(self) -> BoolArray:
        """Allowed actions, (N, n_items): read-only, and changed by the next call."""
        return self.simulator.action_masks()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Replaces all users, or those that ``options`` name.

        Args:
            seed: of the one generator that all users share.
            options: ``reset_mask``, (N,) booleans of which one at least is True, replaces only
                those users. What else may be chosen of the new sessions is on the environment's
                page: one id for all users, or (N,) of them.

        Raises:
            ValueError: for an unknown option or a value out of range; nothing has changed.
        """
        # Not the caller's dict: Gymnasium's wrappers read reset_mask in it after this call.
        rest = dict(options or {})
        mask = _read_mask(rest.pop("reset_mask", None), self.num_envs)
        chosen = _read_start(rest, self.simulator, ["reset_mask", *self.simulator.choices])
        super().reset(seed=seed)
        self.simulator.reset(mask, self.np_random, chosen)
        self._needs_reset &= ~mask
        self._pending &= ~mask
        self._begin_logs(mask)
        return self.simulator.observe(), masked(self.simulator.terms_at_start(), mask)

    def step(self, actions: Any) -> tuple[Observation, Any, BoolArray, BoolArray, dict[str, Any]]:
        """Shows item ``actions[i]`` to user i; see the class for the infos.

        Raises:
            gymnasium.error.ResetNeeded: where a user has no session.
            ValueError: for anything but (N,) integers within the catalogue; nothing has changed.
        """
        if np.count_nonzero(self._needs_reset):  # faster than any() where users are few
            rows = np.flatnonzero(self._needs_reset)
            raise gym.error.ResetNeeded(
                f"{len(rows)} of {self.num_envs} users have no session, the first is user "
                f"{rows[0]}: call reset()"
            )
        items = as_ids("actions", actions, (self.num_envs,), self.simulator.n_items, ONE_ITEM)
        kept = self._replace_pending()
        reward, terminated, truncated, terms = self.simulator.step(items, self.np_random)
        if np.count_nonzero(self._pending):
            for name, values in self.simulator.arrays().items():
                values[self._pending] = kept[name]
            reward[self._pending] = 0.0
            terminated[self._pending] = truncated[self._pending] = False
            for key, values in self.simulator.terms_at_start().items():
                terms[key][self._pending] = values[self._pending]
        done = terminated | truncated
        for i, log in enumerate(self._logs):
            if self._pending[i]:
                self._logs[i] = SessionLog.begun(self.simulator, i)
            else:
                log.add(row_of(terms, i), float(reward[i]), bool(terminated[i]), bool(truncated[i]))
        self._pending = done & (self.autoreset_mode == AutoresetMode.NEXT_STEP)
        self._needs_reset = done & (self.autoreset_mode == AutoresetMode.DISABLED)
        infos = masked(terms, self._everyone)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and np.count_nonzero(done):
            infos["final_obs"], infos["_final_obs"] = self._last_observations(done), done
            final_info = {key: values.copy() for key, values in terms.items()}
            infos["final_info"], infos["_final_info"] = masked(final_info, done), done.copy()
            self.simulator.reset(done, self.np_random)
            self._begin_logs(done)
        return self.simulator.observe(), reward, terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Each user's session as :meth:`RecommenderEnv.render` draws it; None without a mode.

        In ``SAME_STEP`` a user who has just come stands where another has just left.
        """
        if self.render_mode is None:
            return None
        sessions = [session_of(log, self.simulator, i) for i, log in enumerate(self._logs)]
        return tuple(drawn(session, self.render_mode) for session in sessions)

    def get_state(self) -> State:
        """The users and the generator that they share, see :mod:`recsim_envs.state`."""
        return {
            "simulator": self.simulator.get_state(),
            "rng": self.np_random.bit_generator.state,
            "needs_reset": self._needs_reset.copy(),
            "pending": self._pending.copy(),
            "logs": [log.state() for log in self._logs],
            "settings": self._settings(),
        }

    def set_state(self, state: State) -> None:
        """Continues where the environment was that returned ``state``.

        Raises:
            ValueError: if that one was made with other arguments; the message names both.
        """
        check_settings(state["settings"], self._settings(), f"this {type(self).__name__}")
        self.simulator.set_state(state["simulator"])
        self.np_random.bit_generator.state = state["rng"]
        self._needs_reset[:] = state["needs_reset"]
        self._pending[:] = state["pending"]
        self._logs = [SessionLog(**log) for log in copy.deepcopy(state["logs"])]

    def _settings(self) -> State:
        # Without a mode there are no logs for one to go on from.
        return {
            "autoreset_mode": self.autoreset_mode.value,
            "renders": self.render_mode is not None,
        }

    def _begin_logs(self, mask: BoolArray) -> None:
        if self.render_mode is not None:
            for i in np.flatnonzero(mask).tolist():
                self._logs[i] = SessionLog.begun(self.simulator, i)

    def _replace_pending(self) -> dict[str, NDArray[Any]]:
        """Begins the new sessions of the last step's users; returns their state to keep."""
        if not np.count_nonzero(self._pending):
            return {}
        self.simulator.reset(self._pending, self.np_random)
        arrays = self.simulator.arrays().items()
        return {name: values[self._pending] for name, values in arrays}

    def _last_observations(self, done: BoolArray) -> NDArray[np.object_]:
        last = self.simulator.observe()
        final = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(done).tolist():
            final[i] = _row(last, i)
        return final


class RecommenderEnv(gym.Env[Any, np.int64]):
    """One user: the same dynamics as :class:`RecommenderVectorEnv`, with a batch of one.

    Args:
        simulator: one user.
        render_mode: "human", "ansi", "rgb_array" or None, see :meth:`render`.

    Raises:
        TypeError: for another render mode; libraries that try one take it as "not supported".
    """

    metadata = {"render_modes": ["human", "ansi", "rgb_array"], "render_fps": RENDER_FPS}

    def __init__(self, simulator: Simulator, render_mode: str | None = None) -> None:
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.simulator = simulator
        self.render_mode = render_mode
        self.observation_space = simulator.observation_space
        self.action_space = simulator.action_space
        self._over = True
        self._log = SessionLog()

    @property
    def dataset(self) -> Dataset:
        """The catalogue and its source."""
        return self.simulator.dataset

    def action_masks(self) -> BoolArray:
        """Allowed actions, (n_items,)."""
        allowed: BoolArray = self.simulator.action_masks()[0].copy()
        return allowed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Brings a new user.

        Args:
            seed: of the environment's generator.
            options: what is chosen of the new session, see the environment's page.

        Raises:
            ValueError: for an unknown option or a value out of range; nothing has changed.
        """
        chosen = _read_start(options or {}, self.simulator, list(self.simulator.choices))
        super().reset(seed=seed)
        self.simulator.reset(np.ones(1, dtype=bool), self.np_random, chosen)
        self._over = False
        self._log = SessionLog.begun(self.simulator, 0)
        if self.render_mode == "human":
            self.render()
        return self._observe(), dict(self._log.start)

    def step(
        self, action: np.int64
    ) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Shows one item.

        Raises:
            gymnasium.error.ResetNeeded: if the session is over.
            ValueError: for anything but one integer within the catalogue; nothing has changed.
        """
        if self._over:
            raise gym.error.ResetNeeded("the session is over: call reset() for a new user")
        item = as_ids("action", action, (), self.simulator.n_items, ONE_ITEM)
        reward, terminated, truncated, terms = self.simulator.step(item[None], self.np_random)
        self._over = bool(terminated[0] or truncated[0])
        info = row_of(terms, 0)
        self._log.add(info, float(reward[0]), bool(terminated[0]), bool(truncated[0]))
        if self.render_mode == "human":
            self.render()
        return self._observe(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def patience(self) -> Patience:
        """What decides when the user leaves, as it stands now.

        Raises:
            gymnasium.error.ResetNeeded: before the first session.
        """
        return self.session().patience

    def session(self) -> Session:
        """The session so far, in words: history, recommendations, rewards, patience and ending.

        Raises:
            gymnasium.error.ResetNeeded: before the first session.
        """
        return session_of(self._log, self.simulator, 0)

    def render(self) -> str | NDArray[np.uint8] | None:
        """Shows :meth:`session`, the latest 12 recommendations of it.

        Returns:
            "ansi": lines of plain text. "rgb_array": (640, 960, 3) uint8. "human": None; it is
            printed to the terminal, as :meth:`reset` and :meth:`step` do by themselves. None
            without a mode.

        Raises:
            gymnasium.error.DependencyNotInstalled: in "rgb_array", without the extra ``render``.
        """
        return None if self.render_mode is None else drawn(self.session(), self.render_mode)

    def get_state(self) -> State:
        """The user and the random generator, see :mod:`recsim_envs.state`."""
        return {
            "simulator": self.simulator.get_state(),
            "rng": self.np_random.bit_generator.state,
            "over": self._over,
            "log": self._log.state(),
        }

    def set_state(self, state: State) -> None:
        """As :meth:`RecommenderVectorEnv.set_state`."""
        self.simulator.set_state(state["simulator"])
        self.np_random.bit_generator.state = state["rng"]
        self._over, self._log = state["over"], SessionLog(**copy.deepcopy(state["log"]))

    def _observe(self) -> Observation:
        return _row(self.simulator.observe(), 0)


def _check_render_mode(render_mode: str | None, modes: list[str]) -> None:
    if render_mode not in (None, *modes):
        known = " or ".join(map(repr, [*modes, None]))
        raise TypeError(f"render_mode={render_mode!r} is not supported: use {known}")


def _read_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = [each.value for each in AutoresetMode]
        raise ValueError(f"autoreset_mode={mode!r} is unknown: use one of {known}") from None


def _read_mask(mask: Any, n: int) -> BoolArray:
    if mask is None:
        return np.ones(n, dtype=bool)
    read = np.asarray(mask)
    if read.dtype != bool or read.shape != (n,):
        raise ValueError(
            f"options['reset_mask'] is {read.dtype} of shape {read.shape}: give booleans ({n},)"
        )
    if not read.any():
        raise ValueError("options['reset_mask'] is False everywhere: name one user at least")
    return read.copy()


def _read_start(options: Mapping[str, Any], simulator: Simulator, known: list[str]) -> Start:
    chosen = {}
    for name, value in options.items():
        if name not in simulator.choices:
            raise ValueError(f"options[{name!r}] is unknown: use {' or '.join(map(repr, known))}")
        values = np.broadcast_to(value, (simulator.n,)) if np.ndim(value) == 0 else value
        chosen[name] = as_ids(f"options[{name!r}]", values, (simulator.n,), simulator.choices[name])
    simulator.check_start(chosen)
    return chosen


def masked(terms: Terms, mask: BoolArray) -> dict[str, Any]:
    """The infos as Gymnasium's vector environments give them: each beside its mask."""
    return {**terms, **{f"_{key}": mask.copy() for key in terms}}


def _row(observation: Observation, row: int) -> Observation:
    if isinstance(observation, dict):
        return {key: values[row] for key, values in observation.items()}
    return observation[row]
