"""What an agent and a judge did is recorded as it was, and kept in a file that can be trusted."""

import sys

import gymnasium as gym
import numpy as np
import pytest

import recsim_envs  # noqa: F401  (registers the environments)
from ialp_agents import IALP
from llm_oracle import NONE, LLMOracleVectorEnv, PopularityJudge
from llm_oracle.cli import main
from llm_oracle.interactions import Interactions
from llm_oracle.minari_export import export_minari
from llm_oracle.recording import RecordInteractions
from recsim_envs.errors import DataError
from recsim_envs.sb3 import BatchedVecEnv
from recsim_envs.state import get_state, set_state
from recsim_envs.trees import from_bytes, to_bytes

ACCEPTED = {"history": "accepted"}
K, N, STEPS = 4, 3, 30


def oracle(env_id="recsim/Coat-v0", **kwargs):
    users = gym.make_vec(env_id, num_envs=N, **{"max_steps": 7, **kwargs})
    counts = np.arange(users.dataset.n_items) % 3  # a slate of items that nobody took: None
    return LLMOracleVectorEnv(users, PopularityJudge(users.dataset, counts), k=K)


def rows_of(observation, user):
    """A user's part of an observation, by name."""
    if isinstance(observation, dict):
        return {name: np.array(values[user]) for name, values in observation.items()}
    return {"history": np.array(observation[user])}


def steps(env, rng, n=STEPS):
    for _ in range(n):
        slates = rng.integers(env.single_action_space.nvec[0], size=(N, K))
        slates[rng.random(N) < 0.3] //= 3
        slates[rng.random(N) < 0.2] *= 0  # item 0 has no counts
        yield slates, env.step(slates)


@pytest.mark.parametrize(
    "env_id, kwargs",
    [("recsim/Coat-v0", {}), ("recsim/Industry-v0", {}), ("recsim/Industry-v0", ACCEPTED)],
)
def test_sessions_are_those_that_the_environment_gave(env_id, kwargs):
    """Told by hand, from an environment without the recorder."""
    env = oracle(env_id, **kwargs)
    observation, _ = env.reset(seed=0)
    running = [{"seen": [rows_of(observation, i)], "steps": []} for i in range(N)]
    expected = []
    for slates, (observation, rewards, over, cut, infos) in steps(env, np.random.default_rng(0)):
        for i in range(N):
            last = infos["final_obs"][i] if over[i] or cut[i] else None
            if last is None:
                last = rows_of(observation, i)
            elif not isinstance(last, dict):
                last = {"history": last}
            running[i]["seen"].append(last)
            picked = infos["pick"][i] >= 0
            assert rewards[i] == picked
            assert not picked or infos["item"][i] == slates[i][infos["pick"][i]]
            step = (slates[i], infos["pick"][i], infos["item"][i], rewards[i], over[i], cut[i])
            running[i]["steps"].append(step)
            if over[i] or cut[i]:
                expected.append(running[i])
                running[i] = {"seen": [rows_of(observation, i)], "steps": []}
    n_ended = len(expected)
    expected += [each for each in running if each["steps"]]

    recorder = RecordInteractions(oracle(env_id, **kwargs))
    recorder.reset(seed=0)
    for _ in steps(recorder, np.random.default_rng(0)):
        pass
    found = list(recorder.interactions().sessions())
    assert len(found) == len(expected) > n_ended > N
    assert {NONE} < set(recorder.interactions().steps["picks"].flat)
    rest = list(expected)
    for session in found:
        same = [
            each for each in rest if np.array_equal([s[0] for s in each["steps"]], session.slates)
        ]
        told = same[0]
        rest = [each for each in rest if each is not told]
        for name, values in session.observations.items():
            assert np.array_equal(values, [seen[name] for seen in told["seen"]])
        _, picks, items, rewards, over, cut = zip(*told["steps"], strict=True)
        assert session.picks.tolist() == list(picks)
        assert session.items.tolist() == list(items)
        assert session.rewards.tolist() == list(rewards)
        assert session.terminations.tolist() == list(over)
        assert session.truncations[:-1].tolist() == list(cut[:-1])
        assert session.truncations[-1] == (not over[-1])  # the recording's end cuts a session
    assert not rest


def test_a_reset_cuts_the_sessions_that_it_replaces():
    env = RecordInteractions(oracle(leaves=False))
    env.reset(seed=5)
    slates = np.tile(np.arange(K), (N, 1))
    for _ in range(3):
        env.step(slates)
    observation, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    env.step(slates)
    sessions = list(env.interactions().sessions())
    assert sorted(len(session.items) for session in sessions) == [1, 3, 4, 4]
    assert all(
        session.truncations[-1] and not session.truncations[:-1].any() for session in sessions
    )
    new = next(session for session in sessions if len(session.items) == 1)
    assert np.array_equal(new.observations["history"][0], observation["history"][1])
    assert env.interactions().about["seeds"] == [5]


def test_a_resumed_recording_is_the_unbroken_one():
    whole = RecordInteractions(oracle())
    whole.reset(seed=0)
    for _ in steps(whole, np.random.default_rng(1)):
        pass
    rng = np.random.default_rng(1)
    first = RecordInteractions(oracle())
    first.reset(seed=0)
    for _ in steps(first, rng, 11):
        pass
    state = get_state(first)
    second = RecordInteractions(oracle())
    second.reset(seed=9)
    set_state(second, from_bytes(to_bytes({"format": 1, "state": state}), "", 1, {})["state"])
    for _ in steps(second, rng, STEPS - 11):
        pass
    assert same(second.interactions(), whole.interactions())


def same(a, b):
    return a.about == b.about and all(
        of_a.keys() == of_b.keys() and all(np.array_equal(of_a[name], of_b[name]) for name in of_a)
        for of_a, of_b in (
            (a.steps, b.steps),
            (a.observations, b.observations),
            (a.next_observations, b.next_observations),
        )
    )


def pretrained(**kwargs):
    """A few verdicts of a pre-training, recorded."""
    recorder = RecordInteractions(oracle(leaves=False, **kwargs))
    sizes = {"embedding_dim": 8, "n_layers": 1}
    policy_kwargs = {"features_extractor_kwargs": sizes}
    env = BatchedVecEnv(recorder)
    model = IALP("SASRecPolicy", env, policy_kwargs=policy_kwargs, seed=3, batch_size=4)
    return model.learn(10 * N), recorder


def test_a_pretraining_is_recorded_as_its_buffer_has_it():
    model, recorder = pretrained()
    found = recorder.interactions()
    buffer = model.replay_buffer
    assert np.array_equal(found.steps["items"], buffer.actions[: buffer.pos, :, 0])
    assert np.array_equal(found.steps["rewards"], buffer.rewards[: buffer.pos])
    before, after = buffer.observations["history"], buffer.next_observations["history"]
    assert np.array_equal(found.observations["history"], before[: buffer.pos])
    assert np.array_equal(found.next_observations["history"], after[: buffer.pos])
    assert found.about["seeds"] == [3]
    assert found.about["judge"] == {"name": "popularity"}
    assert found.about["kwargs"] == {"max_steps": 7, "leaves": False}
    assert found.about["data"]["replica"] is True


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    file = tmp_path_factory.mktemp("recorded") / "new" / "interactions.safetensors"
    recorder = RecordInteractions(oracle())
    recorder.reset(seed=0)
    for _ in steps(recorder, np.random.default_rng(0), 8):
        pass
    recorder.save(file)
    return file, recorder.interactions()


def test_the_file_holds_all_and_no_text(recorded):
    file, interactions = recorded
    assert same(Interactions.load(file), interactions)
    texts = oracle().env.dataset.items["text"]
    assert not any(text.encode() in file.read_bytes() for text in texts[:50])


def test_a_changed_byte_is_refused(recorded, tmp_path):
    content = recorded[0].read_bytes()
    file = tmp_path / "interactions.safetensors"
    for place in np.random.default_rng(0).integers(len(content), size=60).tolist():
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError, match="interactions.safetensors"):
            Interactions.load(file)


def test_what_does_not_fit_together_is_refused(recorded, tmp_path):
    """Signed by somebody who knows how."""
    tree = from_bytes(recorded[0].read_bytes(), "", 1, {})
    file = tmp_path / "interactions.safetensors"
    shown = tree["steps"]["items"]
    changes = {
        "rewards is float64 of shape": ("steps", "rewards", tree["steps"]["rewards"][1:]),
        "picks is float64": ("steps", "picks", tree["steps"]["picks"].astype(float)),
        "an item shown is none of its slate": ("steps", "items", shown + 1),
        "observations do not fit": ("observations", "history", np.zeros((8, N, 2), np.int32)),
        "it holds": ("steps", "begins", "yes"),
    }
    file.write_bytes(to_bytes({**tree, "about": {**tree["about"], "env": 3}}))
    with pytest.raises(DataError, match=r"\.safetensors: 'env' is '3', not of type str"):
        Interactions.load(file)
    for message, (part, name, value) in changes.items():
        file.write_bytes(to_bytes({**tree, part: {**tree[part], name: value}}))
        with pytest.raises(DataError, match=rf"interactions\.safetensors is no.*{message}"):
            Interactions.load(file)


def test_other_environments_are_refused():
    users = gym.make_vec(
        "recsim/Coat-v0",
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    judge = PopularityJudge(oracle().env.dataset)
    with pytest.raises(ValueError, match="the judge's users are SyncVectorEnv"):
        RecordInteractions(LLMOracleVectorEnv(users, judge))
    with pytest.raises(ValueError, match="nothing was recorded yet"):
        RecordInteractions(oracle()).interactions()


def test_a_missing_minari_is_one_line(recorded, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs h5py: pip install 'recsim-ialp\[minari\]'"
    ):
        export_minari(recorded[1], "toy/toy-v0")
    monkeypatch.setattr(sys, "argv", ["recsim", "export-minari", str(recorded[0]), "toy/toy-v0"])
    with pytest.raises(SystemExit, match="^recsim: a Minari data set needs h5py"):
        main()
