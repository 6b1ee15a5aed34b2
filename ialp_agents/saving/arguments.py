"""What an agent was made with, as plain data to compare and, where plain, to make it again."""

from __future__ import annotations

from enum import Enum
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from ialp_agents.actor_critic import SASRecActorCriticPolicy
from ialp_agents.mixture import MixturePolicy
from ialp_agents.policies import SASRecPolicy
from recsim_envs.files import content_hash

NOT_PLAIN = "$not plain"
"""The only key of the dict that stands for code or an array; its value can only be compared."""
FIXED = ("tie_weights", "embedding_dim", "n_layers", "n_heads")
"""Arguments of a policy that belong to its weights."""

_COMMON = "learning_rate gamma max_grad_norm _stats_window_size verbose seed "
# A2C's optimiser arguments have become policy_kwargs by the time it is made.
SB3_ARGUMENTS: dict[type[BaseAlgorithm], list[str]] = {
    DQN: (
        _COMMON + "buffer_size learning_starts batch_size tau train_freq gradient_steps "
        "replay_buffer_class replay_buffer_kwargs optimize_memory_usage n_steps "
        "target_update_interval exploration_fraction exploration_initial_eps exploration_final_eps"
    ).split(),
    A2C: (
        _COMMON + "n_steps gae_lambda ent_coef vf_coef use_sde sde_sample_freq "
        "rollout_buffer_class rollout_buffer_kwargs normalize_advantage"
    ).split(),
}
"""Where SB3's own algorithms, which have no method for it, keep their arguments."""


@runtime_checkable
class HasArguments(Protocol):
    """An algorithm that says what it was made with."""

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments but those of the caller: env, device, log, networks' time."""


def arguments_of(model: BaseAlgorithm) -> dict[str, Any]:
    """Returns what a model was made with, described; TypeError if it does not say."""
    arguments: dict[str, Any]
    if isinstance(model, HasArguments):
        arguments = described(model.arguments())
    elif type(model) in SB3_ARGUMENTS:
        names = SB3_ARGUMENTS[type(model)]
        arguments = described(dict(zip(names, attrgetter(*names)(model), strict=True)))
    else:
        raise TypeError(
            f"{type(model).__name__} has no arguments(), so nobody could tell whether it is made "
            "again as it was: add a method that returns the constructor's arguments by name"
        )
    aliases = {policy_class: alias for alias, policy_class in model.policy_aliases.items()}
    arguments["policy"] = described(aliases.get(model.policy_class, model.policy_class))
    arguments["policy_kwargs"] = described(policy_arguments(model.policy, model.policy_kwargs))
    if callable(model.learning_rate):  # code, but its values can be compared
        values = [float(model.lr_schedule(left)) for left in (1, 0.75, 0.5, 0.25, 0)]
        arguments["learning_rate"] = {NOT_PLAIN: values}
    return arguments


def policy_arguments(policy: BasePolicy, given: dict[str, Any]) -> dict[str, Any]:
    """Adds to a policy's arguments the defaults that decide what the weights of ours say."""
    if isinstance(policy, MixturePolicy):
        policy = policy.learner
    if not isinstance(policy, SASRecPolicy | SASRecActorCriticPolicy):
        return given
    extractor = dict(given.get("features_extractor_kwargs") or {})
    extractor.pop("item_features", None)  # where the item vectors started is in the weights by now
    return {
        **given,
        "tie_weights": policy.tie_weights,
        "mask_history": policy.mask_history,
        "features_extractor_kwargs": {**extractor, **policy.features_extractor.architecture},
    }


def described(value: Any) -> Any:
    """Returns JSON that is equal for equal values; what is no plain value becomes a mark."""
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray):
        return {NOT_PLAIN: f"{value.dtype}{value.shape} {content_hash(value.tobytes())}"}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {NOT_PLAIN: (value if isinstance(value, type) else type(value)).__qualname__}


def is_plain(value: Any) -> bool:
    """Whether a described value is the value itself, all through."""
    if isinstance(value, dict):
        return NOT_PLAIN not in value and all(map(is_plain, value.values()))
    return all(map(is_plain, value)) if isinstance(value, list) else True


def merged(saved: dict[str, Any], given: dict[str, Any], where: object) -> dict[str, Any]:
    """Returns the arguments of a policy for weights of ``where``: those given, then those saved.

    Raises:
        ValueError: if what is given does not go with the weights; the message names both values.
    """
    result = {} if NOT_PLAIN in saved else dict(saved)
    if "optimizer_class" in given:
        result.pop("optimizer_kwargs", None)  # they were another optimiser's
    for name, value in given.items():
        if name == "item_features" and value is not None:
            raise ValueError(
                f"item_features is where weights start, and those in {where} have: leave it out"
            )
        if name in FIXED and name in result and value != result[name]:
            raise ValueError(
                f"{name}={value!r}, but the weights in {where} were made with "
                f"{name}={result[name]!r}: leave it out, or train new weights"
            )
        if name == "features_extractor_kwargs":
            value = merged(result.get(name) or {}, value or {}, where)
        result[name] = value
    return result
