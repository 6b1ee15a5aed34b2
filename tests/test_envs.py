"""The registered environments: Gymnasium's and SB3's contracts, determinism, one dynamics."""

import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import recsim_envs  # noqa: F401  (registers the ids)
from recsim_envs.data.coat import read_matrix
from recsim_envs.data.tables import import_tables
from recsim_envs.errors import DataError
from recsim_envs.rewards.prepare import prepare
from recsim_envs.sb3 import BatchedVecEnv
from recsim_envs.state import get_state, set_state

IDS = [spec.id for spec in gym.registry.values() if spec.namespace == "recsim"]


@pytest.fixture(scope="session", params=[(i, s) for i in IDS for s in ("replica", "real")])
def source(request, tmp_path_factory):
    """Every registered id on every data source; real data is fitted briefly."""
    env_id, kind = request.param
    if kind == "replica":
        return env_id, "replica"
    real = request.getfixturevalue("real_data")
    home = tmp_path_factory.getbasetemp() / "home"
    name = f"real-{env_id.split('/')[1].split('-')[0].lower()}"
    if not (home / name).is_dir():
        if name == "real-coat":
            truth = read_matrix(real / "raw" / "coat" / "coat_pseudoGT_ratingM.ascii")
            prepare(import_tables(real / "raw" / "coat", name), home / name, truth=truth)
        else:
            music = name == "real-lfm"
            dataset = import_tables(
                real / name.removeprefix("real-"),
                name,
                text=["title", "artist"] if music else ["title", "brand"],
                scenario="music" if music else "products",
            )
            prepare(dataset, home / name, embedding_dim=8, max_epochs=1)
    return env_id, name


@pytest.fixture
def home(source, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path_factory.getbasetemp() / "home"))
    return source


@pytest.mark.parametrize("split", ["train", "test"])
def test_gymnasium_and_sb3_checkers_pass(home, split):
    env_id, data = home
    env = gym.make(env_id, data=data, split=split)
    check_env(env.unwrapped)
    check_env_sb3(env.unwrapped)
    assert env.unwrapped.dataset.replica == (data == "replica")
    assert ("REPLICA" in repr(env.unwrapped.dataset)) == (data == "replica")


def play(env, seed, steps=60):
    """A fixed random policy's trajectory, flattened to arrays that can be compared."""
    rng = np.random.default_rng(seed)
    trajectory = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        actions = rng.integers(env.single_action_space.n, size=env.num_envs)
        observation, reward, terminated, truncated, infos = env.step(actions)
        trajectory += [observation, reward, terminated, truncated, infos["item"]]
    return trajectory


@pytest.mark.parametrize("env_id", IDS)
def test_same_seed_same_trajectory(env_id):
    env = gym.make_vec(env_id, num_envs=5)
    first, second, other = play(env, 3), play(env, 3), play(env, 4)
    fresh = play(gym.make_vec(env_id, num_envs=5), 3)
    assert pickle.dumps(first) == pickle.dumps(second) == pickle.dumps(fresh)
    assert pickle.dumps(first) != pickle.dumps(other)


STATEFUL = [(env_id, {}) for env_id in IDS] + [("recsim/LFM-v0", {"user_model": "hac"})]


@pytest.mark.parametrize(("env_id", "arguments"), STATEFUL)
def test_an_environment_continues_from_a_state(env_id, arguments):
    def steps(env, n=40):
        rng, trajectory = np.random.default_rng(1), []
        for _ in range(n):
            actions = rng.integers(env.single_action_space.n, size=env.num_envs)
            trajectory.append(env.step(actions))
        return pickle.dumps(trajectory)

    first = gym.make_vec(env_id, num_envs=5, **arguments)
    play(first, 3, steps=7)
    state = get_state(first)
    kept = pickle.dumps(state)
    expected = steps(first)
    assert pickle.dumps(state) == kept, "the state is shared with the environment"
    second = gym.make_vec(env_id, num_envs=5, **arguments)
    second.reset(seed=9)
    for _ in range(2):
        set_state(second, json.loads(json.dumps(state, default=np.ndarray.tolist)))
        assert steps(second) == expected


@pytest.mark.parametrize(("env_id", "arguments"), STATEFUL)
def test_a_single_environment_continues_from_a_state(env_id, arguments):
    def steps(env, n=40):
        rng, trajectory = np.random.default_rng(1), []
        for _ in range(n):
            trajectory.append(env.step(rng.integers(env.action_space.n)))
            if trajectory[-1][2] or trajectory[-1][3]:
                trajectory.append(env.reset())
            trajectory.append(env.render())
        return pickle.dumps(trajectory)

    first = gym.make(env_id, render_mode="ansi", **arguments)
    first.reset(seed=3)
    first.step(0)
    state = get_state(first)
    expected = steps(first)
    second = gym.make(env_id, render_mode="ansi", **arguments)
    second.reset(seed=9)
    set_state(second, state)
    assert steps(second) == expected


def test_a_state_of_other_settings_is_refused():
    states = {env_id: get_state(gym.make_vec(env_id, num_envs=2)) for env_id in IDS}
    for env_id, arguments, both in (
        ("recsim/LFM-v0", {"split": "test"}, "split='train'.*split='test'"),
        ("recsim/LFM-v0", {"patience": 5.0}, "patience=10.0.*patience=5.0"),
        ("recsim/Coat-v0", {"window": "easyrl4rec"}, "window='exact'.*window='easyrl4rec'"),
        ("recsim/Coat-v0", {"max_steps": 9}, "max_steps=30.*max_steps=9"),
        ("recsim/Coat-v0", {"num_envs": 3}, "n=2.*n=3"),
        ("recsim/Coat-v0", {"autoreset_mode": "NextStep"}, "'SameStep'.*'NextStep'"),
    ):
        env = gym.make_vec(env_id, **{"num_envs": 2, **arguments})
        with pytest.raises(ValueError, match=both):
            set_state(env, states[env_id])
    with pytest.raises(ValueError, match="data='lfm-replica'.*data='industry-replica'"):
        set_state(gym.make_vec("recsim/Industry-v0", num_envs=2), states["recsim/LFM-v0"])


@pytest.mark.parametrize("env_id", IDS)
def test_gym_make_is_a_batch_of_one(env_id):
    env, batch = gym.make(env_id, max_steps=5), gym.make_vec(env_id, num_envs=1, max_steps=5)
    assert batch.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observation, _ = env.reset(seed=7)
    observations, _ = batch.reset(seed=7)
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert_equal_observation(observation, observations, 0)
        action = rng.integers(env.action_space.n)
        observation, reward, terminated, truncated, info = env.step(action)
        observations, rewards, terminations, truncations, infos = batch.step(np.array([action]))
        assert (reward, terminated, truncated) == (rewards[0], terminations[0], truncations[0])
        assert info == {key: infos[key][0] for key in info}
        if terminated or truncated:
            assert_equal_observation(observation, infos["final_obs"], 0)
            observation, _ = env.reset()


def assert_equal_observation(one, many, row):
    if isinstance(one, dict):
        many = many[row] if isinstance(many, np.ndarray) else {k: v[row] for k, v in many.items()}
        assert all(np.array_equal(one[key], many[key]) for key in one)
    else:
        assert np.array_equal(one, many[row])


@pytest.mark.parametrize("env_id", IDS)
def test_what_is_returned_is_never_shared(env_id):
    env = gym.make_vec(env_id, num_envs=4)
    env.reset(seed=0)
    kept, copies = [], []
    for action in range(40):
        observation, reward, terminated, truncated, infos = env.step(np.full(4, action))
        kept.append((observation, reward, terminated, truncated, infos))
        copies.append(pickle.dumps(kept[-1]))
    assert [pickle.dumps(step) for step in kept] == copies


@pytest.mark.parametrize("env_id", IDS)
def test_final_observation_ends_with_the_last_item(env_id):
    env = gym.make_vec(env_id, num_envs=6)
    env.reset(seed=0)
    rng, ends = np.random.default_rng(1), 0
    for _ in range(40):
        actions = rng.integers(env.single_action_space.n, size=6)
        observation, _, terminated, truncated, infos = env.step(actions)
        done = terminated | truncated
        assert np.array_equal(infos["item"], actions)
        assert np.array_equal(infos.get("_final_obs", np.zeros(6, bool)), done)
        for i in np.flatnonzero(done):
            ends += 1
            last = infos["final_obs"][i]
            history = last["history"] if isinstance(last, dict) else last
            assert history[-1] == actions[i]
            new = observation["history"] if isinstance(observation, dict) else observation
            assert (new[i, :-1] == env.dataset.n_items).all()
            assert infos["final_info"]["item"][i] == actions[i]
    assert ends > 5


@pytest.mark.parametrize("env_id", IDS)
def test_leaves_false_keeps_everybody_to_the_cap(env_id):
    env = gym.make_vec(env_id, num_envs=3, leaves=False)
    env.reset(seed=0)
    for step in range(1, 2 * env.simulator.max_steps + 1):
        _, _, terminated, truncated, _ = env.step(np.zeros(3, dtype=int))
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (step % env.simulator.max_steps == 0)


@pytest.mark.parametrize("env_id", IDS)
def test_action_masks_forbid_repeats_on_request(env_id):
    free, masked = gym.make(env_id), gym.make(env_id, repeats="mask", leaves=False)
    free.reset(seed=0)
    masked.reset(seed=0)
    for item in (4, 9):
        free.step(item)
        masked.step(item)
    assert free.unwrapped.action_masks().all()
    assert np.flatnonzero(~masked.unwrapped.action_masks()).tolist() == [4, 9]
    masked.reset()
    assert masked.unwrapped.action_masks().all()


@pytest.mark.parametrize("env_id", IDS)
def test_render_names_the_items_and_the_replica(env_id):
    env = gym.make(env_id, render_mode="ansi", disable_env_checker=True)
    env.reset(seed=0)
    env.step(11)
    text = env.render()
    assert env.unwrapped.dataset.items["text"][11] in text
    assert "REPLICA" in text


@pytest.mark.parametrize("env_id", IDS)
def test_spec_survives_json(env_id):
    env = gym.make(env_id, split="test", repeats="mask")
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.simulator.repeats == "mask"


@pytest.mark.parametrize("env_id", IDS)
def test_bad_arguments_name_themselves(env_id, monkeypatch, tmp_path):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path))
    for arguments, words in (
        ({"data": "nowhere"}, ["'nowhere'", "recsim prepare nowhere"]),
        ({"split": "valid"}, ["split='valid'", "'train'"]),
        ({"repeats": "never"}, ["repeats='never'", "'mask'"]),
        ({"max_steps": 0}, ["max_steps=0"]),
    ):
        with pytest.raises((DataError, ValueError)) as error:
            gym.make(env_id, **arguments)
        assert all(word in str(error.value) for word in words)
    env = gym.make(env_id, disable_env_checker=True)
    with pytest.raises(gym.error.ResetNeeded):
        env.unwrapped.step(0)
    env.reset()
    with pytest.raises(ValueError, match="action=-1 is out of range"):
        env.unwrapped.step(-1)


@pytest.mark.parametrize("env_id", IDS)
def test_batched_vec_env_gives_sb3_what_it_needs(env_id):
    inner = gym.make_vec(env_id, num_envs=4)
    env = BatchedVecEnv(inner)
    env.seed(5)
    first = env.reset()
    env.seed(5)
    again = env.reset()
    assert pickle.dumps(first) == pickle.dumps(again)
    rng, returns = np.random.default_rng(0), np.zeros(4)
    for _ in range(60):
        actions = rng.integers(env.action_space.n, size=4)
        observation, rewards, dones, infos = env.step(actions)
        returns += rewards
        assert [info["item"] for info in infos] == actions.tolist()
        for i in np.flatnonzero(dones):
            last = infos[i]["terminal_observation"]
            assert env.observation_space.contains(last)
            assert infos[i]["episode"]["r"] == pytest.approx(returns[i], abs=1e-4)
            at_cap = infos[i]["episode"]["l"] == inner.simulator.max_steps
            assert not infos[i]["TimeLimit.truncated"] or at_cap
            returns[i] = 0
    assert np.array(env.env_method("action_masks")).shape == (4, env.action_space.n)


def test_batched_vec_env_refuses_another_autoreset_mode():
    env = gym.make_vec("CartPole-v1", num_envs=2)
    with pytest.raises(ValueError, match="SAME_STEP"):
        BatchedVecEnv(env)
