"""What a report is about: one data set's simulators, built without reading anything twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.store import named_folder
from recsim_envs.data.stored import read_stored
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.rewards.ratings import RATINGS_FILE, ratings_of
from recsim_envs.rewards.sequence import SequenceReward
from recsim_envs.users.sessions import History, SessionSimulator
from recsim_envs.users.shoppers import ShopperSimulator, item_distances
from recsim_envs.users.simulator import Split

MODELS = ("train", "test", "test_disjoint")


@dataclass(frozen=True)
class SessionSubject:
    """Users of sessions (LFM, Industry), and the reward models that can answer for them.

    Attributes:
        dataset: the data.
        rewards: reward models by name: "train", "test" and "test_disjoint" as ``recsim prepare``
            fits them, and any other.
        reward_hashes: content hashes of the files that they come from.
    """

    dataset: Dataset
    rewards: dict[str, SequenceReward]
    reward_hashes: dict[str, str]

    def users(
        self,
        n: int,
        *,
        split: Split = "test",
        model: str | None = None,
        history: History = "shown",
        leaves: bool = True,
    ) -> RecommenderVectorEnv:
        """Makes n users, as ``gym.make_vec`` does with the same arguments.

        Args:
            n: number of users.
            split: whose sequences start the sessions.
            model: which reward model answers; None is the split's own.
            history: which items enter the history.
            leaves: False keeps every user to the length cap.
        """
        starts = self.dataset.train if split == "train" else self.dataset.held_out
        simulator = SessionSimulator(
            n, self.dataset, self.rewards[model or split], starts, history=history, leaves=leaves
        )
        simulator.split = split
        return RecommenderVectorEnv(simulator)


@dataclass(frozen=True)
class ShopperSubject:
    """Shoppers with ratings (Coat).

    Attributes:
        dataset: the data.
        ratings: "train" and "test", each (n_users, n_items).
        reward_hashes: content hash of their file.
    """

    dataset: Dataset
    ratings: dict[str, Float32Array]
    reward_hashes: dict[str, str]

    def users(self, n: int, *, split: Split = "test", leaves: bool = True) -> RecommenderVectorEnv:
        """Makes n shoppers, as ``gym.make_vec`` does with the same arguments."""
        simulator = ShopperSimulator(
            n,
            self.dataset,
            self.ratings[split],
            item_distances(self.ratings["test"]),
            leaves=leaves,
        )
        simulator.split = split
        return RecommenderVectorEnv(simulator)


Subject = SessionSubject | ShopperSubject


def load_subject(name: str) -> Subject:
    """Reads prepared data and its reward models.

    Args:
        name: given to ``recsim prepare``, or replica/lfm, replica/industry, replica/coat.

    Raises:
        DataError: for data that is not prepared, or by another version of recsim.
    """
    files = {model: f"{model}.safetensors" for model in MODELS}
    stored = read_stored(named_folder(name), RATINGS_FILE, *files.values())
    dataset, hashes = Dataset.of(stored), stored.about["files"]
    # What was prepared tells, for films may be rated, too.
    if RATINGS_FILE in stored.content or dataset.scenario == "clothes":
        return ShopperSubject(dataset, ratings_of(stored), {"ratings": hashes[RATINGS_FILE]})
    rewards = {model: SequenceReward.of(stored, file) for model, file in files.items()}
    return SessionSubject(dataset, rewards, {model: hashes[file] for model, file in files.items()})


def environment_of(subject: Subject) -> str:
    """The id of the environment that the subject's users are of."""
    if isinstance(subject, ShopperSubject):
        return "recsim/Coat-v0"
    return "recsim/LFM-v0" if subject.dataset.scenario == "music" else "recsim/Industry-v0"


def padded(sequences: list[IntArray], length: int, n_items: int) -> IntArray:
    """The first ``length`` items of each sequence, padded on the right: (S, length)."""
    table = np.full((len(sequences), length), n_items, dtype=np.int64)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence[:length]
    return table
