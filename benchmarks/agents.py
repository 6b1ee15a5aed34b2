"""The agents of the comparison, built alike: same encoder, same budget, the same small search."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ialp_agents import AIALP, IALP, PG, SASRecActorCriticPolicy, SASRecQPolicy
from recsim_envs.data.text import text_features
from recsim_envs.report.play import make_users

AgentStart = Literal["text", "random"]
"""Whether an agent starts as nearest text to the session, or knows nothing."""

FROM_SCRATCH = ("DQN", "PG", "A2C")
FROM_A_POLICY = ("A-iALP_ft", "A-iALP_ap")
GAMMA = 0.9
"""Discount factor of every agent (not given in the paper)."""
BATCH_SIZE = 128
"""Transitions a gradient step of every agent with a replay buffer (not given in the paper)."""
EMBEDDING_DIM = 192
"""d of every agent's encoder (not given). Of the item texts' components, 192 recommend better than
the 128 or 64 first ones."""
N_LAYERS = 1
"""Blocks of every agent's encoder (not given): sessions are short, and a second one doubles the
time."""

SEARCHED: dict[tuple[str, AgentStart], dict[str, Any]] = {
    ("DQN", "random"): {
        "learning_rate": 1e-3,
        "n_steps": 1,
        "target_update_interval": 500,
        "update_factor": 1,
    },
    ("DQN", "text"): {
        "learning_rate": 1e-3,
        "n_steps": 1,
        "target_update_interval": 500,
        "update_factor": 1,
    },
    ("PG", "random"): {"learning_rate": 3e-3, "ent_coef": 0.0, "n_steps": 16},
    ("PG", "text"): {"learning_rate": 1e-4, "ent_coef": 0.01, "n_steps": 4},
    ("A2C", "random"): {"learning_rate": 7e-4, "ent_coef": 0.01, "n_steps": 4},
    ("A2C", "text"): {"learning_rate": 7e-4, "ent_coef": 0.01, "n_steps": 4},
    ("A-iALP_ft", "text"): {"learning_rate": 1e-4, "update_factor": 2},
    ("A-iALP_ap", "text"): {"learning_rate": 3e-4, "update_factor": 1},
}
"""What ``benchmarks.search`` found on training users of Industry, for every data set.
``update_factor`` multiplies the gradient steps of an agent with a replay buffer."""
EPSILON: dict[AgentStart, float] = {"random": 1.0, "text": 0.1}
"""DQN's first share of random items: few where there is a start to lose."""


def make_ialp(
    env: VecEnv,
    features: NDArray[np.float32] | None,
    updates: int,
    seed: int,
    policy: dict[str, Any] | None = None,
    **changes: Any,
) -> IALP:
    """IALP for pre-training with a judge.

    Args:
        env: the judge's environment.
        features: of :func:`features_of`: the text start; None starts at random.
        updates: gradient steps after each step of all users.
        seed: of the agent.
        policy: arguments of its policy that differ from the defaults.
        **changes: arguments of IALP that do.
    """
    arguments: dict[str, Any] = {
        "gamma": GAMMA,
        "batch_size": BATCH_SIZE,
        "learning_starts": 0,
        "gradient_steps": updates,
        "policy_kwargs": encoder(features) | (policy or {}),
        "seed": seed,
        "device": "cpu",
    }
    return IALP("SASRecPolicy", env, **(arguments | changes))


def make_from_scratch(
    name: str,
    env: VecEnv,
    features: NDArray[np.float32] | None,
    updates: int,
    seed: int,
    policy: dict[str, Any] | None = None,
    **changes: Any,
) -> BaseAlgorithm:
    """One of :data:`FROM_SCRATCH`, which knows no judge.

    Args:
        name: which.
        env: the users.
        features: of :func:`features_of`: the text start; None starts at random.
        updates: DQN's gradient steps after each step of all users; the others update once a
            rollout.
        seed: of the agent.
        policy: arguments of its policy that differ from the defaults.
        **changes: arguments of the agent that do.
    """
    start: AgentStart = "random" if features is None else "text"
    arguments: dict[str, Any] = {
        "gamma": GAMMA,
        "seed": seed,
        "device": "cpu",
        "policy_kwargs": encoder(features) | (policy or {}),
        **searched(name, start),
    }
    arguments |= changes
    if name == "DQN":
        replay: dict[str, Any] = {
            "buffer_size": 100_000,
            "learning_starts": 0,
            "batch_size": BATCH_SIZE,
            "train_freq": 1,
            "gradient_steps": max(1, round(updates * arguments.pop("update_factor"))),
            "exploration_initial_eps": EPSILON[start],
            "exploration_fraction": 0.3,
        }
        return DQN(SASRecQPolicy, env, **(replay | arguments))
    if name == "PG":
        return PG(SASRecActorCriticPolicy, env, normalize_returns=True, **arguments)
    return A2C(SASRecActorCriticPolicy, env, normalize_advantage=True, **arguments)


def make_from_policy(
    name: str, policy: Path | IALP, env: VecEnv, updates: int, seed: int, **changes: Any
) -> AIALP:
    """One of :data:`FROM_A_POLICY`: A-iALP, which takes a policy online.

    Args:
        name: which.
        policy: folder of a pre-trained policy, or an agent that has one.
        env: the users.
        updates: gradient steps after each step of all users.
        seed: of the agent.
        **changes: arguments that differ from those here.
    """
    arguments: dict[str, Any] = {
        "scheme": "ft" if name == "A-iALP_ft" else "ap",
        "batch_size": BATCH_SIZE,
        "train_freq": 1,
        "gamma": GAMMA,
        "seed": seed,
        "device": "cpu",
        **searched(name, "text"),
        **changes,
    }
    arguments["gradient_steps"] = max(1, round(updates * arguments.pop("update_factor")))
    return AIALP.from_pretrained(policy, env, **arguments)


def searched(name: str, start: str) -> dict[str, Any]:
    """What the search found for an agent; A-iALP has one setting, whatever it starts from."""
    found: AgentStart = "random" if start == "random" and name in FROM_SCRATCH else "text"
    return SEARCHED[name, found]


def encoder(features: NDArray[np.float32] | None) -> dict[str, Any]:
    """The policy's arguments that all agents share."""
    kwargs: dict[str, Any] = {"embedding_dim": EMBEDDING_DIM, "n_layers": N_LAYERS}
    if features is not None:
        kwargs["item_features"] = features
    return {"features_extractor_kwargs": kwargs}


def features_of(env: str, data: str, start: str) -> NDArray[np.float32] | None:
    """What an agent starts from: the items' text features, or None from random."""
    return _text_features(env, data) if start == "text" else None


@cache
def _text_features(env: str, data: str) -> NDArray[np.float32]:
    """Computed once a process."""
    return text_features(make_users(env, 1, data=data).dataset, dim=EMBEDDING_DIM)
