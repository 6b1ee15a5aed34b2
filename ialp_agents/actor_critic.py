"""The policy of PG and of SB3's own A2C, on the same encoder and with the same mask."""

from __future__ import annotations

from typing import Any, get_args

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from ialp_agents.extractor import SASRecExtractor
from ialp_agents.heads import ItemHead
from ialp_agents.masks import left_out_items, places
from ialp_agents.policies import ACTOR_LIKENESS
from ialp_agents.spaces import Exploration, check_same_items, single_item_space
from recsim_envs.checks import check_choice


class SASRecActorCriticPolicy(ActorCriticPolicy):
    """SB3's actor-critic policy with linear heads directly on the SASRec encoder.

    It serves SB3's A2C too: ``A2C(SASRecActorCriticPolicy, env)``, for ``Box`` and ``Dict``
    observations alike.

    Args:
        observation_space: see :class:`SASRecExtractor`.
        action_space: ``Discrete(n_items)``.
        lr_schedule: learning rate as a function of the progress remaining (1 to 0).
        tie_weights: as for :class:`SASRecPolicy`.
        mask_history: as for :class:`SASRecPolicy`.
        exploration: how an item is chosen while collecting (RQ4 of the paper): ``"categorical"``
            draws it from the policy, as SB3 does, ``"greedy"`` takes the most probable,
            ``"epsilon"`` a uniformly random one with probability ``epsilon``, else the most
            probable. ``predict`` is the same for all.
        epsilon: see ``exploration`` (not given in the paper).
        features_extractor_class: the encoder.
        features_extractor_kwargs: its arguments (``embedding_dim``, ``item_features``, ...).
        use_sde: must be False: items are no continuous actions.
        optimizer_class: the optimiser.
        optimizer_kwargs: its arguments.

    Raises:
        ValueError: for an unknown ``exploration``, or if a space is not as above, or the two
            disagree on the number of items.

    Example:
        >>> import gymnasium as gym
        >>> import recsim_envs
        >>> from ialp_agents import SASRecActorCriticPolicy
        >>> from recsim_envs.sb3 import BatchedVecEnv
        >>> from stable_baselines3 import A2C
        >>> users = BatchedVecEnv(gym.make_vec("recsim/Coat-v0", num_envs=4))
        >>> agent = A2C(SASRecActorCriticPolicy, users).learn(160)
        >>> items, _ = agent.predict(users.reset())
        >>> items.shape
        (4,)
    """

    features_extractor: SASRecExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        tie_weights: bool = True,
        mask_history: bool = True,
        exploration: Exploration = "categorical",
        epsilon: float = 0.1,
        features_extractor_class: type[SASRecExtractor] = SASRecExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        check_choice("exploration", exploration, get_args(Exploration))
        self.n_items = int(single_item_space(action_space).n)
        if use_sde:
            raise ValueError("use_sde=True is for continuous actions: leave it out")
        self.tie_weights = tie_weights
        self.mask_history = mask_history
        self.exploration = exploration
        self.epsilon = epsilon
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        encoder = self.features_extractor
        check_same_items(encoder.n_items, self.n_items)
        self.ortho_init = False  # the encoder initialises itself, and SB3 would undo its start
        super()._build(lr_schedule)
        self.score = ItemHead(encoder, self.tie_weights, ACTOR_LIKENESS)
        del self.action_net  # SB3's: a row an item
        torch.nn.init.orthogonal_(self.value_net.weight)
        torch.nn.init.zeros_(self.value_net.bias)
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]  # every optimiser has it
            **self.optimizer_kwargs,
        )

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Chooses items to collect experience with, as SB3's on-policy agents do.

        Args:
            obs: B observations.
            deterministic: whether to take the most probable item whatever ``exploration`` is.

        Returns:
            Actions, values and log-probabilities under the policy: (B,), (B, 1), (B,).
        """
        features, distribution = self._read(obs)
        actions = distribution.get_actions(deterministic or self.exploration != "categorical")
        if self.exploration == "epsilon" and not deterministic:
            allowed = distribution.distribution.probs > 0  # (B, n_items)
            random = allowed.float().multinomial(1)[:, 0]
            is_random = torch.rand(len(actions), device=self.device) < self.epsilon
            actions = torch.where(is_random, random, actions)
        return actions, self.value_net(features), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values (B, 1), log-probabilities (B,) and entropies (B,)."""
        features, distribution = self._read(obs)
        return self.value_net(features), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Returns the distribution over items."""
        return self._read(obs)[1]

    def _read(self, obs: PyTorchObs) -> tuple[Tensor, CategoricalDistribution]:
        """Returns the encoded states, (B, d), and the distributions over items."""
        features = self.extract_features(obs)
        assert isinstance(features, Tensor)  # SB3 gives a tuple where encoders are not shared
        logits = self.score.scores(self.features_extractor, features)
        left_out = left_out_items(obs, self.n_items, self.mask_history)
        logits[places(left_out, self.n_items)] = -torch.inf
        distribution = CategoricalDistribution(self.n_items)
        return features, distribution.proba_distribution(action_logits=logits)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in ("net_arch", "activation_fn", "ortho_init", "log_std_init", "squash_output"):
            del data[name]
        for name in ("full_std", "use_expln", "normalize_images"):
            del data[name]
        return data | {
            "tie_weights": self.tie_weights,
            "mask_history": self.mask_history,
            "exploration": self.exploration,
            "epsilon": self.epsilon,
        }
