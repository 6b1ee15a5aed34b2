"""A learning policy mixed with a frozen pre-trained one (Eqs. 14 and 15 of the paper)."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from ialp_agents.policies import Evaluation, SASRecPolicy, choose


class MixturePolicy(BasePolicy):
    """``pi(a|s) = (1 - alpha) pi_frozen(a|s) + alpha pi_learner(a|s)`` (Eq. 14).

    The critic is the learner's. At alpha = 1 the frozen policy is not computed at all.

    Args:
        observation_space: as for :class:`SASRecPolicy`.
        action_space: as for :class:`SASRecPolicy`.
        lr_schedule: as for :class:`SASRecPolicy`.
        **kwargs: those of :class:`SASRecPolicy`, for both.

    Attributes:
        learner: the policy that learns.
        frozen: the policy that does not, always in evaluation mode.
        alpha: the learner's share, a buffer of shape (); 1 at the start, AIALP sets it.
    """

    alpha: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.learner = SASRecPolicy(observation_space, action_space, lr_schedule, **kwargs)
        self.frozen = SASRecPolicy(observation_space, action_space, lr_schedule, **kwargs)
        self.frozen.requires_grad_(False)
        self.frozen.set_training_mode(False)
        self.optimizer = self.learner.optimizer
        self.register_buffer("alpha", torch.ones(()))

    def set_training_mode(self, mode: bool) -> None:
        """Sets the learner's mode; the frozen policy stays in evaluation mode (no dropout)."""
        self.learner.set_training_mode(mode)

    def log_probs(self, obs: PyTorchObs) -> Tensor:
        """Returns log pi(.|s) of every item, (B, n_items)."""
        learner = self.learner.log_probs(obs)
        return learner if self.alpha == 1 else self._mix(self.frozen.log_probs(obs), learner)

    def q_values(self, obs: PyTorchObs) -> Tensor:
        """Returns the learner's Q(s, .) of every item, (B, n_items)."""
        return self.learner.q_values(obs)

    def evaluate_actions(self, obs: PyTorchObs, items: Tensor) -> Evaluation:
        """Evaluates items (B, m) with the learner's critic and the mixture's probabilities."""
        learner = self.learner.evaluate_actions(obs, items)
        if self.alpha == 1:  # the frozen policy would cost as much as the learner, for nothing
            return learner
        values = self.learner.critic.vectors(self.learner.features_extractor)
        with torch.no_grad():
            features = self.frozen.encode(obs)
            log_prob, mean_item = self.frozen.log_prob(obs, features, items, values)
        return Evaluation(
            learner.q_value,
            self._mix(log_prob, learner.log_prob),
            torch.lerp(mean_item, learner.mean_item, self.alpha),
        )

    def expected_value(self, obs: PyTorchObs) -> Tensor:
        """Returns the learner's value of the states under the mixture, (B,), without gradient."""
        with torch.no_grad():
            features = self.learner.encode(obs)  # (B, d)
            values = self.learner.critic.vectors(self.learner.features_extractor)
            mean_item = self.learner.mean_item(obs, features, values)
            if self.alpha < 1:
                frozen = self.frozen.mean_item(obs, self.frozen.encode(obs), values)
                mean_item = torch.lerp(frozen, mean_item, self.alpha)
            return self.learner.value_given(features, mean_item)

    def value_of(self, obs: PyTorchObs, mean_item: Tensor) -> Tensor:
        """As :meth:`SASRecPolicy.value_of`, of the learner's critic."""
        return self.learner.value_of(obs, mean_item)

    def sample_uniformly(self, obs: PyTorchObs) -> Tensor:
        """As :meth:`SASRecPolicy.sample_uniformly`."""
        return self.learner.sample_uniformly(obs)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses items, see :meth:`_predict`."""
        return self._predict(obs, deterministic=deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses one item, (B,), or a slate of different items, (B, k), best first."""
        return choose(self.log_probs(observation), self.action_space, deterministic)

    def _mix(self, frozen: Tensor, learner: Tensor) -> Tensor:
        # Eq. 14, in logarithms; at alpha = 0 or 1 one of the two terms is exactly minus infinity.
        mixed = torch.logaddexp((1 - self.alpha).log() + frozen, self.alpha.log() + learner)
        # Both leave out the same items, whose gradient would be 0 / 0.
        return torch.where(frozen.isneginf() & learner.isneginf(), learner, mixed)
