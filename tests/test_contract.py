"""What other libraries rely on: Gymnasium's, SB3's and multiprocessing's side of the contract."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as vector_wrappers
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import recsim_envs  # noqa: F401  (registers the ids)
from ialp_agents import IALP
from llm_oracle import NONE, LLMOracleEnv, LLMOracleVectorEnv, PopularityJudge
from recsim_envs.sb3 import BatchedVecEnv
from recsim_envs.state import get_state

IDS = [spec.id for spec in gym.registry.values() if spec.namespace == "recsim"]
SAME_STEP = {"autoreset_mode": AutoresetMode.SAME_STEP}
# All ids, and the other form of their observation.
WORLDS = [(env_id, {}) for env_id in IDS] + [("recsim/LFM-v0", {"history": "accepted"})]
worlds = pytest.mark.parametrize(("env_id", "arguments"), WORLDS)
ids = pytest.mark.parametrize("env_id", IDS)


def make_sync(env_id, n=2, mode=AutoresetMode.SAME_STEP, **arguments):
    return gym.make_vec(
        env_id, n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **arguments
    )


def flat(value):
    """Arrays and numbers as what compares equal, whatever holds them."""
    if isinstance(value, dict):
        return {key: flat(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [flat(each) for each in value]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return [flat(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


# The type of an exception


@ids
def test_a_render_mode_that_is_not_supported_is_a_type_error(env_id):
    with pytest.warns(UserWarning, match="depth_array"), pytest.raises(TypeError, match="'ansi'"):
        gym.make(env_id, render_mode="depth_array")
    with pytest.raises(TypeError, match="render_mode='human'.*'rgb_array'"):
        gym.make_vec(env_id, num_envs=2, render_mode="human")


@ids
def test_sb3_makes_the_ids_by_their_names(env_id):
    is_dict = isinstance(gym.make(env_id).observation_space, gym.spaces.Dict)
    policy = "MultiInputPolicy" if is_dict else "MlpPolicy"
    PPO(policy, env_id, n_steps=8, batch_size=8, n_epochs=1).learn(8)
    A2C(policy, env_id).learn(5)
    IALP("SASRecPolicy", env_id).learn(2)
    env = make_vec_env(env_id, n_envs=2)
    env.reset()
    env.step([0, 1])


# Processes

SCRIPT = """
import multiprocessing, sys
import gymnasium as gym, numpy as np
import recsim_envs
IDS = {ids}
PREFIXED = ["recsim_envs:" + env_id for env_id in IDS]

def play(env_id):
    env = gym.make(env_id)
    env.reset(seed=0)
    return [env.step(item)[1] for item in range(2)]

def check(env):
    env.reset()
    for _ in range(3):
        env.step(np.zeros(2, dtype=int))
    env.close()

if __name__ == "__main__":
    expected = [play(env_id) for env_id in IDS]
    for env_id in IDS:
        env = gym.make_vec(env_id, 2)
        check(env)
        assert len(env.dataset.items) and env.dataset.items["text"].str.len().sum()
        assert (env.dataset.users is None) == (env.dataset.n_users == 0)
    heavy = {{"torch", "polars", "sklearn", "recsim_envs.rewards.fit"}}
    assert not heavy & set(sys.modules), "making an environment imports too much"
    {body}
    print("done")
"""
ASYNC = """
    for env_id in {names}:
        check(gym.make_vec(
            env_id, 2, vectorization_mode="async", vector_kwargs={{"context": "{method}"}}
        ))
"""
SUBPROC = """
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv
    for env_id in {names}:
        check(make_vec_env(
            env_id, 2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={{"start_method": {method!r}}}
        ))
"""
POOL = """
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert pool.map(play, PREFIXED) == expected
"""
LOADER = """
    from torch.utils.data import DataLoader
    settings = {{"num_workers": 2, "multiprocessing_context": "{method}"}}
    loader = DataLoader(PREFIXED, batch_size=None, collate_fn=play, **settings)
    assert list(loader) == expected
"""
TRAINED = """
    import torch
    from stable_baselines3 import A2C
    torch.set_num_threads(2)
    A2C("MlpPolicy", gym.make("recsim/LFM-v0")).learn(20)
"""
SCENARIOS = {
    "async-fork": ASYNC.format(method="fork", names="IDS"),
    "async-spawn": ASYNC.format(method="spawn", names="IDS[:1]"),
    "async-forkserver": ASYNC.format(method="forkserver", names="IDS[-1:]"),
    "subproc-default": SUBPROC.format(method=None, names="IDS[:1]"),  # forkserver
    "pool-fork": POOL.format(method="fork"),
    "pool-spawn": POOL.format(method="spawn"),
    "loader-fork": LOADER.format(method="fork"),
    "training-subproc-fork": TRAINED + SUBPROC.format(method="fork", names="IDS"),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_environments_are_made_in_other_processes_after_one_was_made_here(scenario, tmp_path):
    script, output = tmp_path / "script.py", tmp_path / "output"
    script.write_text(SCRIPT.format(ids=IDS, body=SCENARIOS[scenario].strip()))
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, script],
            stdout=file,
            stderr=file,
            env={**os.environ, **path},
            start_new_session=True,  # so that children that hang are ended too
        )
        try:
            code = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail(f"{scenario} hangs:\n{output.read_text()}")
    assert (code, output.read_text().splitlines()[-1:]) == (0, ["done"]), output.read_text()


# Layouts of infos


@worlds
def test_batched_vec_env_over_gymnasiums_own_is_sb3s_dummy(env_id, arguments):
    """The slow path step by step: observations, rewards, ends, and all infos."""
    arguments = {"max_steps": 4, **arguments}
    dummy = DummyVecEnv([lambda: gym.make(env_id, **arguments) for _ in range(3)])
    batched = BatchedVecEnv(make_sync(env_id, 3, **arguments))
    compare_vec_envs(dummy, batched)
    dummy = DummyVecEnv([lambda: gym.make(env_id, **arguments)])
    compare_vec_envs(dummy, BatchedVecEnv(gym.make_vec(env_id, num_envs=1, **arguments)))
    compare_vec_envs(dummy, BatchedVecEnv(make_sync(env_id, 1, **arguments)))


def compare_vec_envs(expected, actual, steps=15):
    expected.seed(3)
    actual.seed(3)
    assert flat(expected.reset()) == flat(actual.reset())
    assert expected.reset_infos == actual.reset_infos
    rng, ends = np.random.default_rng(0), 0
    for _ in range(steps):
        actions = rng.integers(expected.action_space.n, size=expected.num_envs)
        theirs, ours = expected.step(actions), actual.step(actions)
        assert flat(theirs[:3]) == flat(ours[:3])
        assert [info["item"] for info in ours[3]] == actions.tolist()
        ends += theirs[2].sum()
        for done, info, our_info in zip(theirs[2], theirs[3], ours[3], strict=True):
            assert (our_info.pop("episode", None) is not None) == done  # there, Monitor's
            assert all(type(info[key]) is type(our_info[key]) for key in our_info)
            if not done:  # where SB3 reads it
                del info["TimeLimit.truncated"]
            assert flat(info) == flat(our_info)
    assert ends >= 3 * expected.num_envs


def test_batched_vec_env_over_an_async_vector_env():
    env = BatchedVecEnv(
        gym.make_vec(
            "recsim/Coat-v0",
            2,
            vectorization_mode="async",
            vector_kwargs=SAME_STEP,
            max_steps=2,
            leaves=False,
        )
    )
    try:
        env.reset()
        for step in range(4):
            _, _, dones, infos = env.step(np.array([step, 7]))
            assert [info["item"] for info in infos] == [step, 7]
            assert dones.all() == (step % 2 == 1)
        assert np.array(env.env_method("action_masks")).shape == (2, 300)
        assert [data.n_users for data in env.get_attr("dataset")] == [290, 290]
    finally:
        env.close()


def test_an_info_of_some_users_only_reaches_these():
    class Hinted(gym.vector.VectorWrapper):
        def step(self, actions):
            *rest, infos = self.env.step(actions)
            odd = np.arange(self.num_envs) % 2 == 1
            nested = {"depth": np.where(odd, 2.5, 0.0), "_depth": odd}
            infos |= {"hint": nested, "_hint": odd, "place": np.eye(self.num_envs)}
            return *rest, infos

    env = BatchedVecEnv(Hinted(gym.make_vec("recsim/Coat-v0", num_envs=3)))
    env.reset()
    infos = env.step(np.arange(3))[3]
    assert ["hint" in info for info in infos] == [False, True, False]
    assert infos[1]["hint"] == {"depth": 2.5}
    assert infos[2]["place"].tolist() == [0.0, 0.0, 1.0]


# Input is checked before any state changes


def states(env):
    """What an action may not change when it is refused."""
    inner = env.env if isinstance(env, BatchedVecEnv) else env
    if isinstance(inner.unwrapped, gym.vector.SyncVectorEnv):
        return pickle.dumps([get_state(each) for each in inner.unwrapped.envs])
    return pickle.dumps(get_state(inner))


class Counting(PopularityJudge):
    calls = 0

    def choose(self, histories, slates, users=None):
        self.calls += 1
        return super().choose(histories, slates, users)


def makers(env_id, arguments):
    """Every way to make an environment of two users, or one, and the shape of its actions."""

    def vector(**more):
        return gym.make_vec(env_id, num_envs=2, **arguments, **more)

    def single():
        return gym.make(env_id, disable_env_checker=True, **arguments)

    judge = Counting(vector().dataset)
    return {
        "single": (single, (), judge),
        "vector": (vector, (2,), judge),
        "next step": (lambda: vector(autoreset_mode="NextStep"), (2,), judge),
        "disabled": (lambda: vector(autoreset_mode="Disabled"), (2,), judge),
        "statistics": (lambda: vector_wrappers.RecordEpisodeStatistics(vector()), (2,), judge),
        "sb3": (lambda: BatchedVecEnv(vector()), (2,), judge),
        "sb3 sync": (lambda: BatchedVecEnv(make_sync(env_id, **arguments)), (2,), judge),
        "oracle": (lambda: LLMOracleEnv(single(), judge, k=3), (3,), judge),
        "oracle vector": (lambda: LLMOracleVectorEnv(vector(), judge, k=3), (2, 3), judge),
        "oracle sync": (
            lambda: LLMOracleVectorEnv(make_sync(env_id, **arguments), judge, k=3),
            (2, 3),
            judge,
        ),
        "oracle sb3": (
            lambda: BatchedVecEnv(LLMOracleVectorEnv(vector(), judge, k=3)),
            (2, 3),
            judge,
        ),
    }


MADE = list(makers(*WORLDS[0]))


def bad_actions(shape, n_items):
    """For actions of ``shape``: one place that is no item, all of them, and other shapes."""
    for item in (3.9, 3.0, True, "3", None, np.nan, -1, n_items, 2**70):
        places = np.zeros(shape, dtype=object)
        places[(-1,) * len(shape)] = item
        yield from (places, places.tolist(), np.full(shape, item))
    yield from ([[0], [0, 1]], {}, np.zeros((*shape, 1), dtype=int), np.zeros((5, *shape), int))
    if shape:
        yield from (0, np.zeros(shape[:-1], dtype=int), np.zeros((*shape[:-1], 9), dtype=int))


@pytest.mark.parametrize("how", MADE)
@worlds
def test_a_bad_action_changes_nothing(env_id, arguments, how):
    make, shape, judge = makers(env_id, arguments)[how]
    env = make()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(shape, dtype=int))
    env.reset()
    before, asked = states_of(env, how), judge.calls
    for action in bad_actions(shape, judge.n_items):
        with pytest.raises(ValueError, match="action"):
            env.step(action)
        assert states_of(env, how) == before, action
    assert judge.calls == asked
    env.step(np.zeros(shape, dtype=int))
    assert states_of(env, how) != before


def states_of(env, how):
    if how == "statistics":  # a wrapper that recsim does not know
        env = env.env
    if how == "oracle sync":
        env = env.env
    return states(env)


@ids
def test_after_a_sessions_end_a_step_is_refused(env_id):
    judge = Counting(gym.make(env_id).unwrapped.dataset)
    single = gym.make(env_id, max_steps=1)
    for env, action in ((single, 0), (LLMOracleEnv(single, judge, k=2), [0, 1])):
        env.reset()
        env.step(action)
        asked = judge.calls
        with pytest.raises(gym.error.ResetNeeded):
            env.step(action)
        assert judge.calls == asked


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "2", None])
@ids
def test_a_bad_number_of_users_is_refused(env_id, n):
    with pytest.raises(ValueError, match=f"num_envs={n!r}"):
        gym.make_vec(env_id, num_envs=n)


# Requests


@worlds
def test_a_session_starts_as_it_was_chosen(env_id, arguments):
    env = gym.make(env_id, **arguments).unwrapped
    env.reset(seed=0)
    for name, start in some_starts(env).items():
        for value in (start[0], int(start[0]), [start[0]]):
            observation, _ = env.reset(options={name: value})
            assert begins_with(env, observation, name) == start[0]
    vector = gym.make_vec(env_id, num_envs=3, **arguments)
    for name, start in some_starts(env).items():
        observation, _ = vector.reset(options={name: start})
        assert begins_with(vector, observation, name).tolist() == start.tolist()
        observation, _ = vector.reset(options={name: start[1]})
        assert (begins_with(vector, observation, name) == start[1]).all()


def some_starts(env):
    """Three ids for each thing that can be chosen."""
    starts = {name: np.array([2, 0, n - 1]) for name, n in env.simulator.choices.items()}
    assert set(starts) in ({"user"}, {"start_item", "sequence"})
    return {**starts, **({"sequence": env.dataset.train[[5, 0, 9]]} if len(starts) > 1 else {})}


def begins_with(env, observation, name):
    """The chosen ids that the observation shows."""
    if name == "user":
        return observation["user"]
    history = observation["history"] if isinstance(observation, dict) else observation
    assert (history[..., :-1] == env.dataset.n_items).all()
    if name == "start_item":
        return history[..., -1]
    first = {env.dataset.sequences[s][0]: s for s in some_starts(env)["sequence"]}
    return np.vectorize(first.get)(history[..., -1])


@worlds
def test_a_reset_mask_replaces_these_users_only(env_id, arguments):
    env = gym.make_vec(env_id, num_envs=3, **arguments)
    env.reset(seed=0)
    before, *_ = env.step(np.array([4, 5, 6]))
    name, start = next(iter(some_starts(env).items()))
    options = {"reset_mask": np.array([True, False, True]), name: start}
    after, infos = env.reset(options=options)
    assert set(options) == {"reset_mask", name}, "the caller's options were changed"
    assert flat(after)[1] == flat(before)[1] if not isinstance(after, dict) else True
    assert infos["_item"].tolist() == [True, False, True]
    assert env.simulator.steps.tolist() == [0, 1, 0]
    chosen = {key: rows[[0, 2]] for key, rows in after.items()} if isinstance(after, dict) else None
    chosen = after[[0, 2]] if chosen is None else chosen
    assert begins_with(env, chosen, name).tolist() == start[[0, 2]].tolist()


@worlds
def test_bad_options_change_nothing(env_id, arguments):
    env = gym.make_vec(env_id, num_envs=2, **arguments)
    single = gym.make(env_id, **arguments)
    bad = [{"colour": 3}]
    for name, start in some_starts(env).items():
        n = env.simulator.choices[name]
        bad += [{name: value} for value in (-1, n, 1.0, True, "1", None, [0, 0, 0], [[0, 0]], [])]
        bad += [{name: start[0], "colour": 3}]
    if "sequence" in env.simulator.choices:
        bad += [{"sequence": int(env.dataset.held_out[0])}, {"sequence": 0, "start_item": 0}]
    for vector, masks in ((single, [[True]]), (env, [[False, False], [1, 0], [True], "all", []])):
        vector.reset(seed=0)
        before = pickle.dumps(get_state(vector))
        for options in bad + [{"reset_mask": mask} for mask in masks]:
            with pytest.raises(ValueError, match="options"):
                vector.reset(seed=1, options=options)
            assert pickle.dumps(get_state(vector)) == before, options


@worlds
def test_options_reach_the_users_through_every_layer(env_id, arguments):
    inner = gym.make_vec(env_id, num_envs=3, **arguments)
    judge = PopularityJudge(inner.dataset)
    oracle = LLMOracleVectorEnv(inner, judge, k=2)
    for env in (BatchedVecEnv(inner), BatchedVecEnv(oracle)):
        for name, start in some_starts(inner).items():
            env.set_options({name: start})
            assert begins_with(inner, env.reset(), name).tolist() == start.tolist()
            env.set_options({name: start[1]})
            assert (begins_with(inner, env.reset(), name) == start[1]).all()
            env.set_options([{name: start[0]}, {}, {name: start[2]}])
            observation = env.reset()
            rows = observation[name] if name == "user" else start
            assert [rows[0], rows[2]] == [start[0], start[2]]
            env.reset()  # options are used once
        with pytest.raises(ValueError, match="2 options for 3 users"):
            env.set_options([{}, {}])
    for name, start in some_starts(inner).items():
        sync = BatchedVecEnv(make_sync(env_id, 3, **arguments))
        sync.set_options([{name: each} for each in start])
        assert begins_with(inner, sync.reset(), name).tolist() == start.tolist()
        single = LLMOracleEnv(gym.make(env_id, **arguments), judge, k=2)
        observation, _ = single.reset(options={name: start[0]})
        assert begins_with(inner, observation, name) == start[0]


# Autoreset


@pytest.mark.parametrize("mode", AutoresetMode)
@worlds
def test_a_vector_environment_of_one_is_gymnasiums_own(env_id, arguments, mode):
    """The same observations, rewards, ends and infos, in each autoreset mode."""
    ours = gym.make_vec(env_id, num_envs=1, autoreset_mode=mode, max_steps=3, **arguments)
    theirs = make_sync(env_id, 1, mode, max_steps=3, **arguments)
    assert ours.metadata["autoreset_mode"] == ours.autoreset_mode == mode
    assert flat(ours.reset(seed=5)) == flat(theirs.reset(seed=5))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(20):
        action = rng.integers(ours.single_action_space.n, size=1)
        one, other = ours.step(action), theirs.step(action)
        done = one[2] | one[3]
        ends += done[0]
        if mode == AutoresetMode.SAME_STEP and done[0]:
            # Gymnasium's infos are then those of the reset; in both, final_info is the step's.
            assert set(one[4]) == set(other[4])
            one, other = ((*step[:4], step[4]["final_info"]) for step in (one, other))
        assert flat(one) == flat(other)
        if mode == AutoresetMode.NEXT_STEP and ends and not done[0]:
            break  # ours has drawn a response for everybody, theirs for the users that play
        if mode == AutoresetMode.DISABLED and done[0]:
            with pytest.raises(gym.error.ResetNeeded, match="1 of 1 users have no session"):
                ours.step(action)
            resets = [env.reset(options={"reset_mask": done.copy()}) for env in (ours, theirs)]
            assert flat(resets[0]) == flat(resets[1])
    assert ends >= (1 if mode == AutoresetMode.NEXT_STEP else 4)


@pytest.mark.parametrize("mode", AutoresetMode)
@ids
def test_gymnasiums_vector_wrappers_take_it(env_id, mode):
    """Six users under wrappers: statistics equal what was paid, in each mode."""
    users = gym.make_vec(env_id, num_envs=6, autoreset_mode=mode)
    env = vector_wrappers.RecordEpisodeStatistics(users)
    if mode != AutoresetMode.SAME_STEP:
        env = vector_wrappers.FlattenObservation(env)
    observation, _ = env.reset(seed=0)
    rng, returns, lengths = np.random.default_rng(0), np.zeros(6), np.zeros(6)
    ended, done = 0, np.zeros(6, dtype=bool)
    for _ in range(60):
        assert env.observation_space.contains(observation)
        begins = done & (mode == AutoresetMode.NEXT_STEP)
        actions = rng.integers(env.single_action_space.n, size=6)
        observation, rewards, terminated, truncated, infos = env.step(actions)
        assert (rewards[begins] == 0).all() and (infos["item"][~begins] == actions[~begins]).all()
        done = terminated | truncated
        assert not done[begins].any()
        returns += rewards
        lengths += ~begins
        if done.any():
            assert infos["episode"]["r"][done] == pytest.approx(returns[done])
            assert infos["episode"]["l"][done].tolist() == lengths[done].tolist()
            returns[done] = lengths[done] = 0
            ended += done.sum()
            if mode == AutoresetMode.DISABLED:
                observation, _ = env.reset(options={"reset_mask": done.copy()})
    assert ended > 6


def test_observations_of_box_are_normalised():
    users = gym.make_vec("recsim/LFM-v0", num_envs=4, autoreset_mode="NextStep")
    env = vector_wrappers.NormalizeObservation(users)
    env.reset(seed=0)
    for _ in range(15):
        observation, *_ = env.step(np.zeros(4, dtype=int))
        assert env.observation_space.contains(observation.astype(np.float32))


@ids
def test_the_autoreset_mode_is_an_argument_of_the_spec(env_id):
    env = gym.make_vec(env_id, num_envs=2, autoreset_mode="NextStep")
    again = gym.make_vec(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert (again.num_envs, again.autoreset_mode) == (2, AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="autoreset_mode='later'.*'SameStep'"):
        gym.make_vec(env_id, autoreset_mode="later")


# What the slow path has, the fast path has


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@worlds
def test_the_fast_path_has_what_the_slow_path_has(env_id, arguments):
    inner = gym.make_vec(env_id, num_envs=4, repeats="mask", **arguments)
    wrapped = vector_wrappers.RecordEpisodeStatistics(inner)
    batched = BatchedVecEnv(wrapped)
    monitor = VecMonitor(batched, info_keywords=("distinct", "item", "TimeLimit.truncated"))
    assert is_masking_supported(monitor)
    monitor.reset()
    ended = 0
    for step in range(40):
        items = np.arange(4) + 4 * step
        _, _, dones, infos = monitor.step(items)
        for i in np.flatnonzero(dones):
            assert infos[i]["episode"]["distinct"] == infos[i]["distinct"] == 1.0
            assert infos[i]["episode"]["item"] == items[i]
            ended += 1
    assert ended
    assert np.array_equal(get_action_masks(monitor), inner.action_masks())
    assert monitor.get_attr("dataset", indices=[0, 2]) == [inner.dataset, inner.dataset]
    assert monitor.has_attr("dataset") and not monitor.has_attr("nothing")
    judge = PopularityJudge(inner.dataset)
    oracle = BatchedVecEnv(LLMOracleVectorEnv(wrapped, judge, k=2))
    assert oracle.get_attr("judge", indices=1) == [judge]
    assert np.array_equal(oracle.env_method("action_masks"), inner.action_masks())
    oracle.set_attr("reward", "env")
    assert oracle.env.reward == "env"
    slow = make_vec_env(
        env_id,
        n_envs=2,
        env_kwargs={"render_mode": None, **arguments},
        monitor_kwargs={"info_keywords": ("distinct",)},
    )
    assert is_masking_supported(slow)


# Infos


@worlds
def test_the_infos_of_reset_have_the_keys_and_types_of_steps(env_id, arguments):
    single = gym.make(env_id, **arguments)
    judge = PopularityJudge(single.unwrapped.dataset)
    for env, action in ((single, 0), (LLMOracleEnv(single, judge, k=2), [0, 1])):
        _, first = env.reset()
        _, _, _, _, then = env.step(action)
        assert {key: type(value) for key, value in first.items()} == {
            key: type(value) for key, value in then.items()
        }
        assert first["item"] == judge.n_items and first["distinct"] == 0.0
    assert first["pick"] == NONE
    users = gym.make_vec(env_id, num_envs=2, **arguments)
    for env, action in (
        (users, [0, 1]),
        (LLMOracleVectorEnv(users, judge, k=2), [[0, 1], [2, 3]]),
        (LLMOracleVectorEnv(make_sync(env_id, **arguments), judge, k=2), [[0, 1], [2, 3]]),
    ):
        _, first = env.reset()
        _, _, _, _, then = env.step(np.array(action))
        assert {key: value.dtype for key, value in first.items()} == {
            key: value.dtype for key, value in then.items() if "final" not in key
        }
        _, first = env.reset(options={"reset_mask": np.array([False, True])})
        assert all(mask.tolist() == [False, True] for key, mask in first.items() if key[0] == "_")


@worlds
def test_the_judges_infos_end_a_session(env_id, arguments):
    """Over recsim's and over Gymnasium's vector environments."""
    for make in (gym.make_vec, make_sync):
        users = make(env_id, 2, max_steps=2, leaves=False, **arguments)
        judge = PopularityJudge(gym.make(env_id).unwrapped.dataset)
        env = LLMOracleVectorEnv(users, judge, k=2)
        assert env.autoreset_mode == AutoresetMode.SAME_STEP
        env.reset()
        slates = np.array([[3, 3], [4, 4]])
        env.step(slates)
        infos = env.step(slates)[4]
        for at in (infos, infos["final_info"]):
            assert at["item"].tolist() == [3, 4] and at["_item"].all()
            assert at["pick"].shape == (2,) and at["_pick"].all()
            assert (at["distinct"] == 0.5).all() or make is make_sync
        assert (infos["final_info"]["distinct"] == 0.5).all()
