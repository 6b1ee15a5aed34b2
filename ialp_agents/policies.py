"""One policy for one item and for slates, and its mixture with a frozen pre-trained one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from ialp_agents.extractor import SASRecExtractor
from ialp_agents.softmax import log_normaliser
from ialp_agents.spaces import check_same_items, item_space, slate_size


class ItemHead(nn.Module):
    """Gives each item a score: the product of a query, made from the state, and the item's vector.

    Args:
        embedding_dim: d of the state and of the item vectors.
        n_items: catalogue size.
        tied: whether the item vectors are the encoder's (handed to the methods by the policy),
            so that what is learned of an item as history also serves it as candidate.
    """

    def __init__(self, embedding_dim: int, n_items: int, tied: bool) -> None:
        super().__init__()
        self.query = nn.Linear(embedding_dim, embedding_dim)
        # SB3's gain for policy heads: an untrained agent is (almost) a uniformly random one.
        nn.init.orthogonal_(self.query.weight, gain=0.01)
        nn.init.zeros_(self.query.bias)
        self.own_vectors = None
        if not tied:
            self.own_vectors = nn.Parameter(torch.empty(n_items, embedding_dim))
            nn.init.normal_(self.own_vectors, std=embedding_dim**-0.5)


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
        features_extractor_class: type[BaseFeaturesExtractor] = SASRecExtractor,
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
        self._build(lr_schedule)

    def _build(self, lr_schedule: Schedule) -> None:
        encoder = self.make_features_extractor()
        assert isinstance(encoder, SASRecExtractor)
        check_same_items(encoder.n_items, self.n_items)
        self.features_extractor = encoder
        self.actor = ItemHead(encoder.features_dim, self.n_items, self.tie_weights)
        self.critic = ItemHead(encoder.features_dim, self.n_items, self.tie_weights)
        # What all items of a state have in common: item vectors of mean zero can't carry it.
        self.state_value = nn.Linear(encoder.features_dim, 1)
        self.optimizer = self.optimizer_class(
            self.learner_parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]  # every optimiser has it
            **self.optimizer_kwargs,
        )

    def learner_parameters(self) -> list[nn.Parameter]:
        """The parameters that learn, in a fixed order."""
        return list(self.parameters())

    def log_probs(self, obs: PyTorchObs) -> Tensor:
        """Returns log pi(.|s) of every item, (B, n_items)."""
        return F.log_softmax(self._logits(self._encode(obs)), dim=1)

    def q_values(self, obs: PyTorchObs) -> Tensor:
        """Returns Q(s, .) of every item, (B, n_items)."""
        features = self._encode(obs)
        query = self.critic.query(features)
        q_values: Tensor = self.state_value(features) + query @ self._item_vectors(self.critic).T
        return q_values

    def evaluate_actions(self, obs: PyTorchObs, items: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates one item a state, with one pass of the encoder.

        Args:
            obs: B observations.
            items: (B,) item ids.

        Returns:
            Q(s, a) and log pi(a|s), both (B,).
        """
        features = self._encode(obs)  # (B, d)
        # Q of one item needs one row of the item table, not a product with all of it.
        item = F.embedding(items, self._item_vectors(self.critic))  # (B, d)
        advantage = (self.critic.query(features) * item).sum(dim=1)
        q_value: Tensor = self.state_value(features)[:, 0] + advantage
        return q_value, self._log_prob(features, items)

    def expected_value(self, obs: PyTorchObs) -> Tensor:
        """Returns the state's value under the policy, sum_a pi(a|s) Q(s, a), (B,)."""
        features = self._encode(obs)  # (B, d)
        mean_item = self._mean_item(obs, features)  # (B, d)
        advantage = (self.critic.query(features) * mean_item).sum(dim=1)
        value: Tensor = self.state_value(features)[:, 0] + advantage
        return value

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses items, see :meth:`_predict`."""
        return self._predict(obs, deterministic=deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses one item, (B,), or a slate of different items, (B, k), best first.

        A random slate is k draws without replacement (the Gumbel-top-k trick), so that its first
        item is an exact draw from the policy.
        """
        score = self.log_probs(observation)  # (B, n_items)
        if not deterministic:
            # Minus the logarithm of an exponential variable is a Gumbel variable.
            score = score - torch.empty_like(score).exponential_().log()
        slate = score.topk(self.slate_size, dim=1).indices  # (B, k)
        return slate if isinstance(self.action_space, spaces.MultiDiscrete) else slate[:, 0]

    def _encode(self, obs: PyTorchObs) -> Tensor:
        return self.extract_features(obs, self.features_extractor)

    def _item_vectors(self, head: ItemHead) -> Tensor:
        own = head.own_vectors
        return self.features_extractor.item_vectors if own is None else own  # (n_items, d)

    def _logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.actor.query(features) @ self._item_vectors(self.actor).T
        return logits  # (B, n_items)

    def _log_prob(self, features: Tensor, items: Tensor) -> Tensor:
        query, vectors = self.actor.query(features), self._item_vectors(self.actor)
        logit: Tensor = (query * F.embedding(items, vectors)).sum(dim=1)
        return logit - log_normaliser(query, vectors)  # (B,)

    def _mean_item(self, obs: PyTorchObs, features: Tensor) -> Tensor:
        """Returns the critic's item vectors' mean under the policy, (B, d)."""
        return self._mean_of(features, self._item_vectors(self.critic))

    def _mean_of(self, features: Tensor, values: Tensor) -> Tensor:
        # This is attention of the states over the catalogue: the fused kernel never builds the
        # (B, n_items) matrix of probabilities.
        query, key = self.actor.query(features), self._item_vectors(self.actor)
        return F.scaled_dot_product_attention(query[None], key[None], values[None], scale=1.0)[0]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            lr_schedule=self._dummy_schedule,
            tie_weights=self.tie_weights,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
        )
        return data


class MixturePolicy(SASRecPolicy):
    """A learning policy mixed with a frozen pre-trained one (Eq. 15).

    ``pi(a|s) = (1 - alpha) pi_frozen(a|s) + alpha pi_learner(a|s)``. This object's own encoder,
    actor and critic are the learner; ``alpha`` goes to 1 as it learns (set by AIALP).

    Args:
        *args: as for :class:`SASRecPolicy`.
        **kwargs: as for :class:`SASRecPolicy`.
    """

    alpha: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("alpha", torch.ones(()))
        self.frozen = SASRecPolicy(*args, **kwargs)
        self.frozen.requires_grad_(False)
        self.frozen.set_training_mode(False)
        del self.frozen.optimizer

    def learner_parameters(self) -> list[nn.Parameter]:
        """The parameters that learn: all but the frozen policy's."""
        return [p for name, p in self.named_parameters() if not name.startswith("frozen.")]

    def train(self, mode: bool = True) -> MixturePolicy:
        """Sets the learner's mode; the frozen policy stays in evaluation mode (no dropout)."""
        super().train(mode)
        if hasattr(self, "frozen"):
            self.frozen.train(False)
        return self

    def log_probs(self, obs: PyTorchObs) -> Tensor:
        """Returns log pi(.|s) of the mixture for every item, (B, n_items)."""
        return self._mix(self.frozen.log_probs(obs), super().log_probs(obs))

    def evaluate_actions(self, obs: PyTorchObs, items: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the learner's Q(s, a) and the mixture's log pi(a|s), both (B,)."""
        q_value, learner = super().evaluate_actions(obs, items)
        with torch.no_grad():
            frozen = self.frozen._log_prob(self.frozen._encode(obs), items)
        return q_value, self._mix(frozen, learner)

    def _mean_item(self, obs: PyTorchObs, features: Tensor) -> Tensor:
        values = self._item_vectors(self.critic)
        frozen = self.frozen._mean_of(self.frozen._encode(obs), values)
        return torch.lerp(frozen, self._mean_of(features, values), self.alpha)

    def _mix(self, frozen: Tensor, learner: Tensor) -> Tensor:
        # Eq. 15, in logarithms; at alpha = 0 or 1 one of the two terms is exactly minus infinity.
        return torch.logaddexp((1 - self.alpha).log() + frozen, self.alpha.log() + learner)
