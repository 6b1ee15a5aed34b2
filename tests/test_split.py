"""The data set owns its split: with any seed, only what measures touches a held-out sequence."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

import recsim_envs  # noqa: F401  (registers the ids)
from llm_oracle.judges.build import build_judge
from llm_oracle.language_model.adapters import TuneSettings
from llm_oracle.study.evaluate import next_item_questions
from llm_oracle.study.tune import draw_questions
from llm_oracle.texts.item_texts import item_texts
from recsim_envs.data.dataset import Dataset
from recsim_envs.rewards.baselines import baseline_scorers
from recsim_envs.rewards.prepare import prepare


class Watched(list):
    """Sequences that remember which of them were read."""

    def __init__(self, sequences):
        super().__init__(sequences)
        self.read = set()

    def __getitem__(self, number):
        self.read.add(int(number))
        return super().__getitem__(number)

    def __iter__(self):
        self.read |= set(range(len(self)))
        return super().__iter__()


@pytest.fixture(params=[0, 1, 7])
def watched(chains, request):
    """The chains under another split, and the sequences that were read of them."""
    dataset = replace(chains, split_seed=request.param)
    sequences = Watched(dataset.sequences)
    dataset.__dict__["sequences"] = sequences  # where cached_property keeps it
    return dataset, sequences


@pytest.mark.parametrize(
    "use",
    [
        lambda dataset: dataset.popularity,
        item_texts,
        baseline_scorers,
        lambda dataset: build_judge("popularity", dataset),
        lambda dataset: build_judge("tfidf", dataset),
        lambda dataset: draw_questions(dataset, 50, TuneSettings(k=3), seed=0),
    ],
    ids=["popularity", "item texts", "baselines", "popularity judge", "tfidf judge", "tuning"],
)
def test_nothing_that_learns_reads_a_held_out_sequence(watched, use):
    dataset, sequences = watched
    use(dataset)
    assert not sequences.read & set(dataset.held_out.tolist())


def test_measuring_reads_held_out_sequences_alone(chains):
    for seed in (0, 1):
        dataset = replace(chains, split_seed=seed)
        found = next_item_questions(dataset, n=30, k=3)
        again = next_item_questions(dataset, n=30, k=3, sequences=dataset.held_out)
        assert np.array_equal(found.slates, again.slates)


def test_counts_and_starts_follow_the_seed_that_data_was_prepared_with(
    tmp_path, monkeypatch, chains
):
    # In the held-out part of seed 1, and nowhere else, stand the last two items, the last first.
    dataset = replace(chains, name="mine", split_seed=1)
    events = dataset.interactions.copy()
    held_out = events["sequence"].isin(dataset.held_out).to_numpy()
    events.loc[~held_out & (events["item"] >= 18), "item"] = 0
    events.loc[held_out, "item"] = np.tile(np.array([19, 18], np.int32), held_out.sum() // 2)
    dataset = replace(dataset, interactions=pd.DataFrame(events))
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path))
    prepare(dataset, tmp_path / "mine", seed=1, embedding_dim=8, max_epochs=1)
    loaded = Dataset.load(tmp_path / "mine")
    assert loaded.split_seed == 1
    assert loaded.popularity[19] == 0
    train, test = (
        gym.make_vec("recsim/Industry-v0", num_envs=50, data="mine", split=split)
        for split in ("train", "test")
    )
    assert (test.reset(seed=0)[0][:, -1] == 19).all()
    assert not (train.reset(seed=0)[0][:, -1] == 19).any()
    judge = build_judge("popularity", train.dataset)
    assert judge.choose(np.full((1, 1), 20), np.array([[19, 0]])).tolist() == [1]
