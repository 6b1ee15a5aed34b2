"""The encoder as an extractor, the policy, the mixture and the replay buffers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import chisquare

from ialp_agents import (
    DictItemReplayBuffer,
    ItemReplayBuffer,
    MixturePolicy,
    SASRecExtractor,
    SASRecPolicy,
)
from ialp_agents.softmax import log_normaliser_and_mean, softmax_mean

N, H, B = 7, 5, 4
BOX = spaces.Box(0, N, (H,), np.int32)
COAT = spaces.Dict(user=spaces.Discrete(3), history=BOX)
ITEM = spaces.Discrete(N)
SLATE = spaces.MultiDiscrete([N] * 3)
SMALL = dict(embedding_dim=8, n_layers=1, n_heads=1)


def policy(
    action_space: Any = ITEM,
    space: Any = BOX,
    make: Any = SASRecPolicy,
    seed: int = 0,
    **kwargs: Any,
) -> Any:
    torch.manual_seed(seed)
    made = make(space, action_space, lambda _: 1e-3, features_extractor_kwargs=SMALL, **kwargs)
    for parameter in made.parameters():  # heads start almost at zero: give them something to say
        torch.nn.init.normal_(parameter)
    made.set_training_mode(False)
    return made


def histories(n: int = B, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    obs = rng.integers(N, size=(n, H))
    obs[0, : H - 1] = N
    return torch.from_numpy(obs)


def allowed(obs: torch.Tensor) -> list[int]:
    """Of each state, an item that the user has not just had."""
    return [min(set(range(N)) - set(row.tolist())) for row in obs]


def test_extractor_reads_a_dict_whether_its_user_comes_from_an_env_or_a_buffer() -> None:
    extractor = SASRecExtractor(COAT, **SMALL)
    user, history = torch.tensor([0, 1, 1, 2]), histories().float()
    one_hot = torch.nn.functional.one_hot(user, 3).float()
    acting = extractor({"user": one_hot, "history": history})
    learning = extractor({"user": one_hot[:, None], "history": history})
    expected = extractor.sasrec.encode(history) + extractor.user_embedding(user)
    assert torch.equal(acting, learning)
    assert torch.equal(acting, expected)


def test_extractor_is_defined_for_an_empty_session() -> None:
    extractor = SASRecExtractor(COAT, **SMALL)
    user, history = torch.eye(3), torch.full((3, H), float(N))
    assert extractor({"user": user, "history": history}).isfinite().all()


def test_extractor_encodes_what_was_accepted_and_not_what_was_offered() -> None:
    space = spaces.Dict(history=BOX, shown=BOX)
    extractor = SASRecExtractor(space, **SMALL)
    history = torch.tensor([[N] * (H - 2) + [3, 1]]).float()
    observation = {"history": history, "shown": torch.full((1, H), 2.0)}
    assert torch.equal(extractor(observation), extractor.sasrec.encode(history))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(N),
        spaces.Box(0, 1, (H,), np.float32),
        spaces.Box(0, N, (H, 2), np.int32),
        spaces.Dict(user=BOX, history=BOX),
        spaces.Dict(history=BOX, seen=BOX),
        spaces.Dict(shown=BOX),
    ],
)
def test_extractor_refuses_other_spaces(space: spaces.Space) -> None:
    with pytest.raises(ValueError, match="is not a session of items"):
        SASRecExtractor(space)


def test_item_features_shape_the_first_item_vectors() -> None:
    features = np.repeat(np.eye(3), [3, 2, 2], axis=0)
    vectors = SASRecExtractor(BOX, item_features=features, **SMALL).item_vectors
    cosine = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=2)
    same = torch.from_numpy(features @ features.T).bool()
    assert cosine[same].min() > cosine[~same].max()
    with pytest.raises(ValueError, match=r"shape \(6, 3\).*has 7 items"):
        SASRecExtractor(BOX, item_features=features[:6])


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("make", [SASRecPolicy, MixturePolicy])
def test_evaluation_of_one_item_agrees_with_that_of_all(make: Any, tie_weights: bool) -> None:
    made, obs = policy(make=make, tie_weights=tie_weights), histories()
    if make is MixturePolicy:
        made.alpha.fill_(0.3)
    items = torch.tensor([[0, 1], [3, 3], [6, 2], [6, 0]])
    q_value, log_prob, mean_item = made.evaluate_actions(obs, items)
    log_probs, q_values = made.log_probs(obs), made.q_values(obs)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(B))
    torch.testing.assert_close(log_prob, log_probs.gather(1, items))
    torch.testing.assert_close(q_value, q_values.gather(1, items))
    expected = (log_probs.exp() * q_values).sum(1)
    torch.testing.assert_close(made.expected_value(obs), expected.detach(), check_stride=False)
    torch.testing.assert_close(made.value_of(obs, mean_item), expected)


def test_softmax_over_the_catalogue_and_its_gradient() -> None:
    torch.manual_seed(0)
    query, vectors = (torch.randn(n, 3, dtype=torch.double, requires_grad=True) for n in (4, 6))
    values = torch.randn(6, 3, dtype=torch.double)
    left_out = torch.tensor([0, 0, 2]), torch.tensor([1, 5, 3])
    # Their exponentials overflow unless the largest is taken off.
    logits = (300 * query @ vectors.T).index_put(left_out, torch.tensor(-math.inf).double())
    for of in (values, vectors):
        log_z, mean = log_normaliser_and_mean(300 * query, vectors, of, left_out)
        torch.testing.assert_close(log_z, logits.logsumexp(1))
        torch.testing.assert_close(mean, logits.softmax(1) @ of)
        torch.testing.assert_close(softmax_mean(300 * query, vectors, of, left_out), mean)
        assert not mean.requires_grad

    def log_normaliser(query: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return log_normaliser_and_mean(query, vectors, values, left_out)[0]

    assert torch.autograd.gradcheck(log_normaliser, (query, vectors))


@pytest.mark.parametrize("tie_weights", [True, False])
def test_gradient_of_the_log_probability(tie_weights: bool) -> None:
    made, obs = policy(tie_weights=tie_weights).double(), histories()
    items = torch.tensor(allowed(obs))
    by_hand, fused = (
        torch.autograd.grad(log_prob.sum(), list(made.parameters()), materialize_grads=True)
        for log_prob in (
            made.log_probs(obs)[range(B), items],
            made.evaluate_actions(obs, items[:, None]).log_prob[:, 0],
        )
    )
    torch.testing.assert_close(fused, by_hand)


@pytest.mark.parametrize("space", [BOX, COAT])
def test_predict_on_one_and_on_many(space: Any) -> None:
    history = histories(1).numpy()[0].astype(np.int32)
    sample = {"user": np.int64(1), "history": history} if space is COAT else history
    many = (
        {key: np.stack([value] * 6) for key, value in sample.items()}
        if space is COAT
        else np.stack([sample] * 6)
    )
    for action_space, shape in ((ITEM, ()), (SLATE, (3,))):
        made = policy(action_space, space)
        for deterministic in (True, False):
            one, _ = made.predict(sample, deterministic=deterministic)
            all_, _ = made.predict(many, deterministic=deterministic)
            assert one.shape == shape and action_space.contains(one.astype(np.int64))
            assert all_.shape == (6, *shape)


def test_a_slate_holds_different_items_and_starts_with_a_draw_from_the_policy() -> None:
    made, n = policy(SLATE), 20_000
    obs = histories(1)
    torch.nn.init.zeros_(made.actor.query.bias)
    torch.nn.init.normal_(made.actor.query.weight, std=0.03)
    probability = made.log_probs(obs).exp()[0].detach().double().numpy()
    kept = np.flatnonzero(probability)  # without what the user has just had
    assert len(kept) == N - 1
    probability = probability[kept]
    torch.manual_seed(0)
    slates, _ = made.predict(obs.repeat(n, 1).numpy())
    assert all(len(set(slate)) == 3 for slate in slates.tolist())
    assert probability.min() * n > 5, "the chi-square test needs expected counts above 5"
    first = np.bincount(slates[:, 0], minlength=N)[kept]
    assert chisquare(first, n * probability / probability.sum()).pvalue > 1e-3
    # The second place: a draw without replacement, sum_i p_i p_j / (1 - p_i).
    odds = probability / (1 - probability)
    second = probability * (odds.sum() - odds)
    counts = np.bincount(slates[:, 1], minlength=N)[kept]
    assert chisquare(counts, n * second / second.sum()).pvalue > 1e-3


def test_a_deterministic_slate_is_the_top_k() -> None:
    made, obs = policy(SLATE), histories()
    slates, _ = made.predict(obs.numpy(), deterministic=True)
    best_first = made.log_probs(obs).argsort(dim=1, descending=True)
    assert (slates == best_first[:, :3].numpy()).all()


def test_weights_move_between_slates_and_single_items() -> None:
    slates, items = policy(SLATE, seed=1), policy(ITEM, seed=2)
    items.load_state_dict(slates.state_dict())
    obs = histories()
    assert torch.equal(items.log_probs(obs), slates.log_probs(obs))
    item, _ = items.predict(obs.numpy(), deterministic=True)
    slate, _ = slates.predict(obs.numpy(), deterministic=True)
    assert (item == slate[:, 0]).all()


def test_policy_saves_and_loads_as_any_of_sb3(tmp_path: Any) -> None:
    made = policy(SLATE, tie_weights=False)
    made.save(tmp_path / "policy.pt")
    loaded = SASRecPolicy.load(tmp_path / "policy.pt")
    loaded.set_training_mode(False)
    assert torch.equal(loaded.log_probs(histories()), made.log_probs(histories()))


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Box(0, 1, (2,)),
        spaces.Discrete(N, start=1),
        spaces.MultiDiscrete([N, N + 1]),
        spaces.MultiDiscrete([2, 2, 2]),
    ],
)
def test_policy_refuses_other_actions(action_space: spaces.Space) -> None:
    with pytest.raises(ValueError, match="is not one of items"):
        policy(action_space)


def test_policy_refuses_observations_of_another_catalogue() -> None:
    with pytest.raises(ValueError, match="pad with 7, but the action space has 8"):
        policy(spaces.Discrete(N + 1))


def mixture(alpha: float) -> MixturePolicy:
    made: MixturePolicy = policy(make=MixturePolicy)
    made.alpha.fill_(alpha)
    return made


def test_mixture_is_the_weighted_mean_of_both() -> None:
    made, obs = mixture(0.3), histories()
    frozen = made.frozen.log_probs(obs).exp()
    learner = made.learner.log_probs(obs).exp()
    assert (frozen - learner).abs().max() > 0.1
    torch.testing.assert_close(made.log_probs(obs).exp(), 0.7 * frozen + 0.3 * learner)  # Eq. 15
    # By hand: 0.7 * 0.5 + 0.3 * 0.1 = 0.38.
    half, tenth = torch.tensor(math.log(0.5)), torch.tensor(math.log(0.1))
    assert made._mix(half, tenth).exp().item() == pytest.approx(0.38)


def test_mixture_ends_are_the_pure_policies() -> None:
    obs = histories()
    made = mixture(0)
    assert torch.equal(made.log_probs(obs), made.frozen.log_probs(obs))
    made = mixture(1)
    assert torch.equal(made.log_probs(obs), made.learner.log_probs(obs))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_mixture_gives_gradients_to_its_learner_only(alpha: float) -> None:
    made = mixture(alpha)
    made.set_training_mode(True)
    assert not made.frozen.training
    obs = histories()
    said = made.evaluate_actions(obs, torch.tensor(allowed(obs))[:, None])
    said.log_prob.sum().backward()
    gradient = made.learner.actor.query.weight.grad
    assert gradient.isfinite().all()
    assert (gradient.abs().sum() > 0) == (alpha > 0)
    assert all(parameter.grad is None for parameter in made.frozen.parameters())
    optimized = {id(p) for group in made.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in made.learner.parameters()}
    assert not optimized & {id(p) for p in made.frozen.parameters()}


@pytest.mark.parametrize("action_space", [ITEM, SLATE])
@pytest.mark.parametrize(("make", "space"), [(ItemReplayBuffer, BOX), (DictItemReplayBuffer, COAT)])
def test_buffer_stores_the_item_shown_first(make: Any, space: Any, action_space: Any) -> None:
    buffer = make(10, space, action_space, "cpu", n_envs=2)
    obs = (
        {"user": np.array([0, 2]), "history": histories(2).numpy()}
        if space is COAT
        else histories(2).numpy()
    )
    actions = np.array([[4, 5, 6], [1, 2, 3]]) if action_space is SLATE else np.array([4, 1])
    infos = [{"item": 5, "pick": 1}, {"item": 3, "pick": -1, "TimeLimit.truncated": True}]
    buffer.add(obs, obs, actions, np.ones(2), np.ones(2), infos)
    # Where the judge took none, no candidate was preferred to another.
    slates = [[5, 4, 6], [3, 3, 3]] if action_space is SLATE else [[5], [3]]
    assert buffer.actions[0].tolist() == slates
    sample = buffer.sample(50)
    assert sample.actions.shape == (50, len(slates[0]))
    # A user who left ends the return; a session's length cap does not.
    assert set(zip(sample.actions[:, 0].tolist(), sample.dones[:, 0].tolist(), strict=True)) == {
        (5, 1.0),
        (3, 0.0),
    }


def test_buffer_without_the_item_takes_the_action_or_says_what_is_missing() -> None:
    single = ItemReplayBuffer(10, BOX, ITEM, "cpu", n_envs=1)
    single.add(histories(1).numpy(), histories(1).numpy(), np.array([4]), 1.0, False, [{}])
    assert single.actions[0, 0, 0] == 4
    slates = ItemReplayBuffer(10, BOX, SLATE, "cpu", n_envs=1)
    with pytest.raises(KeyError, match="must name the item shown"):
        slates.add(
            histories(1).numpy(), histories(1).numpy(), np.array([[4, 5, 6]]), 1.0, False, [{}]
        )
