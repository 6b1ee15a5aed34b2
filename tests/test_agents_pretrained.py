"""A-iALP from pre-trained weights, and weights on disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from test_agents_learning import POLICY, QUICK, equal, on_users, one_thread, taught, weights
from test_agents_toys import LENGTH, Clusters, Tastes, vectorized

from ialp_agents import AIALP, IALP, PG
from recsim_envs.trees import to_bytes

__all__ = ["one_thread"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IALP]:
    """An agent that a perfect judge taught, and the folder of its weights."""
    torch.set_num_threads(1)
    model = taught(vectorized(Clusters, k=10), 1200)
    folder = tmp_path_factory.mktemp("pretrained")
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("make", [Clusters, Tastes])
def test_round_trip_is_bit_exact(make: Any, tie_weights: bool, tmp_path: Path) -> None:
    kwargs = {**QUICK, "policy_kwargs": dict(POLICY, tie_weights=tie_weights)}
    model = IALP("SASRecPolicy", vectorized(make, k=4), **kwargs).learn(64)
    model.save_pretrained(tmp_path)
    loaded = IALP.from_pretrained(tmp_path, vectorized(make))
    assert equal(weights(model), weights(loaded))
    assert equal(weights(loaded), list(loaded.policy_target.parameters()))
    assert loaded.learning_starts == 0
    assert on_users(loaded, make) == on_users(model, make)


def test_weights_are_replaced_as_one(tmp_path: Path) -> None:
    model = IALP("SASRecPolicy", vectorized(Clusters, k=4), **QUICK)
    model.save_pretrained(tmp_path)
    model.learn(64).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.safetensors"]
    assert equal(weights(model), weights(IALP.from_pretrained(tmp_path, vectorized(Clusters))))


def test_an_agent_goes_to_users_without_a_file() -> None:
    taught = IALP("SASRecPolicy", vectorized(Clusters, k=4), **QUICK).learn(64)
    for scheme in ("ft", "ap"):
        online = AIALP.from_pretrained(taught, vectorized(Clusters), scheme=scheme, seed=0)
        assert on_users(online) == on_users(taught)
    before = weights(taught)
    online.learn(100)
    assert equal(before, weights(taught)), "nothing is shared"
    with pytest.raises(ValueError, match="weights in the IALP given .*'n_users': 0.*'n_users': 5"):
        AIALP.from_pretrained(taught, vectorized(Tastes))


def test_the_callers_policy_kwargs_win_or_are_refused(pretrained: Any) -> None:
    folder, _ = pretrained
    env, sgd = vectorized(Clusters), torch.optim.SGD
    extractor = dict(dropout=0.5, embedding_dim=16)
    given = dict(mask_history=False, optimizer_class=sgd, features_extractor_kwargs=extractor)
    model = IALP.from_pretrained(folder, env, policy_kwargs=given)
    assert not model.policy.mask_history and type(model.policy.optimizer) is sgd
    encoder = model.policy.features_extractor.architecture
    assert (encoder["dropout"], encoder["n_layers"]) == (0.5, 1)
    for agent in (IALP, AIALP):
        for name, value, own in (("embedding_dim", 32, 16), ("n_heads", 4, 2), ("n_layers", 3, 1)):
            message = f"{name}={value}, but the weights in .* were made with {name}={own}"
            wrong = dict(features_extractor_kwargs={name: value})
            with pytest.raises(ValueError, match=message):
                agent.from_pretrained(folder, env, policy_kwargs=wrong)
        with pytest.raises(ValueError, match="tie_weights=False, but .* tie_weights=True"):
            agent.from_pretrained(folder, env, policy_kwargs=dict(tie_weights=False))
        wrong = dict(features_extractor_kwargs=dict(item_features=np.eye(50)))
        with pytest.raises(ValueError, match="item_features is where weights start"):
            agent.from_pretrained(folder, env, policy_kwargs=wrong)


def test_a_crash_while_saving_leaves_the_old_weights(tmp_path: Path, monkeypatch: Any) -> None:
    model = IALP("SASRecPolicy", vectorized(Clusters, k=4), **QUICK)
    model.save_pretrained(tmp_path)
    before = weights(model)
    model.learn(64)

    def crash(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        model.save_pretrained(tmp_path)
    assert equal(before, weights(IALP.from_pretrained(tmp_path, vectorized(Clusters))))


def test_item_features_need_not_be_kept(tmp_path: Path) -> None:
    extractor = dict(POLICY["features_extractor_kwargs"], item_features=np.eye(50))
    policy_kwargs = dict(features_extractor_kwargs=extractor)
    model = IALP("SASRecPolicy", vectorized(Clusters), policy_kwargs=policy_kwargs)
    model.save_pretrained(tmp_path)
    assert equal(weights(model), weights(IALP.from_pretrained(tmp_path, vectorized(Clusters))))


class Catalogued(Clusters):
    """The toy with the name and hash of its data, as recsim's environments have."""

    def __init__(self, k: int = 0, name: str = "toys", hash: str = "aaaa") -> None:
        super().__init__(k)
        self.dataset = SimpleNamespace(name=name, hash=hash)


def test_weights_of_another_catalogue_are_refused(
    tmp_path: Path, pretrained: Any, monkeypatch: Any
) -> None:
    IALP("SASRecPolicy", vectorized(Catalogued), **QUICK).save_pretrained(tmp_path)
    IALP.from_pretrained(tmp_path, vectorized(Catalogued))
    IALP.from_pretrained(tmp_path, vectorized(Clusters))  # says nothing of its data
    both = "'toys', 'hash': 'aaaa'.*'other', 'hash': 'bbbb'"
    with pytest.raises(ValueError, match=both):
        IALP.from_pretrained(tmp_path, vectorized(Catalogued, name="other", hash="bbbb"))
    monkeypatch.setattr(ReplayBuffer, "__init__", None)  # so that making one fails
    for scheme in ("ft", "ap"):
        with pytest.raises(ValueError, match="'n_users': 0.*'n_users': 5"):
            AIALP.from_pretrained(pretrained[0], vectorized(Tastes), scheme=scheme)


def test_missing_or_foreign_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"policy.safetensors is missing: pass a folder"):
        IALP.from_pretrained(tmp_path, vectorized(Clusters))
    (tmp_path / "policy.safetensors").write_bytes(to_bytes({"format": 99}))
    with pytest.raises(ValueError, match="has format 99, but this version reads 3"):
        IALP.from_pretrained(tmp_path, vectorized(Clusters))


@pytest.mark.parametrize("make", [Clusters, Tastes])
def test_sb3s_save_and_load(make: Any, tmp_path: Path) -> None:
    for agent, name in ((IALP, "SASRecPolicy"), (AIALP, "MixturePolicy"), (PG, "SASRecPolicy")):
        kwargs = dict(policy_kwargs=POLICY, seed=0) if agent is PG else QUICK
        model: Any = agent(name, vectorized(make), **kwargs).learn(64)
        model.save(tmp_path / "model.zip")
        loaded: Any = agent.load(tmp_path / "model.zip", env=vectorized(make))
        assert equal(weights(model), weights(loaded))
        assert on_users(model, make) == on_users(loaded, make)
        if agent is not PG:
            assert equal(
                list(model.policy_target.parameters()), list(loaded.policy_target.parameters())
            )
        loaded.learn(64)
        if agent is AIALP:
            assert loaded.policy_target.frozen is loaded.policy.frozen
            assert loaded.policy_target.alpha is loaded.policy.alpha


@pytest.mark.parametrize("scheme", ["ft", "ap"])
def test_a_pretrained_agent_starts_as_good_as_it_was(scheme: Any, pretrained: Any) -> None:
    folder, model = pretrained
    expected = on_users(model)
    assert expected >= 0.9 * LENGTH
    adapted = AIALP.from_pretrained(folder, vectorized(Clusters), scheme=scheme)
    assert on_users(adapted) == expected


@pytest.mark.parametrize("schedule", ["linear", "step"])
@pytest.mark.parametrize("beta_init", ["pretrained", "random"])
def test_ap_moves_from_the_frozen_policy_to_the_learner(
    beta_init: Any, schedule: Any, pretrained: Any
) -> None:
    folder, model = pretrained
    env = vectorized(Clusters)
    adapted = AIALP.from_pretrained(
        folder, env, beta_init=beta_init, alpha_initial=0.25, alpha_fraction=0.5,
        alpha_schedule=schedule, seed=0, batch_size=64,
    )  # fmt: skip
    before = weights(model)
    assert equal(weights(SimpleNamespace(policy=adapted.policy.frozen)), before)
    learner = [parameter.detach().clone() for parameter in adapted.policy.learner.parameters()]
    assert equal(learner, before) == (beta_init == "pretrained")
    assert adapted.policy.alpha == 0.25
    alphas: list[float] = []

    def watch(local_variables: dict[str, Any], global_variables: dict[str, Any]) -> bool:
        alphas.append(adapted.policy.alpha.item())
        return True

    adapted.learn(400, callback=watch)
    # The callback sees alpha before the step's update: after n of 400 steps, 1 - (1 - n/200) * 3/4.
    steps = np.arange(len(alphas)) * env.num_envs
    expected = np.minimum(0.25 + 0.75 * steps / 200, 1)
    if schedule == "step":
        expected = np.where(steps < 200, 0.25, 1)
    np.testing.assert_allclose(alphas, expected, rtol=1e-6)
    assert adapted.policy.alpha == 1
    assert equal(weights(SimpleNamespace(policy=adapted.policy.frozen)), before)
    assert not equal(learner, adapted.policy.learner.parameters())
    obs = torch.from_numpy(env.reset())
    own = adapted.policy.learner.log_probs(obs)
    assert torch.equal(adapted.policy.log_probs(obs), own)


def test_only_a_finished_mixture_is_saved(pretrained: Any, tmp_path: Path) -> None:
    adapted = AIALP.from_pretrained(pretrained[0], vectorized(Clusters), alpha_fraction=1.0)
    with pytest.raises(ValueError, match=r"mixture with alpha=0.1"):
        adapted.save_pretrained(tmp_path)
    adapted.learn(80)
    assert adapted.policy.alpha == 1
    adapted.save_pretrained(tmp_path)
    loaded = IALP.from_pretrained(tmp_path, vectorized(Clusters))
    assert equal(list(adapted.policy.learner.parameters()), weights(loaded))


def test_ap_is_deterministic(pretrained: Any) -> None:
    def train(seed: int) -> list[torch.Tensor]:
        env = vectorized(Clusters)
        return weights(
            AIALP.from_pretrained(pretrained[0], env, seed=seed, batch_size=32).learn(64)
        )

    first = train(1)
    assert equal(first, train(1))
    assert not equal(first, train(2))


@pytest.mark.parametrize("wrong", [dict(scheme="mix"), dict(beta_init="zero")])
def test_unknown_schemes_are_refused(wrong: Any, pretrained: Any) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}='{value}' is unknown: use one of"):
        AIALP.from_pretrained(pretrained[0], vectorized(Clusters), **wrong)
