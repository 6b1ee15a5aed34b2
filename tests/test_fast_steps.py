"""Compiled steps against NumPy's, which are the reference."""

import copy
import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsim_envs  # noqa: F401  (registers the ids)
from recsim_envs.compiled import can_compile
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.tables import from_frame
from recsim_envs.rewards.sequence import SequenceReward
from recsim_envs.users.sessions import SessionSimulator

pytestmark = pytest.mark.skipif(not can_compile(), reason="numba is not installed")


def random_reward(rng: np.random.Generator, n_items: int, dim: int, length: int) -> SequenceReward:
    """Random weights, of sizes at which histories matter."""

    def draw(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    weights = {
        "encoder.item_embedding.weight": draw(n_items + 1, dim),
        "encoder.position_embedding.weight": draw(length, dim),
        "encoder.norm.weight": draw(dim, scale=dim**-0.5),
        "encoder.norm.bias": draw(dim, scale=0.1),
        "similarity_embedding.weight": draw(n_items + 1, 24, scale=0.2),
        "item_bias.weight": draw(n_items + 1, 1),
        "lag_weight": draw(length),
        "repeat_bias": draw(length, scale=3.0),
    }
    for layer in range(2):
        for name, rows in (
            ("query_key_value", 3 * dim),
            ("project", dim),
            ("feed_forward.1", dim),
            ("feed_forward.4", dim),
        ):
            block = f"encoder.blocks.{layer}.{name}"
            weights[f"{block}.weight"] = draw(rows, dim, scale=dim**-0.5)
            weights[f"{block}.bias"] = draw(rows, scale=0.3)
        for name in ("attention_norm", "feed_forward.0"):
            block = f"encoder.blocks.{layer}.{name}"
            weights[f"{block}.weight"] = 1 + draw(dim, scale=0.3)
            weights[f"{block}.bias"] = draw(dim, scale=0.3)
    for name in ("encoder.item_embedding", "similarity_embedding", "item_bias"):
        weights[f"{name}.weight"][-1] = 0.0
    return SequenceReward(weights)


def catalogue(n_items: int) -> Dataset:
    rows = [(s, s % n_items, 0) for s in range(2 * n_items)]
    rows += [(s, (s + 1) % n_items, 1) for s in range(2 * n_items)]
    sequence, item, position = zip(*rows, strict=True)
    return from_frame(
        "random",
        {"sequence_id": sequence, "item_id": item, "position": position},
        {"item_id": range(n_items), "title": [f"item {i}" for i in range(n_items)]},
        text="title",
    )


def pair(seed, n, dim, n_items=20, length=6, **rule):
    """The same users twice, compiled and not."""
    rng = np.random.default_rng(seed)
    data = catalogue(n_items)
    reward = random_reward(rng, n_items, dim, length)
    both = [SessionSimulator(n, data, reward, data.train, **rule) for _ in range(2)]
    both[0].fast = True
    return both


def step_both(both, items, rngs):
    (reward, *ends, terms), (wanted, *wanted_ends, wanted_terms) = (
        simulator.step(items, rng) for simulator, rng in zip(both, rngs, strict=True)
    )
    assert reward == pytest.approx(wanted, abs=1e-5)
    assert [end.tolist() for end in ends] == [end.tolist() for end in wanted_ends]
    assert list(terms) == list(wanted_terms)
    for name, values in terms.items():
        assert values.dtype == wanted_terms[name].dtype
        assert values == pytest.approx(wanted_terms[name], abs=1e-4)
    for name, values in both[0].arrays().items():
        assert values == pytest.approx(both[1].arrays()[name], abs=1e-4), name
    return ends[0] | ends[1]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    dim=st.sampled_from([10, 32, 64]),
    user_model=st.sampled_from(["reconstruction", "hac", "kuaisim"]),
    history=st.sampled_from(["shown", "accepted", None]),
    leaves=st.booleans(),
    max_steps=st.sampled_from([3, 12, 60]),
)
def test_compiled_steps_are_numpy_s(seed, dim, user_model, history, leaves, max_steps):
    rule = {"user_model": user_model, "history": history, "leaves": leaves}
    both = pair(seed, 4, dim, max_steps=max_steps, **rule)
    rngs = [np.random.default_rng(seed) for _ in both]
    rng = np.random.default_rng(seed + 1)
    over = np.ones(4, dtype=bool)
    for step in range(25):  # histories hold 6: with 60 steps the window slides
        if over.any():
            for simulator, own in zip(both, rngs, strict=True):
                simulator.reset(over, own)
        over = step_both(both, rng.integers(20, size=4), rngs)
        if step == 10:  # what a state brings back is another history than the one kept
            state = both[1].get_state()
        if step in (12, 18):
            for simulator in both:
                simulator.set_state(copy.deepcopy(state))
            over = state["steps"] >= max_steps
        if step == 15:  # users change places, as in the search for plans
            for simulator in both:
                for values in simulator.arrays().values():
                    values[:] = values[[2, 2, 0, 3]]
            over = over[[2, 2, 0, 3]]


@pytest.mark.parametrize("dim", [32, 64])
def test_a_user_alone_has_the_bits_of_one_in_a_batch(dim):
    rng = np.random.default_rng(0)
    many, _ = pair(0, 16, dim, leaves=False)
    many.reset(np.ones(16, dtype=bool), rng)
    alone = []
    for user in range(16):
        one, _ = pair(0, 1, dim, leaves=False)
        one.history[:] = many.history[user]
        one.patience[:] = many.patience[user]
        alone.append(one)
    for _ in range(9):
        items = rng.integers(20, size=16)
        together = many.step(items, rng)[0]
        by_one = [one.step(items[[u]], rng)[0][0] for u, one in enumerate(alone)]
        assert together.tolist() == by_one


def test_weights_of_items_are_shared():
    fast, _ = pair(0, 1, 32)
    fast.reset(np.ones(1, dtype=bool), np.random.default_rng(0))
    fast.step(np.array([1]), np.random.default_rng(0))
    weights = fast._steps.weights
    assert weights.item is fast.reward.item and weights.similarity is fast.reward.similarity


def test_what_would_leave_the_arrays_is_refused_and_changes_nothing():
    fast, _ = pair(0, 2, 32)
    rng = np.random.default_rng(0)
    fast.reset(np.ones(2, dtype=bool), rng)
    for name, place, value, words in (
        ("history", (1, -1), 99, "history"),
        ("history", (1, -1), -1, "history"),
        ("steps", (1,), 12, "last step"),
        ("steps", (1,), -1, "last step"),
    ):
        kept = fast.arrays()[name][place]
        fast.arrays()[name][place] = value
        before = fast.get_state()
        with pytest.raises(IndexError, match=words):
            fast.step(np.array([0, 1]), rng)
        for array, values in fast.arrays().items():
            assert np.array_equal(values, before[array])
        fast.arrays()[name][place] = kept
    with pytest.raises(IndexError, match="catalogue"):
        fast.step(np.array([0, 20]), rng)


@pytest.mark.parametrize("window", ["exact", "easyrl4rec"])
@pytest.mark.parametrize("leaves", [True, False])
def test_compiled_shoppers_are_numpy_s(window, leaves):
    both = [gym.make_vec("recsim/Coat-v0", 64, window=window, leaves=leaves) for _ in range(2)]
    both[1].simulator.fast = False
    rng = np.random.default_rng(0)
    for env in both:
        env.reset(seed=0)
    for _ in range(70):
        actions = rng.integers(300, size=64)
        fast, plain = (env.step(actions) for env in both)
        assert pickled(fast) == pickled(plain)
    assert both[0].simulator._steps is not None and both[1].simulator._steps is None


@pytest.mark.parametrize("env_id", ["recsim/LFM-v0", "recsim/Industry-v0"])
def test_the_environments_play_the_same_sessions(env_id):
    both = [gym.make_vec(env_id, 32, split="test") for _ in range(2)]
    both[1].simulator.fast = False
    rng = np.random.default_rng(0)
    for env in both:
        env.reset(seed=0)
    for _ in range(30):
        actions = rng.integers(both[0].single_action_space.n, size=32)
        fast, plain = (env.step(actions) for env in both)
        assert fast[1] == pytest.approx(plain[1], abs=1e-5)
        for mine, theirs in zip((fast[0], *fast[2:4]), (plain[0], *plain[2:4]), strict=True):
            assert np.array_equal(mine, theirs)


def pickled(value):
    """What compares equal bit for bit."""
    if isinstance(value, dict):
        return {key: pickled(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [pickled(each) for each in value]
    if isinstance(value, np.ndarray):
        return [pickled(each) for each in value] if value.dtype.hasobject else value.tolist()
    return value


PLAYS = """
import gymnasium as gym
import recsim_envs
env = gym.make("recsim/Coat-v0")
env.reset(seed=0)
print(env.step(3)[1], env.unwrapped.simulator._steps is not None)
"""


def play_in_a_process(**environment):
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", PLAYS],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


def test_numba_s_own_switch_and_a_cache_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    plain = play_in_a_process(NUMBA_DISABLE_JIT="1")
    assert plain[1] == "False"
    # No folder can be made below a file: neither the one named, nor what stands in for it.
    compiled = play_in_a_process(
        NUMBA_CACHE_DIR=str(blocked / "x"), NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator"
    )
    assert compiled == [plain[0], "True"]


def test_masks_are_what_was_shown_and_cannot_be_written():
    env = gym.make_vec("recsim/Coat-v0", 3, repeats="mask", leaves=False)
    env.reset(seed=0)
    for _ in range(65):  # two resets
        allowed = env.action_masks()
        assert np.array_equal(allowed, ~env.simulator.already_shown())
        env.step(np.array([np.flatnonzero(row)[7] for row in allowed]))
    with pytest.raises(ValueError, match="read-only"):
        allowed[0, 0] = False


FULL = """
import numba.core.caching
def no_space(*_):
    raise OSError(28, "No space left on device")
numba.core.caching.Cache.save_overload = no_space
numba.core.caching.Cache.load_overload = lambda *_: None
"""


def test_a_full_disk_does_not_stop_a_step():
    code = FULL + PLAYS.replace("env.step(3)[1]", "env.step(3)[1], env.step(200)[1]")
    command = [sys.executable, "-W", "error", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[-1] == "True"
