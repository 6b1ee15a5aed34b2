"""Minari records the ids as data sets: `make test-clients` installs it."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("minari", reason="minari is not installed: run `make test-clients`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of minari's own making

import recsim_envs  # noqa: E402, F401  (registers the ids)

IDS = [spec.id for spec in gym.registry.values() if spec.namespace == "recsim"]


@pytest.mark.parametrize("env_id", IDS)
def test_minari_records_sessions_with_their_infos(env_id, tmp_path, monkeypatch):
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(gym.make(env_id, max_steps=5), record_infos=True)
    env.action_space.seed(0)
    lengths = []
    for session in range(3):
        env.reset(seed=session)
        over, length = False, 0
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over, length = terminated or truncated, length + 1
        lengths.append(length)
    name = f"recsim/{env_id.split('/')[1].lower()}"
    env.create_dataset(dataset_id=name, algorithm_name="random")
    dataset = minari.load_dataset(name)
    episodes = list(dataset.iterate_episodes())
    assert [len(episode.actions) for episode in episodes] == lengths
    for episode in episodes:
        assert np.array_equal(episode.infos["item"][1:], episode.actions)
        assert episode.infos["distinct"][0] == 0.0
    again = dataset.recover_environment()
    assert again.observation_space == env.observation_space
