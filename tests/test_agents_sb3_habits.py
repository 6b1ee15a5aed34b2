"""What SB3 tests of each of its algorithms, for ours and for SB3's own on our extractor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from test_agents_learning import POLICY, QUICK, SMALL, equal, one_thread, weights
from test_agents_toys import Clusters, Tastes, mean_return, vectorized

from ialp_agents import (
    AIALP,
    IALP,
    PG,
    Checkpoints,
    DictItemReplayBuffer,
    ItemReplayBuffer,
    SASRecActorCriticPolicy,
    SASRecExtractor,
)
from ialp_agents.saving.arguments import SB3_ARGUMENTS

__all__ = ["one_thread"]

NAMES = ["IALP", "AIALP_ft", "AIALP_ap", "PG", "DQN", "A2C"]
SLATES = ["IALP", "AIALP_ft", "AIALP_ap"]


def build(name: str, env: Any, mask_history: bool = True, **kwargs: Any) -> Any:
    """One of the agents, small."""
    policy_kwargs = dict(POLICY)  # a copy, for A2C writes its optimiser into it
    if not mask_history and name != "DQN":  # SB3's policy has no mask
        policy_kwargs["mask_history"] = False
    if name == "PG":
        return PG("SASRecPolicy", env, policy_kwargs=policy_kwargs, **kwargs)
    if name == "A2C":
        return A2C(SASRecActorCriticPolicy, env, policy_kwargs=policy_kwargs, **kwargs)
    kwargs = dict(learning_starts=16, batch_size=32) | kwargs
    if name == "DQN":
        space = env.observation_space
        policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
        extractor = dict(policy_kwargs, features_extractor_class=SASRecExtractor, net_arch=[])
        return DQN(policy, env, policy_kwargs=extractor, **kwargs)
    if name == "IALP":
        return IALP("SASRecPolicy", env, policy_kwargs=policy_kwargs, **kwargs)
    policy = "MixturePolicy" if name == "AIALP_ap" else "SASRecPolicy"
    return AIALP(policy, env, policy_kwargs=policy_kwargs, **kwargs)


class Identity(gym.Env[Any, Any]):
    """SB3's identity problem: reward 1 for the item just seen, and then another item."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 10, (2,), np.int32)
        self.action_space = spaces.Discrete(10)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def observe(self) -> Any:
        self.item = self.np_random.integers(10)
        return np.array([10, self.item], dtype=np.int32)

    def step(self, action: Any) -> Any:
        reward = float(action == self.item)
        self.steps += 1
        return self.observe(), reward, False, self.steps == 10, {}


N_IDENTITY = dict(IALP=1600, AIALP_ft=1600, AIALP_ap=1600, PG=3000, DQN=800, A2C=6000)
"""Enough steps for each agent."""


@pytest.mark.parametrize("name", NAMES)
def test_identity_problem(name: str) -> None:
    # A2C, with larger steps, falls into one item in one of four seeds, or of four CPUs.
    kwargs = dict(learning_rate=3e-3 if name == "A2C" else 1e-2, gamma=0.0, seed=0)
    if name not in ("PG", "A2C"):
        kwargs |= dict(batch_size=64, train_freq=1, gradient_steps=2)
    if name == "DQN":
        kwargs |= dict(target_update_interval=50, exploration_fraction=0.5)
    env = vectorized(Identity)
    model = build(name, env, mask_history=False, **kwargs).learn(N_IDENTITY[name])
    env = vectorized(Identity, n=50, seed=1)
    assert mean_return(lambda obs: model.predict(obs, deterministic=True)[0], env) >= 9


@pytest.mark.parametrize("make", [Clusters, Tastes])
@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_weights_and_actions(name: str, make: Any) -> None:
    def train(seed: int) -> Any:
        return build(name, vectorized(make, n=2), seed=seed).learn(64)

    first, again, other = train(3), train(3), train(4)
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(other))
    obs = vectorized(make, n=50, seed=1).reset()
    for deterministic in (True, False):
        actions = []
        for model in (first, again):
            model.set_random_seed(0)
            actions.append(model.predict(obs, deterministic=deterministic)[0])
        np.testing.assert_array_equal(*actions)


@pytest.mark.parametrize("make", [Clusters, Tastes])
@pytest.mark.parametrize(("name", "k"), [(n, 0) for n in NAMES] + [(n, 4) for n in SLATES])
def test_predict_on_one_and_on_many(name: str, k: int, make: Any) -> None:
    env = vectorized(make, n=200, k=k)
    model, shape = build(name, env, seed=0), (k,) if k else ()
    many, (one, _) = env.reset(), make(k=k).reset(seed=0)
    for deterministic in (True, False):
        actions, state = model.predict(many, deterministic=deterministic)
        action, _ = model.predict(one, deterministic=deterministic)
        assert actions.shape == (200, *shape) and actions.dtype == np.int64 and state is None
        assert action.shape == shape and env.action_space.contains(action)
        assert all(env.action_space.contains(row) for row in actions)
        if k:
            assert all(len(set(slate)) == k for slate in actions.tolist())
    same = (
        {key: np.stack([value] * 200) for key, value in one.items()}
        if make is Tastes
        else np.stack([one] * 200)
    )
    greedy, _ = model.predict(same, deterministic=True)
    assert (greedy == model.predict(one, deterministic=True)[0]).all()
    drawn, _ = model.predict(same, deterministic=False)
    n_different = len(np.unique(drawn, axis=0))
    assert n_different == 1 if name == "DQN" else n_different > 20  # DQN draws while learning only


class Spaces(gym.Env[Any, Any]):
    """Any spaces, to be refused."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        raise AssertionError("refused at construction")


BOX, ITEM = spaces.Box(0, 7, (5,), np.int32), spaces.Discrete(7)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((ITEM, BOX)),
        spaces.Box(0, 1, (5,), np.float32),
        spaces.Box(0, 7, (5, 2), np.int32),
        spaces.MultiDiscrete([8] * 5),
        spaces.MultiBinary(5),
        spaces.Dict(history=BOX, seen=BOX),
        spaces.Dict(user=BOX, history=BOX),
        spaces.Dict(user=spaces.Dict(id=ITEM), history=BOX),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_other_observations_are_refused(name: str, space: Any) -> None:
    with pytest.raises(
        (ValueError, NotImplementedError),
        match="is not a session of items|observation spaces? (is|are) not supported",
    ):
        build(name, Spaces(space, ITEM))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2,)),
        spaces.MultiBinary(7),
        spaces.MultiDiscrete([7, 8]),
        spaces.MultiDiscrete([2, 2, 2]),
        spaces.Tuple((ITEM, ITEM)),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_other_actions_are_refused(name: str, space: Any) -> None:
    with pytest.raises((ValueError, AssertionError), match="is not one of items|only supports"):
        build(name, Spaces(BOX, space))


@pytest.mark.parametrize("name", ["PG", "DQN", "A2C"])
def test_slates_are_refused_where_one_item_is_chosen(name: str) -> None:
    with pytest.raises((ValueError, AssertionError), match="is a slate|only supports"):
        build(name, Spaces(BOX, spaces.MultiDiscrete([7, 7])))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"DQN"}))  # DQN shows our code no actions
def test_items_that_are_not_the_observations_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not one of items"):
        build(name, Spaces(BOX, spaces.Discrete(7, start=1)))
    with pytest.raises(ValueError, match="pad with 7, but the action space has 8"):
        build(name, Spaces(BOX, spaces.Discrete(8)))


OFF_POLICY: dict[str, Any] = dict(
    learning_rate=2e-4,
    buffer_size=50,
    learning_starts=3,
    batch_size=7,
    tau=0.5,
    gamma=0.25,
    train_freq=(2, "step"),
    gradient_steps=3,
    replay_buffer_class=ItemReplayBuffer,
    replay_buffer_kwargs=dict(handle_timeout_termination=False),
    target_update_interval=2,
    advantage="q",
    critic_coef=0.5,
    slate_coef=0.5,
    candidates="topk",
    exploration="epsilon",
    epsilon=0.75,
    max_grad_norm=0.5,
    stats_window_size=3,
    policy_kwargs=dict(features_extractor_kwargs=SMALL, tie_weights=False),
    verbose=1,
    seed=5,
    device="cpu",
)
OPTIONS: dict[type, dict[str, Any]] = {
    IALP: OFF_POLICY,
    AIALP: dict(OFF_POLICY, alpha_initial=0.5, alpha_fraction=0.25, alpha_schedule="step"),
    PG: dict(
        learning_rate=2e-4,
        n_steps=5,
        gamma=0.25,
        normalize_returns=True,
        ent_coef=0.1,
        max_grad_norm=0.25,
        stats_window_size=3,
        policy_kwargs=dict(features_extractor_kwargs=SMALL),
        verbose=1,
        seed=5,
        device="cpu",
    ),
}


@pytest.mark.parametrize(
    ("agent", "option"), [(agent, option) for agent in OPTIONS for option in OPTIONS[agent]]
)
def test_each_option_arrives_and_runs(agent: Any, option: str, capsys: Any) -> None:
    value = OPTIONS[agent][option]
    base = dict(policy_kwargs=POLICY) if agent is PG else QUICK
    policy = "MixturePolicy" if agent is AIALP else "SASRecPolicy"
    model = agent(policy, vectorized(Clusters, n=2), **{**base, option: value})
    stored = getattr(model, {"stats_window_size": "_stats_window_size"}.get(option, option))
    if option == "train_freq":
        value = TrainFreq(2, TrainFrequencyUnit.STEP)
    assert (str(stored) if option == "device" else stored) == value
    assert ("Using cpu device" in capsys.readouterr().out) == (option == "verbose")
    assert model.learn(32).num_timesteps >= 32
    assert all(weight.isfinite().all() for weight in weights(model))


CALLERS = {"env", "device", "tensorboard_log", "_init_setup_model"}


def parameters_of(agent: type) -> dict[str, inspect.Parameter]:
    """The constructor's, with those that AIALP passes on to IALP."""
    parameters = dict(inspect.signature(agent).parameters)
    if parameters.pop("kwargs", None) is not None:
        parameters = parameters_of(agent.__mro__[1]) | parameters
    return parameters


@pytest.mark.parametrize("agent", list(OPTIONS))
def test_no_option_is_forgotten(agent: Any) -> None:
    parameters = parameters_of(agent)
    assert set(parameters) - {"policy", *CALLERS} == set(OPTIONS[agent]) - {"device"}
    assert all(parameters[name].default != value for name, value in OPTIONS[agent].items())
    documented = (IALP.__doc__ or "") + (agent.__doc__ or "")
    assert all(f"        {name}: " in documented for name in parameters)


@pytest.mark.parametrize("agent", list(OPTIONS))
def test_arguments_are_the_constructors(agent: Any) -> None:
    options = {k: v for k, v in OPTIONS[agent].items() if k != "device"}
    model = agent("SASRecPolicy", vectorized(Clusters), **options)
    arguments = model.arguments()
    assert arguments.keys() == parameters_of(agent).keys() - CALLERS
    assert arguments.pop("policy") is agent.policy_aliases["SASRecPolicy"]
    own = {"train_freq": TrainFreq(2, TrainFrequencyUnit.STEP), "replay_buffer_class": None}
    assert arguments == {**options, **{k: v for k, v in own.items() if k in options}}


@pytest.mark.parametrize("agent", [DQN, A2C])
def test_sb3s_own_arguments_are_known(agent: Any) -> None:
    names = {name.removeprefix("_") for name in SB3_ARGUMENTS[agent]}
    elsewhere = {"policy", "policy_kwargs", "rms_prop_eps", "use_rms_prop"}
    assert names == inspect.signature(agent).parameters.keys() - CALLERS - elsewhere


def test_an_unknown_option_is_an_error() -> None:
    for agent in OPTIONS:
        with pytest.raises(TypeError, match="'learning_rat'"):
            agent("SASRecPolicy", vectorized(Clusters), learning_rat=1)


class Unknown(DQN):
    """An algorithm that may have more arguments."""


def test_an_algorithm_that_does_not_say_its_arguments_is_refused(tmp_path: Path) -> None:
    policy_kwargs = dict(features_extractor_class=SASRecExtractor, net_arch=[], **POLICY)
    model = Unknown("MlpPolicy", vectorized(Clusters), policy_kwargs=policy_kwargs)
    with pytest.raises(TypeError, match=r"Unknown has no arguments\(\).*add a method"):
        model.learn(10, callback=Checkpoints(tmp_path, every=10))


@pytest.mark.parametrize("agent", [IALP, AIALP, PG])
def test_tensorboard_log(agent: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    base: dict[str, Any] = dict(policy_kwargs=POLICY) if agent is PG else QUICK
    model = agent("SASRecPolicy", vectorized(Clusters), tensorboard_log=str(tmp_path), **base)
    model.learn(128, log_interval=1)
    assert list(tmp_path.glob(f"{agent.__name__}_1/events.out.tfevents.*"))


@pytest.mark.parametrize("agent", [IALP, AIALP, PG])
def test_networks_can_be_built_later(agent: Any) -> None:
    model = agent("SASRecPolicy", vectorized(Clusters), _init_setup_model=False)
    assert not hasattr(model, "policy")
    model._setup_model()
    assert model.predict(vectorized(Clusters).reset())[0].shape == (8,)


def test_dict_observations_get_the_dict_buffer() -> None:
    for agent in (IALP, AIALP):
        model = agent("SASRecPolicy", vectorized(Tastes), **QUICK)
        assert isinstance(model.replay_buffer, DictItemReplayBuffer)


@pytest.mark.parametrize("name", ["DQN", "A2C"])
@pytest.mark.parametrize("make", [Clusters, Tastes])
def test_sb3s_own_agents_save_and_load_with_the_extractor(
    name: str, make: Any, tmp_path: Path
) -> None:
    model = build(name, vectorized(make)).learn(64)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", vectorized(make))
    assert equal(weights(model), weights(loaded))
    obs = vectorized(make, seed=1).reset()
    predict: Callable[[Any], Any] = lambda m: m.predict(obs, deterministic=True)[0]  # noqa: E731
    np.testing.assert_array_equal(predict(model), predict(loaded))
    loaded.learn(64)
