"""A policy for SB3's own DQN, on the same encoder and with the same mask as the other agents."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from ialp_agents.extractor import SASRecExtractor
from ialp_agents.heads import ItemHead
from ialp_agents.masks import left_out_items, places
from ialp_agents.spaces import check_same_items, single_item_space

Q_LIKENESS = 1.0
"""Q of what is just like the session, less Q of what is not, at a start from item features: a
reward's order of magnitude (not given)."""


class SASRecQNetwork(QNetwork):
    """Q of every item: a value of the state and a score of the item.

    Items that the user has just had get less than any other (the least of the row, less 1), from
    which no gradient comes: neither ``argmax`` nor ``max`` takes them, so acting and targets leave
    them out alike, and a random action of SB3's that took one teaches nothing.

    Args:
        observation_space: see :class:`SASRecExtractor`.
        action_space: ``Discrete(n_items)``.
        features_extractor: the encoder.
        tie_weights: as for ``SASRecPolicy``.
        mask_history: as for ``SASRecPolicy``.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        features_extractor: SASRecExtractor,
        tie_weights: bool,
        mask_history: bool,
    ) -> None:
        # Not QNetwork's own, which would build a multilayer perceptron with a row an item.
        BasePolicy.__init__(
            self, observation_space, action_space, features_extractor=features_extractor
        )
        self.encoder = features_extractor
        self.mask_history = mask_history
        self.score = ItemHead(features_extractor, tie_weights, Q_LIKENESS)
        self.state_value = nn.Linear(features_extractor.features_dim, 1)

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Returns Q(s, .) of every item, (B, n_items)."""
        features = self.extract_features(obs, self.encoder)  # (B, d)
        q_values: Tensor = self.state_value(features) + self.score.scores(self.encoder, features)
        n_items = self.encoder.n_items
        rows, items = places(left_out_items(obs, n_items, self.mask_history), n_items)
        least = q_values.detach().amin(dim=1) - 1  # (B,)
        return q_values.index_put_((rows, items), least[rows])


class SASRecQPolicy(DQNPolicy):
    """The policy of ``DQN(SASRecQPolicy, env)``.

    DQN's own random actions (epsilon) come from the whole catalogue, for SB3 draws them.

    Args:
        observation_space: see :class:`SASRecExtractor`.
        action_space: ``Discrete(n_items)``.
        lr_schedule: learning rate as a function of the progress remaining (1 to 0).
        tie_weights: as for :class:`SASRecPolicy`.
        mask_history: as for :class:`SASRecPolicy`.
        features_extractor_class: the encoder.
        features_extractor_kwargs: its arguments (``embedding_dim``, ``item_features``, ...).
        normalize_images: SB3's argument; sessions are no images.
        optimizer_class: the optimiser.
        optimizer_kwargs: its arguments; by default Adam's fused kernel.

    Raises:
        ValueError: if a space is not as above, or the two disagree on the number of items.

    Example:
        >>> import gymnasium as gym
        >>> import recsim_envs
        >>> from ialp_agents import SASRecQPolicy
        >>> from recsim_envs.sb3 import BatchedVecEnv
        >>> from stable_baselines3 import DQN
        >>> users = BatchedVecEnv(gym.make_vec("recsim/Coat-v0", num_envs=4))
        >>> agent = DQN(SASRecQPolicy, users, learning_starts=80).learn(160)
        >>> items, _ = agent.predict(users.reset())
        >>> items.shape
        (4,)
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        tie_weights: bool = True,
        mask_history: bool = True,
        features_extractor_class: type[SASRecExtractor] = SASRecExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        single_item_space(action_space)
        if optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True} if optimizer_class is torch.optim.Adam else {}
        self.tie_weights = tie_weights
        self.mask_history = mask_history
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def make_q_net(self) -> SASRecQNetwork:
        """Makes the network; the learned one and its lagging copy each have an encoder."""
        encoder = self.make_features_extractor()
        assert isinstance(encoder, SASRecExtractor)
        assert isinstance(self.action_space, spaces.Discrete)
        check_same_items(encoder.n_items, int(self.action_space.n))
        return SASRecQNetwork(
            self.observation_space,
            self.action_space,
            encoder,
            self.tie_weights,
            self.mask_history,
        ).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in ("net_arch", "activation_fn"):
            del data[name]
        return data | {"tie_weights": self.tie_weights, "mask_history": self.mask_history}
