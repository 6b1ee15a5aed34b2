"""With item features, every policy starts as "most like the session", and can learn on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ialp_agents import (
    MixturePolicy,
    SASRecActorCriticPolicy,
    SASRecExtractor,
    SASRecPolicy,
    SASRecQPolicy,
)
from ialp_agents.policies import ACTOR_LIKENESS

N, H, D = 40, 6, 16
BOX = spaces.Box(0, N, (H,), np.int32)
FEATURES = np.random.default_rng(0).normal(size=(N, 12))
POLICIES = [SASRecPolicy, MixturePolicy, SASRecActorCriticPolicy, SASRecQPolicy]


def likeness(obs: np.ndarray) -> np.ndarray:
    """Cosine of each item's features with the newest item's and the history's mean, (B, N)."""
    vectors = FEATURES - FEATURES.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    padded = np.vstack([vectors, np.zeros(vectors.shape[1])])
    length = (obs < N).sum(axis=1, keepdims=True)
    session = padded[obs[:, -1]] + padded[obs].sum(axis=1) / length
    return session @ vectors.T / np.linalg.norm(session, axis=1, keepdims=True)


def histories(n: int = 200) -> np.ndarray:
    rng = np.random.default_rng(1)
    histories = rng.integers(N, size=(n, H))
    for row, length in enumerate(rng.integers(1, H + 1, size=n)):
        histories[row, : H - length] = N
    return histories


def policy(make: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    encoder = dict(embedding_dim=D, item_features=FEATURES)
    return make(
        BOX, spaces.Discrete(N), lambda _: 1e-3, features_extractor_kwargs=encoder, **kwargs
    )


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("make", POLICIES)
def test_a_fresh_policy_recommends_what_is_most_like_the_session(
    make: Any, tie_weights: bool
) -> None:
    obs = histories()
    allowed = likeness(obs)
    for row, history in enumerate(obs):
        allowed[row, history[history < N]] = -2
    items, _ = policy(make, tie_weights=tie_weights).predict(obs, deterministic=True)
    gap = allowed.max(axis=1) - allowed[range(len(obs)), items]
    # Positions and what tells equal items apart are there, a hundredth as long.
    assert gap.max() < 0.05
    assert (gap == 0).mean() > 0.9


def test_the_sharpness_is_the_constant() -> None:
    made, obs = policy(SASRecPolicy, mask_history=False), histories()
    log_probs = made.log_probs(torch.from_numpy(obs)).detach().numpy()
    scores = log_probs - log_probs.mean(axis=1, keepdims=True)
    slope, _ = np.polyfit(likeness(obs).ravel(), scores.ravel(), 1)
    assert slope == pytest.approx(ACTOR_LIKENESS, rel=0.1)


def test_values_start_alike_for_all_items() -> None:
    q_values = policy(SASRecPolicy).q_values(torch.from_numpy(histories()))
    assert (q_values.amax(dim=1) - q_values.amin(dim=1)).max() < 0.05


@pytest.mark.parametrize("make", POLICIES)
def test_the_start_learns_in_all_its_parts(make: Any) -> None:
    made, obs = policy(make), torch.from_numpy(histories())
    before = {name: value.clone() for name, value in made.named_parameters()}
    for _ in range(3):  # silent layers pass a gradient on once they have moved
        made.optimizer.zero_grad()
        if make is SASRecQPolicy:
            loss = made.q_net(obs).square().mean()
        elif make is SASRecActorCriticPolicy:
            values, log_prob, _ = made.evaluate_actions(obs, torch.randint(N, (len(obs),)))
            loss = values.square().mean() - log_prob[log_prob.isfinite()].mean()
        else:
            said = made.evaluate_actions(obs, torch.randint(N, (len(obs), 1)))
            loss = said.q_value.square().mean()
            loss = loss - said.log_prob[said.log_prob.isfinite()].mean()
        loss.backward()
        made.optimizer.step()
    for name, value in made.named_parameters():
        changes = not (name.startswith(("frozen.", "q_net_target.")))
        assert torch.equal(value, before[name]) != changes, name


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_start_is_the_same_of_any_depth(n_layers: int) -> None:
    obs = histories()
    torch.manual_seed(0)
    encoder = SASRecExtractor(BOX, embedding_dim=D, n_layers=n_layers, item_features=FEATURES)
    scores = encoder(torch.from_numpy(obs).float()) @ encoder.item_vectors.T / D**0.5
    assert np.abs(scores.detach().numpy() - likeness(obs)).max() < 0.1


def test_without_features_nothing_is_silent() -> None:
    encoder = SASRecExtractor(BOX, embedding_dim=D)
    assert not encoder.starts_from_features
    assert all(p.abs().sum() > 0 for n, p in encoder.named_parameters() if n.endswith("t.weight"))
