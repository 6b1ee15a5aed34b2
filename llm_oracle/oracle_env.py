"""The environment in which the judge is the user: where iALP is pre-trained.

An action is a slate of k candidates. The judge picks one for the user's current history, the inner
environment steps with the pick, and the reward says whether there was one: 1 for a picked item, 0
for "None of them", in which case a random candidate is shown.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal, SupportsFloat, get_args

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from llm_oracle.judge import NONE, Judge
from recsim_envs.arrays import BoolArray, IntArray
from recsim_envs.checks import as_ids
from recsim_envs.envs import masked
from recsim_envs.state import State, check_settings, get_state, set_state

Reward = Literal["judge", "env"]
Observation = NDArray[np.integer] | dict[str, NDArray[np.integer]]


class LLMOracleVectorEnv(VectorWrapper[Any, Any, Any, Any, Any]):
    """Lets a judge choose from slates, for all sub-environments in one call.

    ``infos["item"]`` (N,) is the item that was shown, ``infos["pick"]`` (N,) its index in the slate
    or -1 for "None of them"; after a reset, when none was, ``n_items`` and -1. A slate may hold an
    item twice; it only narrows the choice.

    Args:
        vector_env: an environment with ``Discrete(n_items)`` actions whose observation is the
            history (N, H), or a dict with ``history`` (N, H) and, where it has one, ``user`` (N,).
        judge: decides in the user's place; must be built from the same catalogue.
        k: candidates a slate (the paper: 10).
        reward: "judge" gives 1.0 for a picked item and 0.0 for none; "env" gives the inner
            environment's reward of the item shown (LLMOnline in RQ3).

    Raises:
        ValueError: if the judge knows another catalogue, or for an unknown ``reward``, a bad ``k``,
            or an autoreset mode under which an observation may be stale (use SAME_STEP).
    """

    def __init__(
        self,
        vector_env: VectorEnv[Any, Any, Any],
        judge: Judge,
        k: int = 10,
        reward: Reward = "judge",
    ) -> None:
        super().__init__(vector_env)
        mode = vector_env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode={mode}: the judge would be asked about an episode that is over; "
                "use an environment with AutoresetMode.SAME_STEP"
            )
        self.autoreset_mode = mode  # where torchrl looks for it
        self.n_items = _check_arguments(vector_env.single_action_space, judge, k, reward)
        self.judge, self.k, self.reward = judge, k, reward
        self.single_action_space = gym.spaces.MultiDiscrete([self.n_items] * k)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self._observation: Observation | None = None
        self._rng = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the inner environments, which read ``seed`` and ``options``."""
        mask = np.ones(self.num_envs, dtype=bool)
        if options is not None and "reset_mask" in options:  # Gymnasium's own take it out
            mask = np.array(options["reset_mask"])
        self._observation, infos = self.env.reset(seed=seed, options=options)
        self._rng = _seeded(seed, self._rng)
        items = np.full(self.num_envs, self.n_items)
        return self._observation, infos | _chosen(items, np.full(self.num_envs, NONE), mask)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Shows each user one item of its slate.

        Args:
            actions: (N, k) item ids.

        Raises:
            gym.error.ResetNeeded: before the first :meth:`reset`.
            ValueError: for anything but integers of that shape within the catalogue; nobody was
                asked, and nothing has changed.
        """
        if self._observation is None:
            raise gym.error.ResetNeeded("there are no sessions yet: call reset()")
        slates = as_ids("actions", actions, (self.num_envs, self.k), self.n_items)
        picks, items = _choose(self.judge, self._observation, slates, self._rng)
        observation, rewards, terminated, truncated, infos = self.env.step(items)
        self._observation = observation
        if self.reward == "judge":
            rewards = (picks >= 0).astype(np.float64)
        done = terminated | truncated
        infos |= _chosen(items, picks, np.ones(self.num_envs, dtype=bool))
        if done.any():
            infos["final_info"] = infos.get("final_info", {}) | _chosen(items, picks, done)
            infos["_final_info"] = done.copy()
        return observation, rewards, terminated, truncated, infos

    def get_state(self) -> State:
        """The inner environment's state and what the judge sees next, see `recsim_envs.state`."""
        return _get_state(self)

    def set_state(self, state: State) -> None:
        """Continues where the environment was that returned ``state``.

        Raises:
            TypeError: if the inner environment has no such methods.
            ValueError: if that one was made with other arguments or another judge.
        """
        _set_state(self, state)


class LLMOracleEnv(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """:class:`LLMOracleVectorEnv` for a single environment: a batch of one.

    Args:
        env: an environment with ``Discrete(n_items)`` actions whose observation is the history
            (H,), or a dict with ``history`` (H,) and, where it has one, ``user``.
        judge: as above.
        k: as above.
        reward: as above.

    Raises:
        ValueError: as above.
    """

    def __init__(
        self, env: gym.Env[Any, Any], judge: Judge, k: int = 10, reward: Reward = "judge"
    ) -> None:
        # The spec shares the judge: its model may fill the memory once, but not twice.
        gym.utils.RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, judge=judge, k=k, reward=reward
        )
        gym.Wrapper.__init__(self, env)
        self.n_items = _check_arguments(env.action_space, judge, k, reward)
        self.judge, self.k, self.reward = judge, k, reward
        self.action_space = gym.spaces.MultiDiscrete([self.n_items] * k)
        self._observation: Observation | None = None
        self._rng = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the inner environment, which reads ``seed`` and ``options``."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._rng = _seeded(seed, self._rng)
        self._observation = _batch_of_one(observation)
        return observation, info | {"item": self.n_items, "pick": NONE}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Shows the user one item of the slate ``action`` (k,); see the vector form.

        Raises:
            gym.error.ResetNeeded: before the first :meth:`reset`, and after a session's end.
            ValueError: as the vector form.
        """
        if self._observation is None:
            raise gym.error.ResetNeeded("there is no session: call reset() for a new user")
        slate = as_ids("action", action, (self.k,), self.n_items)[None]
        picks, items = _choose(self.judge, self._observation, slate, self._rng)
        observation, reward, terminated, truncated, info = self.env.step(items[0])
        self._observation = None if terminated or truncated else _batch_of_one(observation)
        if self.reward == "judge":
            reward = float(picks[0] >= 0)
        info = info | {"item": int(items[0]), "pick": int(picks[0])}
        return observation, reward, terminated, truncated, info

    def get_state(self) -> State:
        """As :meth:`LLMOracleVectorEnv.get_state`."""
        return _get_state(self)

    def set_state(self, state: State) -> None:
        """As :meth:`LLMOracleVectorEnv.set_state`."""
        _set_state(self, state)


def _get_state(env: LLMOracleVectorEnv | LLMOracleEnv) -> State:
    return {
        "settings": _settings(env),
        "observation": deepcopy(env._observation),
        "rng": env._rng.bit_generator.state,
        "env": get_state(env.env),
    }


def _set_state(env: LLMOracleVectorEnv | LLMOracleEnv, state: State) -> None:
    check_settings(state["settings"], _settings(env), f"this {type(env).__name__}")
    set_state(env.env, state["env"])
    env._observation = deepcopy(state["observation"])
    env._rng.bit_generator.state = state["rng"]


def _settings(env: LLMOracleVectorEnv | LLMOracleEnv) -> State:
    return {"judge": env.judge.name, "k": env.k, "reward": env.reward}


def _choose(
    judge: Judge, observation: Observation, slates: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Asks the judge; returns its picks (N,) and the items to show (N,)."""
    users = None
    if isinstance(observation, dict):
        if "user" in observation:
            users = observation["user"].astype(np.int64)
        observation = observation["history"]
    picks = judge.choose(observation.astype(np.int64), slates, users)
    # Drawn whether needed or not: a changed verdict then leaves later random draws as they were.
    at_random = rng.integers(slates.shape[1], size=len(picks))
    shown = np.where(picks >= 0, picks, at_random)
    return picks, slates[np.arange(len(slates)), shown]


def _seeded(seed: int | None, rng: np.random.Generator) -> np.random.Generator:
    """The generator after a reset: Gymnasium's vector environments share none with a wrapper."""
    # The second number sets its stream apart from the inner environment's of the same seed.
    return rng if seed is None else np.random.default_rng((seed, 1))


def _chosen(items: IntArray, picks: IntArray, mask: BoolArray) -> dict[str, Any]:
    """The two infos, each (N,), beside the mask of the rows that they hold for."""
    return masked({"item": items.copy(), "pick": picks.copy()}, mask)


def _batch_of_one(observation: Any) -> Observation:
    if isinstance(observation, dict):
        return {name: np.asarray(value)[None] for name, value in observation.items()}
    return np.asarray(observation)[None]


def _check_arguments(space: gym.Space[Any], judge: Judge, k: int, reward: str) -> int:
    """Returns the size of the catalogue."""
    if not isinstance(space, gym.spaces.Discrete) or space.start != 0:
        raise ValueError(f"the environment's actions are {space}: a Discrete(n_items) is needed")
    n_items = int(space.n)
    if judge.n_items != n_items:
        raise ValueError(
            f"judge {judge.name!r} knows {judge.n_items} items, but the environment has {n_items}: "
            "build the judge from env.unwrapped.dataset"
        )
    if not 1 <= k <= n_items:
        raise ValueError(f"k={k}: choose 1 <= k <= n_items={n_items}")
    if reward not in get_args(Reward):
        raise ValueError(f"reward={reward!r} is unknown: use one of {get_args(Reward)}")
    return n_items
