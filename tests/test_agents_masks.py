"""What the user has just had is left out: in acting, probabilities, values and targets alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from test_agents_toys import Clusters, vectorized

from ialp_agents import (
    AIALP,
    IALP,
    PG,
    MixturePolicy,
    SASRecActorCriticPolicy,
    SASRecPolicy,
    SASRecQPolicy,
)
from ialp_agents.masks import visible_items

N, H = 9, 4
BOX = spaces.Box(0, N, (H,), np.int32)
REFUSALS = spaces.Dict(history=BOX, shown=BOX)
SMALL = dict(features_extractor_kwargs=dict(embedding_dim=8, n_layers=1, n_heads=1))
HISTORY = torch.tensor([[N, N, N, 4], [4, 4, 0, 8], [1, 2, 3, 5], [N, N, N, N]])
SHOWN = torch.tensor([[N, N, 6, 7], [N, N, N, N], [1, 2, 3, 5], [N, N, N, 0]])
SEEN = [{4}, {0, 4, 8}, {1, 2, 3, 5}, set()]
OFFERED = [{4, 6, 7}, {0, 4, 8}, {1, 2, 3, 5}, {0}]
POLICIES = [SASRecPolicy, MixturePolicy, SASRecActorCriticPolicy, SASRecQPolicy]


def policy(make: Any, space: Any = BOX, n: int = N, k: int = 0, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    actions = spaces.MultiDiscrete([n] * k) if k else spaces.Discrete(n)
    made = make(space, actions, lambda _: 1e-3, **SMALL, **kwargs)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if make is MixturePolicy:
        made.alpha.fill_(0.4)
    made.set_training_mode(False)
    return made


def rows(seen: list[set[int]]) -> torch.Tensor:
    """Booleans (B, N)."""
    return torch.tensor([[item in row for item in range(N)] for row in seen])


@pytest.mark.parametrize(
    ("space", "obs", "seen"),
    [(BOX, HISTORY, SEEN), (REFUSALS, {"history": HISTORY, "shown": SHOWN}, OFFERED)],
)
@pytest.mark.parametrize("make", POLICIES)
def test_nobody_is_offered_what_was_just_seen_or_refused(
    make: Any, space: Any, obs: Any, seen: list[set[int]]
) -> None:
    made = policy(make, space)
    many = (
        {name: value.repeat(500, 1).numpy() for name, value in obs.items()}
        if isinstance(obs, dict)
        else obs.repeat(500, 1).numpy()
    )
    for deterministic in (True, False):
        items, _ = made.predict(many, deterministic=deterministic)
        for row, left_out in enumerate(seen):
            assert not set(items[row::4].tolist()) & left_out
    unmasked = policy(make, space, mask_history=False)
    if make is not SASRecQPolicy:  # whose choice is not random
        items, _ = unmasked.predict(many)
        assert set(items[1::4].tolist()) == set(range(N))


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("make", [SASRecPolicy, MixturePolicy])
def test_everything_is_as_of_a_dense_softmax(make: Any, tie_weights: bool) -> None:
    made, hidden = policy(make, tie_weights=tie_weights), rows(SEEN)

    def dense(of: SASRecPolicy) -> torch.Tensor:
        logits = of.actor.scores(of.features_extractor, of.encode(HISTORY))
        return logits.masked_fill(hidden, -torch.inf).softmax(dim=1)

    learner = made.learner if make is MixturePolicy else made
    expected = dense(learner)
    if make is MixturePolicy:
        expected = 0.6 * dense(made.frozen) + 0.4 * expected
    torch.testing.assert_close(made.log_probs(HISTORY).exp(), expected)
    items = torch.tensor([[0, 1], [1, 2], [0, 4], [5, 8]])
    said = made.evaluate_actions(HISTORY, items)
    torch.testing.assert_close(said.log_prob.exp(), expected.gather(1, items))
    value = (expected * made.q_values(HISTORY)).sum(dim=1)
    torch.testing.assert_close(made.value_of(HISTORY, said.mean_item), value)
    torch.testing.assert_close(made.expected_value(HISTORY), value.detach())


def test_an_actor_critic_renormalises_its_entropy_too() -> None:
    made, hidden = policy(SASRecActorCriticPolicy), rows(SEEN)
    items = torch.tensor([0, 1, 4, 5])
    values, log_prob, entropy = made.evaluate_actions(HISTORY, items)
    logits = made.score.scores(made.features_extractor, made.extract_features(HISTORY))
    expected = logits.masked_fill(hidden, -torch.inf).softmax(dim=1)
    torch.testing.assert_close(log_prob.exp(), expected[range(4), items])
    torch.testing.assert_close(entropy, torch.special.entr(expected).sum(dim=1))
    (values.sum() + log_prob.sum() + entropy.sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())


def test_targets_of_dqn_leave_out_the_same_items_and_random_ones_teach_nothing() -> None:
    made, hidden = policy(SASRecQPolicy), rows(SEEN)
    masked, plain = made.q_net(HISTORY), policy(SASRecQPolicy, mask_history=False).q_net(HISTORY)
    torch.testing.assert_close(masked[~hidden], plain[~hidden])
    best = plain.masked_fill(hidden, -torch.inf).max(dim=1).values
    torch.testing.assert_close(masked.max(dim=1).values, best)
    torch.testing.assert_close(made.q_net_target(HISTORY).shape, masked.shape)
    masked[hidden].sum().backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in made.q_net.parameters())


@pytest.mark.parametrize("make", POLICIES)
def test_a_user_who_has_seen_everything_is_offered_everything(make: Any) -> None:
    space = spaces.Box(0, 3, (H,), np.int32)
    made = policy(make, space, n=3)
    obs = torch.tensor([[3, 0, 1, 2], [3, 3, 1, 2]])
    assert visible_items(obs, 3).tolist() == [[3, 3, 3, 3], [3, 3, 1, 2]]
    items, _ = made.predict(obs.numpy(), deterministic=True)
    assert items[1] == 0
    if make is SASRecPolicy:
        log_probs = made.log_probs(obs)
        assert log_probs[0].isfinite().all()
        assert log_probs[1].tolist() == [0, -np.inf, -np.inf]


@pytest.mark.parametrize("make", [SASRecPolicy, MixturePolicy])
def test_a_slate_repeats_only_where_nothing_else_is_left(make: Any) -> None:
    made = policy(make, k=7)
    for deterministic in (True, False):
        slates, _ = made.predict(HISTORY.numpy(), deterministic=deterministic)
        for slate, seen in zip(slates.tolist(), SEEN, strict=True):
            assert len(set(slate)) == 7
            new = len(set(range(N)) - seen)
            assert set(slate[: min(new, 7)]).isdisjoint(seen)


def agents(**policy_kwargs: Any) -> list[BaseAlgorithm]:
    """One of each kind, small."""
    kwargs: dict[str, Any] = dict(
        policy_kwargs=dict(
            features_extractor_kwargs=dict(embedding_dim=8, n_layers=1), **policy_kwargs
        ),
        seed=0,
    )
    replay = dict(kwargs, learning_starts=8, batch_size=16, gradient_steps=2, train_freq=1)
    return [
        IALP("SASRecPolicy", vectorized(Clusters, k=3), **replay),
        AIALP("MixturePolicy", vectorized(Clusters), exploration="epsilon", **replay),
        PG("SASRecPolicy", vectorized(Clusters), ent_coef=0.1, **kwargs),
        A2C(SASRecActorCriticPolicy, vectorized(Clusters), ent_coef=0.1, **kwargs),
        # Without random actions, which SB3 draws itself.
        DQN(SASRecQPolicy, vectorized(Clusters), exploration_initial_eps=0.0,
            exploration_final_eps=0.0, **dict(replay, learning_starts=0)),
    ]  # fmt: skip


def test_training_never_repeats_what_is_visible_nor_becomes_nan() -> None:
    repeats = {True: 0, False: 0}
    for masks in (True, False):
        for agent in agents(mask_history=masks):

            def count(local: Any, _: Any, masks: bool = masks) -> bool:
                before = local["self"]._last_obs
                for history, info in zip(before, local["infos"], strict=True):
                    repeats[masks] += info["item"] in history
                return True

            agent.learn(400, callback=count)
            assert all(p.isfinite().all() for p in agent.policy.parameters())
    assert repeats[True] == 0
    assert repeats[False] > 100


def test_an_item_shown_against_the_mask_teaches_the_critic_alone() -> None:
    """An environment may show what the policy would not: its probability stays minus infinity."""
    model = IALP("SASRecPolicy", vectorized(Clusters), batch_size=8, learning_starts=0, seed=0)
    obs = model.env.reset()
    infos = [{"item": int(item)} for item in obs[:, -1]]
    model._setup_learn(10)
    for _ in range(4):
        model.replay_buffer.add(obs, obs, obs[:, -1], np.ones(8), np.zeros(8), infos)
    actor = model.policy.actor.query.weight.detach().clone()
    critic = model.policy.critic.query.weight.detach().clone()
    model.train(3, 8)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    assert torch.equal(model.policy.actor.query.weight, actor)
    assert not torch.equal(model.policy.critic.query.weight, critic)
