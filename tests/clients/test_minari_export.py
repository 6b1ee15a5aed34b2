"""Recorded interactions as a Minari data set, and d3rlpy on it: see `make test-clients`."""

import json

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

minari = pytest.importorskip("minari", reason="minari is not installed: run `make test-clients`")

from llm_oracle import LLMOracleVectorEnv, PopularityJudge  # noqa: E402
from llm_oracle.minari_export import export_minari  # noqa: E402
from llm_oracle.recording import RecordInteractions  # noqa: E402
from recsim_envs.data.dataset import Dataset  # noqa: E402
from recsim_envs.errors import DataError  # noqa: E402

K, N = 4, 3


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def played(env_id, **kwargs):
    """A recorder after some steps, and what the environment said at each of them, told by hand."""
    users = gym.make_vec(env_id, num_envs=N, max_steps=5, **kwargs)
    env = RecordInteractions(LLMOracleVectorEnv(users, PopularityJudge(users.dataset), k=K))
    observation, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    told = [[] for _ in range(N)]
    for _ in range(13):
        slates = rng.integers(users.dataset.n_items, size=(N, K))
        before = observation
        observation, rewards, over, cut, infos = env.step(slates)
        for i in range(N):
            history = (before["history"] if isinstance(before, dict) else before)[i]
            said = (infos["item"][i], infos["pick"][i], rewards[i], over[i], cut[i])
            told[i].append((history.tolist(), slates[i].tolist(), *said))
    return env.interactions(), told, users.dataset


@pytest.mark.parametrize("env_id", ["recsim/Coat-v0", "recsim/Industry-v0"])
def test_minari_reads_what_the_environment_said(env_id, home):
    interactions, told, dataset = played(env_id)
    folder = export_minari(interactions, "toy/popularity-v0")
    assert folder == home / "toy" / "popularity-v0"
    assert list(minari.list_local_datasets()) == ["toy/popularity-v0"]
    found = minari.load_dataset("toy/popularity-v0")
    users = gym.make(env_id)
    assert found.observation_space == users.observation_space
    assert found.action_space == users.action_space
    texts = dataset.items["text"]
    rows = []
    for episode in found:
        seen = episode.observations
        seen = seen["history"] if isinstance(seen, dict) else seen
        assert len(seen) == len(episode.actions) + 1
        assert episode.infos["item"].tolist() == [dataset.n_items, *episode.actions]
        assert episode.infos["text"][0] == b"" and episode.infos["pick"][0] == -1
        assert [text.decode() for text in episode.infos["text"][1:]] == list(texts[episode.actions])
        for t, item in enumerate(episode.actions):
            slate, pick = episode.infos["slate"][t + 1].tolist(), episode.infos["pick"][t + 1]
            over, cut = episode.terminations[t], episode.truncations[t]
            assert (over or cut) == (t == len(episode.actions) - 1)
            rows.append((seen[t].tolist(), slate, item, pick, episode.rewards[t], over, cut))
    at_the_end = [user[-1] for user in told]  # where the recording cuts those that still run
    expected = [row for user in told for row in user[:-1]]
    expected += [(*row[:-1], row[-1] or not row[-2]) for row in at_the_end]
    assert sorted(rows) == sorted(expected)

    catalogue = pd.read_csv(folder / "data" / "items.csv", keep_default_na=False)
    assert catalogue["text"].tolist() == list(texts)
    about = found.storage.metadata["recsim"]
    assert about["data"] == {"name": dataset.name, "hash": dataset.hash, "replica": True}
    assert about["judge"] == {"name": "popularity"} and about["seeds"] == [0]
    assert "REPLICA" in about["licence"] and "REPLICA" in found.storage.metadata["description"]
    assert found.recover_environment().spec.kwargs == {"max_steps": 5}
    test = found.recover_environment(eval_env=True)
    assert test.spec.kwargs == {"max_steps": 5, "split": "test"}
    test.reset(seed=0)


def test_a_data_set_is_there_as_a_whole_or_not_at_all(home, monkeypatch):
    interactions, _, _ = played("recsim/Coat-v0")
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", lambda *a, **k: 1 / 0)  # the last file written
        with pytest.raises(ZeroDivisionError):
            export_minari(interactions, "toy/popularity-v0")
    assert [file for file in home.rglob("*")] == []
    folder = export_minari(interactions, "toy/popularity-v0")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(DataError, match="'toy/popularity-v0' exists already.*another name"):
        export_minari(interactions, "toy/popularity-v0")
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    for name in ("toy", "../toy-v0", "toy/a b-v0", ""):
        with pytest.raises(DataError, match="is no Minari id"):
            export_minari(interactions, name)


def test_what_is_not_the_recorded_data_is_refused(monkeypatch):
    interactions, _, _ = played("recsim/Coat-v0")
    about = json.loads(json.dumps(interactions.about))
    interactions.about["env"] = "os:system/x-v0"
    with pytest.raises(DataError, match="'os:system/x-v0', which is none of recsim's"):
        export_minari(interactions, "toy/toy-v0")
    interactions.about.update(about, kwargs={"colour": "red"})
    with pytest.raises(DataError, match="cannot be made with {'colour': 'red'}"):
        export_minari(interactions, "toy/toy-v0")
    interactions.about.update(about, data={**about["data"], "hash": "0"})
    with pytest.raises(DataError, match="has the hash .* now"):
        export_minari(interactions, "toy/toy-v0")


def test_texts_of_real_data_are_said_loudly(monkeypatch, caplog):
    made = Dataset.of

    def real(stored):
        dataset = made(stored)
        object.__setattr__(dataset, "replica", False)
        return dataset

    monkeypatch.setattr(Dataset, "of", real)
    interactions, _, dataset = played("recsim/Coat-v0")
    export_minari(interactions, "toy/real-v0")
    said = f"REAL DATA: the item texts of {dataset.name!r} are in this data set"
    assert said in caplog.text
    metadata = minari.load_dataset("toy/real-v0").storage.metadata
    assert said in metadata["description"] and said in metadata["recsim"]["licence"]


@pytest.mark.filterwarnings("ignore")  # of d3rlpy's and gym's own making
def test_d3rlpy_learns_from_it(capsys):
    pytest.importorskip("d3rlpy", reason="d3rlpy is not installed: run `make test-clients`")
    from examples import offline_cql

    interactions, _, _ = played("recsim/Industry-v0")
    export_minari(interactions, "toy/popularity-v0")
    before, after = offline_cql.main("toy/popularity-v0", n_steps=20, sessions=3)
    assert 0 < min(before, after) and before != after
    assert f"after : Return {after:.2f}" in capsys.readouterr().out
