"""iALP: Algorithm 1 of the paper, as a Stable-Baselines3 off-policy algorithm."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs, Schedule
from stable_baselines3.common.utils import polyak_update
from torch import Tensor

from ialp_agents.buffers import DictItemReplayBuffer, ItemReplayBuffer
from ialp_agents.logs import record_sessions
from ialp_agents.policies import Evaluation, SASRecPolicy
from ialp_agents.recommender import Recommender
from ialp_agents.saving.pretrained import Pretrained
from ialp_agents.saving.zip import PlainZip
from ialp_agents.spaces import Exploration, item_space
from ialp_agents.wrappers import check_wrappers
from recsim_envs.checks import check_choice

SelfIALP = TypeVar("SelfIALP", bound="IALP")
Advantage = Literal["positive", "td", "q", "none"]
Candidates = Literal["sample", "topk"]
PICKLED_BUFFER = (
    "SB3 keeps a replay buffer as a pickle, which can run code when it is read: to continue with "
    "the buffer, use a checkpoint (ialp_agents.saving.checkpoint)"
)


class IALP(PlainZip, OffPolicyAlgorithm):
    """Interaction-Augmented Learned Policy (iALP).

    Paper: https://arxiv.org/abs/2501.13816, Algorithm 1. The agent proposes a slate of k items, the
    environment's judge takes one of them and rewards it with 1, or takes a random one and rewards
    it with 0; actor and critic learn from the item taken. On an environment of single items the
    same agent is a plain off-policy actor-critic.

    Each choice that the paper leaves open is an argument. "Not given" below means that the default
    is ours, the better one where two were compared.

    Args:
        policy: ``"SASRecPolicy"`` or a subclass of it.
        env: an environment of item sessions, see :class:`SASRecPolicy` for the two spaces.
        learning_rate: of Adam, for encoder, actor and critic (not given; for a start from item
            features, which larger steps forget: from a random start 3e-3 learns more).
        buffer_size: transitions kept (not given).
        learning_starts: steps with uniformly random items before learning (not given; 0 for a
            start from item features, which random items would undo; a random start gains by 100).
        batch_size: transitions a gradient step (not given; SB3's).
        tau: share of the learned weights that moves into the target network each time (not given;
            1 makes hard updates). A target that lags behind the values while they grow, as at SB3's
            0.005 and some hundred updates, gives every item taken a positive weight, so that the
            actor imitates what it did.
        gamma: discount factor, in [0, 1] (not given).
        train_freq: environment calls between trainings, as in SB3.
        gradient_steps: gradient steps a training; with ``train_freq`` this is the replay ratio
            (not given). -1 takes as many as environment steps were made.
        replay_buffer_class: by default the one for the observation space.
        replay_buffer_kwargs: its arguments. ``handle_timeout_termination=False`` would also stop
            the bootstrap at a session's length cap; by default only a user who left stops it.
        target_update_interval: gradient steps between target updates (not given).
        advantage: the actor's weight w in ``-w log pi(a|s)``. ``"td"`` is Eq. 9 as printed: the
            TD error ``y - Q(s, a)``, of the very Q that Eq. 8 drives to zero. ``"q"``: the target
            y. ``"positive"``: where y is above V(s), the target network's value of the learner's
            policy, ``y - V(s)``, else 0 (self-imitation, https://arxiv.org/abs/1806.05635): replay
            holds what earlier policies showed, and pushing all that down again and again drives the
            policy to items that it has never shown. ``"none"``:
            1, which imitates every item taken.
        critic_coef: factor of the critic's loss in the sum of both (not given; they share the
            encoder).
        slate_coef: factor of a loss that learns from the candidates not chosen too: minus the
            logarithm of the item's chance *within its slate*. The paper's form is 0; 1 helps a
            random start and harms one from item texts, see ``docs/agents.md``. Slates only.
        candidates: how a slate is proposed while collecting: ``"sample"`` draws k items without
            replacement, ``"topk"`` takes the k most probable (not given). Slates only.
        exploration: how an item is chosen while collecting: ``"categorical"`` draws it,
            ``"greedy"`` takes the most probable, ``"epsilon"`` a uniformly random one with
            probability ``epsilon``, else the most probable. Single items only.
        epsilon: see ``exploration`` (not given).
        max_grad_norm: the gradient's norm is clipped to this (not given; SB3's for DQN).
        stats_window_size: episodes in the logged means.
        tensorboard_log: folder of the TensorBoard logs.
        policy_kwargs: arguments of the policy.
        verbose: 0 no output, 1 info, 2 debug.
        seed: of all random numbers.
        device: "cpu", "cuda" or "auto".
        _init_setup_model: whether to build the networks now.

    Raises:
        ValueError: for an unknown choice, or an environment that is not one of item sessions, such
            as one in ``VecNormalize(norm_obs=True)`` or ``VecFrameStack``.

    Example:
        >>> import gymnasium as gym
        >>> import recsim_envs
        >>> from ialp_agents import IALP
        >>> from llm_oracle import LLMOracleVectorEnv, PopularityJudge
        >>> from recsim_envs.sb3 import BatchedVecEnv
        >>> users = gym.make_vec("recsim/Coat-v0", num_envs=4, leaves=False)
        >>> judge = PopularityJudge(users.dataset)
        >>> ialp = IALP("SASRecPolicy", BatchedVecEnv(LLMOracleVectorEnv(users, judge, k=5)))
        >>> _ = ialp.learn(160)  # 160 verdicts
        >>> items, _ = ialp.recommender.predict(BatchedVecEnv(users).reset())
        >>> items.shape  # one item for each of the users
        (4,)
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"SASRecPolicy": SASRecPolicy}
    policy: SASRecPolicy
    policy_target: SASRecPolicy

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 0,
        batch_size: int = 256,
        tau: float = 0.05,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        target_update_interval: int = 1,
        advantage: Advantage = "positive",
        critic_coef: float = 1.0,
        slate_coef: float = 0.0,
        candidates: Candidates = "sample",
        exploration: Exploration = "categorical",
        epsilon: float = 0.1,
        max_grad_norm: float = 10,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        check_choice("advantage", advantage, get_args(Advantage))
        check_choice("candidates", candidates, get_args(Candidates))
        check_choice("exploration", exploration, get_args(Exploration))
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise=None,  # exploration draws items, it adds nothing to them
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            support_multi_env=True,
        )

        self.target_update_interval = target_update_interval
        self.advantage = advantage
        self.critic_coef = critic_coef
        self.slate_coef = slate_coef
        self.candidates = candidates
        self.exploration = exploration
        self.epsilon = epsilon
        self.max_grad_norm = max_grad_norm

        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_wrappers(self.env)
        item_space(self.action_space)  # refuses other spaces before SB3's buffer stumbles over them
        if self.replay_buffer_class is None:
            has_dict = isinstance(self.observation_space, spaces.Dict)
            self.replay_buffer_class = DictItemReplayBuffer if has_dict else ItemReplayBuffer
        super()._setup_model()
        self.policy_target = deepcopy(self.policy)
        self.policy_target.requires_grad_(False)
        self.policy_target.set_training_mode(False)

    @property
    def recommender(self) -> Recommender:
        """The policy of single items, for users: the agent's own networks, as they are learned.

        An agent of slates pre-trains with a judge; its users see one item at a time::

            evaluate_policy(ialp.recommender, users)
        """
        return Recommender(self.policy)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As SB3's; refuses the wrappers that the constructor refuses."""
        check_wrappers(env)
        super().set_env(env, force_reset)

    def dump_logs(self) -> None:
        """As SB3's, with ``rollout/R_avg`` and ``rollout/distinct`` of the same sessions."""
        record_sessions(self.logger, self.ep_info_buffer)
        super().dump_logs()

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Does ``gradient_steps`` updates of actor, critic and target network."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)

        assert self.replay_buffer is not None
        actor_losses, critic_losses, weights = [], [], []
        for _ in range(gradient_steps):
            replay = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            items = replay.actions if self.slate_coef else replay.actions[:, :1]  # (B, m)
            with torch.no_grad():
                next_value = self.policy_target.expected_value(replay.next_observations)  # (B,)
                # Only a user who left ends the sum: at the length cap, dones is 0.
                not_left = 1 - replay.dones[:, 0]  # (B,)
                target = replay.rewards[:, 0] + not_left * self.gamma * next_value  # (B,)

            said = self.policy.evaluate_actions(replay.observations, items)
            critic_loss = F.mse_loss(said.q_value[:, 0], target)  # Eq. 8
            weight = self._actor_weight(replay.observations, said, target)  # (B,)
            # An item that the policy leaves out can have been shown all the same (an environment
            # may choose for itself): it teaches the critic, but has no probability to change.
            possible = said.log_prob[:, 0].isfinite()  # (B,)
            log_prob = said.log_prob[possible]  # (<= B, m), of the item shown first
            actor_loss = -(weight[possible] * log_prob[:, 0]).sum() / batch_size  # Eq. 9
            # Of the slate, the judge took this one: a conditional logit (not in the paper).
            slate_loss = -log_prob.log_softmax(dim=1)[:, 0].sum() / batch_size

            self.policy.optimizer.zero_grad()
            loss = actor_loss + self.critic_coef * critic_loss + self.slate_coef * slate_loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()

            self._n_updates += 1
            if self._n_updates % self.target_update_interval == 0:
                self._update_target(self.tau)
            actor_losses.append(actor_loss.item())
            critic_losses.append(critic_loss.item())
            weights.append(weight.mean().item())

        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/actor_loss", np.mean(actor_losses))
        self.logger.record("train/critic_loss", np.mean(critic_losses))
        self.logger.record("train/actor_weight", np.mean(weights))

    @torch.no_grad()
    def _actor_weight(self, obs: PyTorchObs, said: Evaluation, target: Tensor) -> Tensor:
        """Returns w of Eq. 9's ``-w log pi(a|s)``, (B,); see the argument ``advantage``."""
        if self.advantage == "td":
            return target - said.q_value[:, 0]
        if self.advantage == "q":
            return target
        if self.advantage == "positive":
            # The value is that of the critic the target was made with: against the learned one's,
            # which is ahead of it, nearly all weights would be 0 while values grow.
            value = self.policy_target.value_of(obs, said.mean_item)
            return (target - value).clamp(min=0)
        return torch.ones_like(target)

    def _update_target(self, tau: float) -> None:
        polyak_update(self.policy.parameters(), self.policy_target.parameters(), tau)

    def _sample_action(
        self,
        learning_starts: int,
        action_noise: ActionNoise | None = None,
        n_envs: int = 1,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Chooses items, or slates, to collect experience with.

        Returns:
            The actions, (N,) or (N, k), twice: for the environment and for the buffer.
        """
        rng = self.action_space.np_random
        has_slates = isinstance(self.action_space, spaces.MultiDiscrete)
        if self.num_timesteps < learning_starts:
            is_random = np.ones(n_envs, dtype=bool)
        elif self.exploration == "epsilon" and not has_slates:
            is_random = rng.random(n_envs) < self.epsilon
        else:
            is_random = np.zeros(n_envs, dtype=bool)

        if has_slates:
            deterministic = self.candidates == "topk"
        else:
            deterministic = self.exploration != "categorical"
        assert self._last_obs is not None
        actions, _ = self.policy.predict(self._last_obs, deterministic=deterministic)
        if is_random.any():
            # Not action_space.sample(): no item twice in a slate, none that the user has just had.
            obs, _ = self.policy.obs_to_tensor(self._last_obs)
            uniform = self.policy.sample_uniformly(obs).cpu().numpy()
            actions[is_random] = uniform[is_random]
        return actions, actions

    def learn(
        self: SelfIALP,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfIALP:
        """Learns for ``total_timesteps`` environment steps; the arguments are SB3's.

        TensorBoard's runs are named after the class if ``tb_log_name`` is None.
        """
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name or type(self).__name__,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the policy's weights and what they belong to, as ``policy.safetensors``.

        Args:
            folder: made if missing. A crash leaves in it either the old weights or the new.

        Raises:
            ValueError: if the policy is a mixture still (of an :class:`AIALP`).
        """
        self.pretrained().write(Path(folder))

    def pretrained(self) -> Pretrained:
        """Returns the policy as another agent takes it over."""
        return Pretrained.of(self, self.policy)

    @classmethod
    def from_pretrained(
        cls: type[SelfIALP], source: str | Path | IALP, env: GymEnv, **kwargs: Any
    ) -> SelfIALP:
        """Makes an agent on ``env`` with the weights that :meth:`save_pretrained` wrote.

        Args:
            source: the folder; or the agent itself.
            env: an environment of the same catalogue; slates or single items, as you like.
            **kwargs: arguments of the constructor. ``learning_starts`` is 0 if not given, for the
                policy needs no random start. Of ``policy_kwargs``, those that belong to the weights
                (``tie_weights``, and of the encoder ``embedding_dim``, ``n_layers``, ``n_heads``)
                can't be changed; ``mask_history`` and ``dropout`` are the saved ones if not given.

        Raises:
            FileNotFoundError: if the folder holds no weights.
            ValueError: if the weights belong to another catalogue, or were made with other
                ``policy_kwargs``; the message names both.
        """
        saved = pretrained_of(source)
        model = saved.make(cls, "SASRecPolicy", env, kwargs)
        saved.give_to(model.policy)
        model._update_target(tau=1.0)
        return model

    def arguments(self) -> dict[str, Any]:
        """Returns what the agent was made with, but for what only the caller decides."""
        own_buffers = (ItemReplayBuffer, DictItemReplayBuffer)  # the observations decide which
        own_buffer = self.replay_buffer_class in own_buffers
        return {
            "policy": self.policy_class,
            "learning_rate": self.learning_rate,
            "buffer_size": self.buffer_size,
            "learning_starts": self.learning_starts,
            "batch_size": self.batch_size,
            "tau": self.tau,
            "gamma": self.gamma,
            "train_freq": self.train_freq,
            "gradient_steps": self.gradient_steps,
            "replay_buffer_class": None if own_buffer else self.replay_buffer_class,
            "replay_buffer_kwargs": self.replay_buffer_kwargs,
            "target_update_interval": self.target_update_interval,
            "advantage": self.advantage,
            "critic_coef": self.critic_coef,
            "slate_coef": self.slate_coef,
            "candidates": self.candidates,
            "exploration": self.exploration,
            "epsilon": self.epsilon,
            "max_grad_norm": self.max_grad_norm,
            "stats_window_size": self._stats_window_size,
            "policy_kwargs": self.policy_kwargs,
            "verbose": self.verbose,
            "seed": self.seed,
        }

    def save_replay_buffer(self, path: Any) -> None:
        """Refuses to write what :meth:`load_replay_buffer` would not read."""
        raise NotImplementedError(PICKLED_BUFFER)

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """Refuses: a pickle from a stranger runs code when it is read."""
        raise NotImplementedError(PICKLED_BUFFER)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer", "policy_target"], []


def pretrained_of(source: str | Path | IALP) -> Pretrained:
    """Returns the policy of an agent, or the one in a folder."""
    return source.pretrained() if isinstance(source, IALP) else Pretrained.read(Path(source))
