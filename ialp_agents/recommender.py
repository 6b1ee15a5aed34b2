"""One item at a time from an agent of slates."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from ialp_agents.mixture import MixturePolicy
from ialp_agents.policies import SASRecPolicy, choose
from ialp_agents.spaces import item_space


class Recommender(BasePolicy):
    """The same distribution over items as another policy's, with actions of one item.

    It holds that policy itself, not a copy: it is always as far as the policy has learned.

    Args:
        policy: of slates or of single items.
    """

    def __init__(self, policy: SASRecPolicy | MixturePolicy) -> None:
        super().__init__(policy.observation_space, item_space(policy.action_space))
        self.policy = policy

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses items, see :meth:`_predict`."""
        return self._predict(obs, deterministic=deterministic)

    def set_training_mode(self, mode: bool) -> None:
        """Sets the policy's mode, as the policy itself does."""
        self.policy.set_training_mode(mode)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Chooses one item, (B,): the first one of the slate that the policy would show."""
        return choose(self.policy.log_probs(observation), self.action_space, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {"policy": self.policy}
