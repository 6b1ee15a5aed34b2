"""The policy of iALP: a SASRec encoder under an actor and a critic, for one item and for slates."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from ialp_agents.extractor import SASRecExtractor
from ialp_agents.heads import ItemHead
from ialp_agents.masks import is_visible, left_out_items, places
from ialp_agents.softmax import log_normaliser_and_mean, softmax_mean
from ialp_agents.spaces import check_same_items, item_space, slate_size

ACTOR_LIKENESS = 16.0
"""Sharpness of the actor's start from item features (not given)."""


class Evaluation(NamedTuple):
    """What actor and critic say of m items in each of B states.

    Attributes:
        q_value: Q(s, a), (B, m).
        log_prob: log pi(a|s), (B, m); minus infinity for items that the policy leaves out.
        mean_item: mean of the critic's item vectors under the policy, (B, d), without gradient.
    """

    q_value: Tensor
    log_prob: Tensor
    mean_item: Tensor


class SASRecPolicy(BasePolicy):
    """A SASRec encoder under an actor (a distribution over items) and a critic (a value an item).

    The same weights serve ``Discrete(n)``, where an action is one item, and
    ``MultiDiscrete([n] * k)``, where it is a slate of k different ones.

    Args:
        observation_space: see :class:`SASRecExtractor`.
        action_space: ``Discrete(n_items)`` or ``MultiDiscrete([n_items] * k)``.
        lr_schedule: learning rate as a function of the progress remaining (1 to 0).
        tie_weights: whether actor and critic score items with the encoder's item vectors (not
            given). True learns more from few verdicts; False gives each its own table, as the
            linear heads of SB3's DQN and A2C have.
        mask_history: whether the items that the user has just had, see :mod:`ialp_agents.masks`,
            have probability zero (not given). A slate holds one only if nothing else is left.
        features_extractor_class: the encoder.
        features_extractor_kwargs: its arguments (``embedding_dim``, ``item_features``, ...).
        normalize_images: SB3's argument; sessions are no images.
        optimizer_class: the optimiser of encoder, actor and critic.
        optimizer_kwargs: its arguments; by default Adam's fused kernel, which is much faster on a
            large item table and takes the same steps.

    Raises:
        ValueError: if a space is not as above, or the two disagree on the number of items.
    """

    features_extractor: SASRecExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        tie_weights: bool = True,
        mask_history: bool = True,
        features_extractor_class: type[SASRecExtractor] = SASRecExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True} if optimizer_class is torch.optim.Adam else {}
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.n_items = int(item_space(action_space).n)
        self.slate_size = slate_size(action_space)
        self.tie_weights = tie_weights
        self.mask_history = mask_history

        encoder = self.make_features_extractor()
        assert isinstance(encoder, SASRecExtractor)
        check_same_items(encoder.n_items, self.n_items)
        self.features_extractor = encoder
        self.actor = ItemHead(encoder, tie_weights, ACTOR_LIKENESS)
        # Of its start the critic knows no values: all items (almost) the same, whatever the actor.
        self.critic = ItemHead(encoder, tie_weights, 0.01)
        # What all items of a state have in common: item vectors of mean zero can't carry it.
        self.state_value = nn.Linear(encoder.features_dim, 1)
        self.optimizer = optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]  # every optimiser has it
            **optimizer_kwargs,
        )

    def log_probs(self, obs: PyTorchObs) -> Tensor:
        """Returns log pi(.|s) of every item, (B, n_items)."""
        logits = self.actor.scores(self.features_extractor, self.encode(obs))
        return F.log_softmax(self._leave_out(logits, obs), dim=1)

    def q_values(self, obs: PyTorchObs) -> Tensor:
        """Returns Q(s, .) of every item, (B, n_items), those left out too."""
        features = self.encode(obs)
        advantage = self.critic.scores(self.features_extractor, features)
        q_values: Tensor = self.state_value(features) + advantage
        return q_values

    def evaluate_actions(self, obs: PyTorchObs, items: Tensor) -> Evaluation:
        """Evaluates some items of each state, in one pass over the catalogue.

        Args:
            obs: B observations.
            items: (B, m) item ids.
        """
        features = self.encode(obs)  # (B, d)
        q_value = self.state_value(features)
        q_value = q_value + self.critic.scores_of(self.features_extractor, features, items)
        return Evaluation(q_value, *self.log_prob(obs, features, items))

    def expected_value(self, obs: PyTorchObs) -> Tensor:
        """Returns the state's value under the policy, sum_a pi(a|s) Q(s, a), (B,)."""
        features = self.encode(obs)  # (B, d)
        values = self.critic.vectors(self.features_extractor)
        return self.value_given(features, self.mean_item(obs, features, values))

    def value_of(self, obs: PyTorchObs, mean_item: Tensor) -> Tensor:
        """Returns this critic's value of the states for a policy that takes ``mean_item``, (B,).

        Q is linear in an item's vector, so the mean vector of a policy's items, (B, d), is all that
        its value needs.
        """
        return self.value_given(self.encode(obs), mean_item)

    def value_given(self, features: Tensor, mean_item: Tensor) -> Tensor:
        """The same of encoded states (B, d)."""
        advantage = (self.critic.query(features) * mean_item).sum(dim=1)
        value: Tensor = self.state_value(features)[:, 0] + advantage
        return value

    def encode(self, obs: PyTorchObs) -> Tensor:
        """Encodes the states, (B, d)."""
        return self.extract_features(obs, self.features_extractor)

    def log_prob(
        self, obs: PyTorchObs, features: Tensor, items: Tensor, values: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns log pi of the items (B, m), and the mean of ``values`` under pi, (B, d).

        Args:
            obs: B observations.
            features: the encoded ones, (B, d).
            items: (B, m) item ids.
            values: (n_items, d); by default the critic's item vectors.
        """
        encoder, visible = self.features_extractor, self._visible(obs)
        query, vectors = self.actor.query(features), self.actor.vectors(encoder)
        if values is None:
            values = vectors if self.tie_weights else self.critic.vectors(encoder)
        left_out = places(visible, self.n_items)
        log_z, mean = log_normaliser_and_mean(query, vectors, values, left_out)
        logits = self.actor.scores_of(encoder, features, items)  # (B, m)
        log_prob = logits - log_z[:, None]
        return log_prob.masked_fill(is_visible(items, visible), -torch.inf), mean

    def mean_item(self, obs: PyTorchObs, features: Tensor, values: Tensor) -> Tensor:
        """Returns the mean of ``values``, (n_items, d), under the policy, (B, d)."""
        query, vectors = self.actor.query(features), self.actor.vectors(self.features_extractor)
        return softmax_mean(query, vectors, values, places(self._visible(obs), self.n_items))

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses items, see :meth:`_predict`."""
        return self._predict(obs, deterministic=deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses one item, (B,), or a slate of different items, (B, k), best first."""
        return choose(self.log_probs(observation), self.action_space, deterministic)

    def sample_uniformly(self, obs: PyTorchObs) -> Tensor:
        """Chooses as :meth:`_predict` does, but all items are equally probable."""
        size = (len(self._visible(obs)), self.n_items)
        scores = self._leave_out(torch.zeros(size, device=self.device), obs)
        return choose(scores, self.action_space, deterministic=False)

    def _visible(self, obs: PyTorchObs) -> Tensor:
        return left_out_items(obs, self.n_items, self.mask_history)

    def _leave_out(self, scores: Tensor, obs: PyTorchObs) -> Tensor:
        scores[places(self._visible(obs), self.n_items)] = -torch.inf
        return scores

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            lr_schedule=self._dummy_schedule,
            tie_weights=self.tie_weights,
            mask_history=self.mask_history,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
        )
        return data


def choose(log_probs: Tensor, action_space: spaces.Space[Any], deterministic: bool) -> Tensor:
    """Chooses one item, (B,), or a slate of different items, (B, k), best first.

    A random slate is k draws without replacement (the Gumbel-top-k trick), so that its first item
    is an exact draw from the policy.

    Args:
        log_probs: (B, n_items).
        action_space: of one item or of slates.
        deterministic: whether to take the most probable ones.
    """
    scores = log_probs
    if not deterministic:
        # Minus the logarithm of an exponential variable is a Gumbel variable.
        scores = scores - torch.empty_like(scores).exponential_().log()
    slate = scores.topk(slate_size(action_space), dim=1).indices  # (B, k)
    return slate if isinstance(action_space, spaces.MultiDiscrete) else slate[:, 0]
