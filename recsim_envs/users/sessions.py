"""Music listeners and shoppers: a learned score rewards, and patience runs out (LFM, Industry)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.checks import check_choice
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.store import data_folder
from recsim_envs.data.stored import read_stored
from recsim_envs.data.wording import Scenario
from recsim_envs.errors import DataError
from recsim_envs.rewards.sequence import SequenceReward
from recsim_envs.state import State
from recsim_envs.users.patience import Patience
from recsim_envs.users.simulator import (
    Observation,
    Outcome,
    Repeats,
    Simulator,
    Split,
    Start,
    Steps,
    Terms,
)

UserModel = Literal["reconstruction", "hac", "kuaisim"]
History = Literal["shown", "accepted"]
TestModel = Literal["all", "disjoint"]
INITIAL_PATIENCE: dict[UserModel, float] = {"reconstruction": 10.0, "hac": 20.0, "kuaisim": 10.0}
OWN_HISTORY: dict[UserModel, History] = {
    "reconstruction": "shown",
    "hac": "accepted",
    "kuaisim": "accepted",
}
REWARD_SCALE = 5.0
LEAVE_BELOW = 1.0


class SessionSimulator(Simulator):
    """N users whose response to an item is ``p = sigmoid(score(history, item))``.

    ===============  ==========================  =======================  ==========  ===========
    ``user_model``   reward r                    patience lost a step     starts at   ``history``
    ===============  ==========================  =======================  ==========  ===========
    reconstruction   5 p                         clip(2 - r, 0, 2)        10          "shown"
    hac              y - 0.1 (1 - y), y ~ B(p)   (1 - r) + 1              20          "accepted"
    kuaisim          y, y ~ B(p)                 clip(2 - r, 0, 2)        10          "accepted"
    ===============  ==========================  =======================  ==========  ===========

    The user leaves when the patience is below 1. An accepted item is one with y = 1.

    Args:
        n: number of users simulated at once.
        dataset: the catalogue and the sequences.
        reward: the fitted reward model.
        starts: sequence numbers; a session starts with the first item of one of them.
        user_model: the rule (the paper gives no formula; see ``docs/reconstruction.md``).
        history: which recommended items become part of the user's history: every one ("shown"), or
            each with its probability ("accepted"); None is the table's.
        patience: initial patience; None takes the table's.
        max_steps: the length cap.
        leaves: if False the user never leaves before the cap.
        repeats: "mask" leaves items already shown out of the action masks.
    """

    def __init__(
        self,
        n: int,
        dataset: Dataset,
        reward: SequenceReward,
        starts: IntArray,
        *,
        user_model: UserModel = "reconstruction",
        history: History | None = None,
        patience: float | None = None,
        max_steps: int = 12,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        check_choice("user_model", user_model, get_args(UserModel))
        if history is not None:
            check_choice("history", history, get_args(History))
        super().__init__(n, dataset, reward.history_length, max_steps, leaves, repeats)
        if reward.n_items != dataset.n_items:
            raise ValueError(
                f"the reward model knows {reward.n_items} items, but {dataset.name!r} has "
                f"{dataset.n_items}: fit it on this data"
            )
        self.user_model = user_model
        self.history_rule = OWN_HISTORY[user_model] if history is None else history
        self.observation_space = self.history_space
        if self.history_rule == "accepted":
            self.observation_space = spaces.Dict(
                history=self.history_space, shown=self.history_space
            )
        self.reward = reward
        self.starts = starts
        self.start_items = np.array([dataset.sequences[s][0] for s in starts])
        self.initial_patience = INITIAL_PATIENCE[user_model] if patience is None else patience
        self.patience = np.zeros(n)
        # The latest offers, newest last, whether accepted or not.
        self.recent = np.full_like(self.history, dataset.n_items)  # (N, H)

    @property
    def choices(self) -> dict[str, int]:
        """A sequence of the split, or any item."""
        return {"sequence": len(self.dataset.sequences), "start_item": self.dataset.n_items}

    def start(self, users: IntArray, rng: np.random.Generator, chosen: Start) -> None:
        """Gives each new user full patience and a first item: as chosen, or a random sequence's."""
        items = self.start_items[rng.integers(len(self.starts), size=len(users))]
        if "sequence" in chosen:
            sequences = chosen["sequence"][users]
            items = np.array([self.dataset.sequences[number][0] for number in sequences])
        elif "start_item" in chosen:
            items = chosen["start_item"][users]
        self.history[users, -1] = items
        self.recent[users] = self.n_items
        self.patience[users] = self.initial_patience

    def check_start(self, chosen: Start) -> None:
        """Refuses a start that is chosen twice, or from sequences that the split leaves out."""
        if len(chosen) > 1:
            raise ValueError(f"options name {sorted(chosen)}: a session has one start, choose one")
        if "sequence" not in chosen:  # as in nearly every reset
            return
        other = np.setdiff1d(chosen["sequence"], self.starts)
        if len(other):
            raise ValueError(
                f"options['sequence']={other[0]} is not in split={self.split!r}: choose one of "
                "its sequences, such as "
                f"{self.starts[0]}"
            )

    def observe(self) -> Observation:
        """Histories, and where they don't tell what was offered, the latest offers beside them."""
        if self.history_rule == "shown":
            return super().observe()
        return {"history": super().observe(), "shown": self.recent.copy()}

    def respond(self, items: IntArray, rng: np.random.Generator) -> Outcome:
        """Applies the user model's row of the class's table."""
        probability = self.reward.probability(self.history, items)  # (N,)
        # Drawn whether needed or not: the rules then meet the same users.
        accepted = rng.random(self.n) < probability
        reward, lost = self._reward_and_loss(probability, accepted)
        self.patience -= lost
        self.recent[:, :-1] = self.recent[:, 1:]
        self.recent[:, -1] = items
        return Outcome(
            reward=reward,
            leaves=self.patience < LEAVE_BELOW,
            enters=accepted | (self.history_rule == "shown"),
            terms={
                "probability": probability,
                "patience": self.patience.copy(),
                "accepted": accepted,
            },
        )

    def compiled_steps(self) -> Steps:
        """The same in one call, which keeps what it computed of the histories."""
        from recsim_envs.users.fast import ListenerSteps

        return ListenerSteps(self)

    def terms_at_start(self) -> Terms:
        """Full patience, and nothing answered yet."""
        nothing = {"probability": np.zeros(self.n), "accepted": np.zeros(self.n, dtype=bool)}
        return {**super().terms_at_start(), "patience": self.patience.copy(), **nothing}

    def patience_at(self, terms: Mapping[str, float]) -> Patience:
        """The patience itself."""
        return Patience("patience", terms["patience"], LEAVE_BELOW, self.initial_patience)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The patience and the latest offers, too."""
        return {**super().arrays(), "patience": self.patience, "recent": self.recent}

    def settings(self) -> State:
        """The rule, too."""
        return {
            **super().settings(),
            "user_model": self.user_model,
            "history": self.history_rule,
            "patience": self.initial_patience,
        }

    def outlook(self) -> tuple[FloatArray, BoolArray]:
        """Scores the whole catalogue; of random responses, the expectation."""
        probability = self.reward.probabilities(self.history)  # (N, n_items)
        yes, lost = self._reward_and_loss(probability, np.ones_like(probability, bool))
        no, _ = self._reward_and_loss(probability, np.zeros_like(probability, bool))
        reward = probability * yes + (1 - probability) * no
        return reward, self.patience[:, None] - lost < LEAVE_BELOW

    def _reward_and_loss(
        self, probability: FloatArray, accepted: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        if self.user_model == "reconstruction":
            reward = REWARD_SCALE * probability
            return reward, np.clip(2.0 - reward, 0.0, 2.0)
        if self.user_model == "hac":
            reward = np.where(accepted, 1.0, -0.1)
            return reward, (1.0 - reward) + 1.0
        reward = accepted.astype(np.float64)
        return reward, np.clip(2.0 - reward, 0.0, 2.0)


def load_session_simulator(
    n: int,
    replica: str,
    scenario: Scenario,
    *,
    data: str,
    split: Split,
    test_model: TestModel,
    user_model: UserModel,
    history: History | None,
    patience: float | None,
    max_steps: int,
    leaves: bool,
    repeats: Repeats,
) -> SessionSimulator:
    """Builds a simulator from prepared data; arguments as on the environments' pages.

    Args:
        n: number of users simulated at once.
        replica: the package's replica that ``data="replica"`` stands for.
        scenario: what the environment's items are.
        data: "replica" or the name of prepared data.
        split: which sequences start the sessions, and which reward model answers.
        test_model: what the test split's reward model was fitted on.
        user_model: of :class:`SessionSimulator`, as the rest.
        history: the same.
        patience: the same.
        max_steps: the same.
        leaves: the same.
        repeats: the same.

    Raises:
        DataError: for data that is not prepared, holds no sequences, or is of another scenario.
        ValueError: for an argument out of its range.
    """
    check_choice("split", split, get_args(Split))
    check_choice("test_model", test_model, get_args(TestModel))
    folder = data_folder(data, replica)
    weights = reward_file(split, test_model)
    stored = read_stored(folder, weights)
    dataset = Dataset.of(stored)
    if dataset.scenario != scenario:
        raise DataError(
            f"data={data!r} holds {dataset.scenario}, this environment shows {scenario}: use the "
            f"other environment, or prepare it again with --scenario {scenario}"
        )
    simulator = SessionSimulator(
        n,
        dataset,
        SequenceReward.of(stored, weights),
        dataset.train if split == "train" else dataset.held_out,
        user_model=user_model,
        history=history,
        patience=patience,
        max_steps=max_steps,
        leaves=leaves,
        repeats=repeats,
    )
    simulator.reward_hash, simulator.split = stored.about["files"][weights], split
    simulator.fast = True
    return simulator


def reward_file(split: Split, test_model: TestModel = "all") -> str:
    """The name of the file of the reward model that answers the users of a split."""
    fitted = "test_disjoint" if (split, test_model) == ("test", "disjoint") else split
    return f"{fitted}.safetensors"
