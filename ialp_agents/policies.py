"""One policy for one item and for slates, and its mixture with a frozen pre-trained one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from ialp_agents.extractor import SASRecExtractor
from ialp_agents.softmax import log_normaliser_and_mean, softmax_mean
from ialp_agents.spaces import check_same_items, item_space, slate_size


class Evaluation(NamedTuple):
    """What actor and critic say of m items in each of B states.

    Attributes:
        q_value: Q(s, a), (B, m).
        log_prob: log pi(a|s), (B, m).
        mean_item: mean of the critic's item vectors under the policy, (B, d), without gradient.
    """

    q_value: Tensor
    log_prob: Tensor
    mean_item: Tensor


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

    def evaluate_actions(self, obs: PyTorchObs, items: Tensor) -> Evaluation:
        """Evaluates some items of each state, in one pass over the catalogue.

        Args:
            obs: B observations.
            items: (B, m) item ids.
        """
        features = self._encode(obs)  # (B, d)
        # Q of a few items needs their rows of the item table, not a product with all of it.
        item = F.embedding(items, self._item_vectors(self.critic))  # (B, m, d)
        q_value = self.state_value(features) + _dot(item, self.critic.query(features))
        return Evaluation(q_value, *self._log_prob(features, items))

    def expected_value(self, obs: PyTorchObs) -> Tensor:
        """Returns the state's value under the policy, sum_a pi(a|s) Q(s, a), (B,)."""
        features = self._encode(obs)  # (B, d)
        return self._value(features, self._mean_item(obs, features))

    def value_of(self, obs: PyTorchObs, mean_item: Tensor) -> Tensor:
        """Returns this critic's value of the states for a policy that takes ``mean_item``, (B,).

        Q is linear in an item's vector, so the mean vector of a policy's items, (B, d), is all that
        its value needs.
        """
        return self._value(self._encode(obs), mean_item)

    def _value(self, features: Tensor, mean_item: Tensor) -> Tensor:
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

    def _log_prob(
        self, features: Tensor, items: Tensor, values: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns log pi of the items (B, m), and the mean of ``values`` under pi, (B, d).

        The values, (n_items, d), are by default the critic's item vectors.
        """
        query, vectors = self.actor.query(features), self._item_vectors(self.actor)
        if values is None:
            values = vectors if self.tie_weights else self._item_vectors(self.critic)
        logits = _dot(F.embedding(items, vectors), query)  # (B, m)
        log_z, mean = log_normaliser_and_mean(query, vectors, values)
        return logits - log_z[:, None], mean

    def _mean_item(self, obs: PyTorchObs, features: Tensor) -> Tensor:
        """Returns the critic's item vectors' mean under the policy, (B, d)."""
        return self._mean_of(features, self._item_vectors(self.critic))

    def _mean_of(self, features: Tensor, values: Tensor) -> Tensor:
        return softmax_mean(self.actor.query(features), self._item_vectors(self.actor), values)

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
        learner = super().log_probs(obs)
        return learner if self.alpha == 1 else self._mix(self.frozen.log_probs(obs), learner)

    def evaluate_actions(self, obs: PyTorchObs, items: Tensor) -> Evaluation:
        """Evaluates with the learner's critic and the mixture's probabilities."""
        learner = super().evaluate_actions(obs, items)
        if self.alpha == 1:  # the frozen policy would cost as much as the learner, for nothing
            return learner
        with torch.no_grad():
            features, values = self.frozen._encode(obs), self._item_vectors(self.critic)
            log_prob, mean_item = self.frozen._log_prob(features, items, values)
        return Evaluation(
            learner.q_value,
            self._mix(log_prob, learner.log_prob),
            torch.lerp(mean_item, learner.mean_item, self.alpha),
        )

    def _mean_item(self, obs: PyTorchObs, features: Tensor) -> Tensor:
        values = self._item_vectors(self.critic)
        learner = self._mean_of(features, values)
        if self.alpha == 1:
            return learner
        return torch.lerp(
            self.frozen._mean_of(self.frozen._encode(obs), values), learner, self.alpha
        )

    def _mix(self, frozen: Tensor, learner: Tensor) -> Tensor:
        # Eq. 15, in logarithms; at alpha = 0 or 1 one of the two terms is exactly minus infinity.
        return torch.logaddexp((1 - self.alpha).log() + frozen, self.alpha.log() + learner)


def _dot(items: Tensor, query: Tensor) -> Tensor:
    """Products of m item vectors (B, m, d) with one query (B, d), (B, m)."""
    return (items @ query[:, :, None])[:, :, 0]
