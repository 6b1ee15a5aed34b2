"""PG: REINFORCE as a Stable-Baselines3 on-policy algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import obs_as_tensor

from ialp_agents.actor_critic import SASRecActorCriticPolicy
from ialp_agents.logs import record_sessions
from ialp_agents.saving.zip import PlainZip
from ialp_agents.wrappers import check_wrappers
from recsim_envs.state import State

SelfPG = TypeVar("SelfPG", bound="PG")
Array = NDArray[Any]


class Steps(NamedTuple):
    """Consecutive steps of N environments, time first.

    Attributes:
        obs: (T, N, H), or a dict of (T, N, ...).
        actions: (T, N).
        rewards: (T, N).
        starts: (T, N), whether a session starts at this step.
        used: (T, N), whether an update has used the step.
    """

    obs: Array | dict[str, Array]
    actions: Array
    rewards: Array
    starts: Array
    used: Array


class PG(PlainZip, OnPolicyAlgorithm):
    """Policy gradient: REINFORCE with the discounted return to the end of the session.

    Each step takes part in exactly one update, the first after its session's end, with its whole
    return: a rollout that cuts a session keeps the session's beginning for the next update.
    (Cutting the return instead would shorten it; dropping unfinished sessions would drop the long
    ones.) Such a beginning was drawn from a policy a few updates old; with ``n_steps`` of a
    session's length or more, from one update ago at most.

    Args:
        policy: ``"SASRecPolicy"`` or another SB3 ``ActorCriticPolicy``; its value head is unused.
        env: an environment of item sessions.
        learning_rate: of the optimiser (not given).
        n_steps: steps of each environment between updates (not given).
        gamma: discount factor, in [0, 1] (not given).
        normalize_returns: whether an update's returns are shifted and scaled to mean 0 and
            deviation 1, which is a constant baseline (not given; False is REINFORCE as it is).
        ent_coef: factor of the entropy bonus (not given).
        max_grad_norm: the gradient's norm is clipped to this (SB3's for A2C).
        stats_window_size: episodes in the logged means.
        tensorboard_log: folder of the TensorBoard logs.
        policy_kwargs: arguments of the policy.
        verbose: 0 no output, 1 info, 2 debug.
        seed: of all random numbers.
        device: "cpu", "cuda" or "auto".
        _init_setup_model: whether to build the networks now.

    Raises:
        AssertionError: if the action space is not ``Discrete``.
        ValueError: if the environment is not one of item sessions, or is in
            ``VecNormalize(norm_obs=True)`` or ``VecFrameStack``.

    Example:
        >>> import gymnasium as gym
        >>> import recsim_envs
        >>> from ialp_agents import PG
        >>> from recsim_envs.sb3 import BatchedVecEnv
        >>> from stable_baselines3.common.evaluation import evaluate_policy
        >>> users = BatchedVecEnv(gym.make_vec("recsim/Coat-v0", num_envs=4))
        >>> agent = PG("SASRecPolicy", users, n_steps=8).learn(160)
        >>> return_, deviation = evaluate_policy(agent, users, n_eval_episodes=8)
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "SASRecPolicy": SASRecActorCriticPolicy
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 16,
        gamma: float = 0.9,
        normalize_returns: bool = False,
        ent_coef: float = 0.0,
        max_grad_norm: float = 0.5,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=1.0,
            ent_coef=ent_coef,
            vf_coef=0.0,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
            supported_action_spaces=(spaces.Discrete,),
        )

        self.normalize_returns = normalize_returns
        self._kept: Steps | None = None

        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_wrappers(self.env)
        super()._setup_model()
        # SB3 adds the last state's value at a session's length cap: zero, as PG has no critic.
        for parameter in self.policy.value_net.parameters():
            parameter.requires_grad_(False).zero_()

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As SB3's; refuses the wrappers that the constructor refuses."""
        check_wrappers(env)
        super().set_env(env, force_reset)

    def dump_logs(self, iteration: int = 0) -> None:
        """As SB3's, with ``rollout/R_avg`` and ``rollout/distinct`` of the same sessions."""
        record_sessions(self.logger, self.ep_info_buffer)
        super().dump_logs(iteration)

    def train(self) -> None:
        """Updates the policy once, with all steps whose session has ended."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)

        steps = self._steps()
        assert self._last_episode_starts is not None
        returns, ended = returns_to_go(steps, self._last_episode_starts, self.gamma)
        chosen = ended & ~steps.used  # (T, N)
        self._keep(steps, ended)
        if not chosen.any():
            return

        obs = obs_as_tensor(_map(lambda array: array[chosen], steps.obs), self.device)
        actions = torch.as_tensor(steps.actions[chosen], device=self.device).long()  # (B,)
        weights = torch.as_tensor(returns[chosen], device=self.device)  # (B,)
        if self.normalize_returns:
            weights = (weights - weights.mean()) / (weights.std(correction=0) + 1e-8)

        _, log_prob, entropy = self.policy.evaluate_actions(obs, actions)
        assert entropy is not None
        policy_loss = -(weights * log_prob).mean()  # Williams 1992
        entropy_loss = -entropy.mean()

        self.policy.optimizer.zero_grad()
        (policy_loss + self.ent_coef * entropy_loss).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()

        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/policy_loss", policy_loss.item())
        self.logger.record("train/entropy_loss", entropy_loss.item())
        self.logger.record("train/return", float(returns[chosen].mean()))

    def learn(
        self: SelfPG,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "PG",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfPG:
        """Learns for ``total_timesteps`` environment steps; the arguments are SB3's."""
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def arguments(self) -> dict[str, Any]:
        """Returns what the agent was made with, but for what only the caller decides."""
        return {
            "policy": self.policy_class,
            "learning_rate": self.learning_rate,
            "n_steps": self.n_steps,
            "gamma": self.gamma,
            "normalize_returns": self.normalize_returns,
            "ent_coef": self.ent_coef,
            "max_grad_norm": self.max_grad_norm,
            "stats_window_size": self._stats_window_size,
            "policy_kwargs": self.policy_kwargs,
            "verbose": self.verbose,
            "seed": self.seed,
        }

    def get_state(self) -> State:
        """What a checkpoint must hold beside SB3's attributes: the unfinished sessions' steps."""
        return {"kept": None if self._kept is None else self._kept._asdict()}

    def set_state(self, state: State) -> None:
        """Takes back what :meth:`get_state` returned."""
        self._kept = None if state["kept"] is None else Steps(**state["kept"])

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        total_timesteps, callback = super()._setup_learn(*args, **kwargs)
        assert self._last_episode_starts is not None
        if self._last_episode_starts.all():  # the environments were reset
            self._kept = None
        return total_timesteps, callback

    def _steps(self) -> Steps:
        """Returns the steps kept from before, followed by the rollout's."""
        buffer = self.rollout_buffer
        new = Steps(
            buffer.observations,
            buffer.actions[:, :, 0],
            buffer.rewards,
            buffer.episode_starts.astype(bool),
            np.zeros(buffer.rewards.shape, dtype=bool),
        )
        old = self._kept
        if old is None:
            return new
        obs: Array | dict[str, Array]
        if isinstance(old.obs, dict):
            obs = {key: np.concatenate([old.obs[key], new.obs[key]]) for key in old.obs}
        else:
            obs = np.concatenate([old.obs, new.obs])
        return Steps(obs, *[np.concatenate(pair) for pair in zip(old[1:], new[1:], strict=True)])

    def _keep(self, steps: Steps, ended: NDArray[np.bool_]) -> None:
        """Keeps the steps from the first unfinished session's start on."""
        open_at = np.flatnonzero(~ended.all(axis=1))
        if not len(open_at):
            self._kept = None
            return
        first = open_at[0]
        steps = steps._replace(used=ended)
        self._kept = Steps(*[_map(lambda array: array[first:].copy(), part) for part in steps])


def returns_to_go(
    steps: Steps, next_starts: Array, gamma: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sums the discounted rewards from each step to the end of its session.

    Args:
        steps: T steps of N environments.
        next_starts: (N,), whether a session starts right after the last step.
        gamma: discount factor.

    Returns:
        The returns, and whether the step's session has ended, both (T, N).
    """
    returns = np.zeros_like(steps.rewards, dtype=np.float32)
    ended = np.zeros(steps.rewards.shape, dtype=bool)
    is_last = next_starts.astype(bool)  # (N,)
    return_, has_end = np.zeros(is_last.shape, np.float32), np.zeros(is_last.shape, bool)
    for t in reversed(range(len(returns))):
        has_end = has_end | is_last
        return_ = steps.rewards[t] + gamma * np.where(is_last, 0, return_)
        returns[t], ended[t] = return_, has_end
        is_last = steps.starts[t]
    return returns, ended


def _map(function: Any, value: Array | dict[str, Array]) -> Any:
    """Applies ``function`` to an array, or to each array of a dict."""
    if isinstance(value, dict):
        return {key: function(array) for key, array in value.items()}
    return function(value)
