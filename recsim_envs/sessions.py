"""Music listeners and shoppers: a learned score rewards, and patience runs out (LFM, Industry)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch

from recsim_envs.dataset import DataError, Dataset, IntArray, Scenario
from recsim_envs.prepare import data_folder, file_hash, load_reward_model, load_split
from recsim_envs.reward_model import SequenceRewardModel
from recsim_envs.simulator import BoolArray, FloatArray, Outcome, Repeats, Simulator

UserModel = Literal["reconstruction", "hac", "kuaisim"]
INITIAL_PATIENCE: dict[UserModel, float] = {"reconstruction": 10.0, "hac": 20.0, "kuaisim": 10.0}
REWARD_SCALE = 5.0
LEAVE_BELOW = 1.0


class SessionSimulator(Simulator):
    """N users whose response to an item is ``p = sigmoid(score(history, item))``.

    ===============  ==========================  =======================  ==========  ==========
    ``user_model``   reward r                    patience lost a step     starts at   in history
    ===============  ==========================  =======================  ==========  ==========
    reconstruction   5 p                         clip(2 - r, 0, 2)        10          every item
    hac              y - 0.1 (1 - y), y ~ B(p)   (1 - r) + 1              20          clicks, y = 1
    kuaisim          y, y ~ B(p)                 clip(2 - r, 0, 2)        10          clicks, y = 1
    ===============  ==========================  =======================  ==========  ==========

    The user leaves when the patience is below 1.

    Args:
        n: number of users simulated at once.
        dataset: the catalogue and the sequences.
        model: the fitted reward model.
        starts: sequence numbers; a session starts with the first item of one of them.
        user_model: the rule (the paper gives no formula; see ``docs/reconstruction.md``).
        patience: initial patience; None takes the table's.
        max_steps: the length cap.
        leaves: if False the user never leaves before the cap.
        repeats: "mask" leaves items already shown out of the action masks.
    """

    SETTINGS: ClassVar = (*Simulator.SETTINGS, "user_model", "initial_patience")
    STATE: ClassVar = (*Simulator.STATE, "patience")

    def __init__(
        self,
        n: int,
        dataset: Dataset,
        model: SequenceRewardModel,
        starts: IntArray,
        *,
        user_model: UserModel = "reconstruction",
        patience: float | None = None,
        max_steps: int = 12,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        if user_model not in get_args(UserModel):
            raise ValueError(f"user_model={user_model!r}: use one of {get_args(UserModel)}")
        super().__init__(n, dataset, model.encoder.history_length, max_steps, leaves, repeats)
        self.observation_space = self.history_space
        self.model = model
        self.start_items = np.array([dataset.sequences[s][0] for s in starts])
        self.user_model = user_model
        self.initial_patience = INITIAL_PATIENCE[user_model] if patience is None else patience
        self.patience = np.zeros(n)

    def start(self, users: IntArray, rng: np.random.Generator) -> None:
        """Gives each new user the first item of a random sequence and full patience."""
        chosen = rng.integers(len(self.start_items), size=len(users))
        self.history[users, -1] = self.start_items[chosen]
        self.patience[users] = self.initial_patience

    def respond(self, items: IntArray, rng: np.random.Generator) -> Outcome:
        """Applies the user model's row of the class's table."""
        with torch.no_grad():
            score = self.model.score(torch.from_numpy(self.history), torch.from_numpy(items))
        probability = score.sigmoid().double().numpy()  # (N,)
        if self.user_model == "reconstruction":
            clicked = np.ones(self.n, dtype=bool)
        else:
            clicked = rng.random(self.n) < probability
        reward, lost = self._reward_and_loss(probability, clicked)
        self.patience -= lost
        return Outcome(
            reward=reward,
            leaves=self.patience < LEAVE_BELOW,
            clicked=clicked,
            terms={"probability": probability, "patience": self.patience.copy()},
        )

    def outlook(self) -> tuple[FloatArray, BoolArray]:
        """Scores the whole catalogue; of random responses, the expectation."""
        with torch.no_grad():
            scores = self.model.scores(torch.from_numpy(self.history))
        probability = scores.sigmoid().double().numpy()  # (N, n_items)
        if self.user_model == "reconstruction":
            reward, lost = self._reward_and_loss(probability, np.ones_like(probability, bool))
        else:
            yes, lost = self._reward_and_loss(probability, np.ones_like(probability, bool))
            no, _ = self._reward_and_loss(probability, np.zeros_like(probability, bool))
            reward = probability * yes + (1 - probability) * no
        return reward, self.patience[:, None] - lost < LEAVE_BELOW

    def _reward_and_loss(
        self, probability: FloatArray, clicked: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        if self.user_model == "reconstruction":
            reward = REWARD_SCALE * probability
            return reward, np.clip(2.0 - reward, 0.0, 2.0)
        if self.user_model == "hac":
            reward = np.where(clicked, 1.0, -0.1)
            return reward, (1.0 - reward) + 1.0
        reward = clicked.astype(np.float64)
        return reward, np.clip(2.0 - reward, 0.0, 2.0)


def load_session_simulator(
    n: int,
    replica: str,
    scenario: Scenario,
    *,
    data: str = "replica",
    split: Literal["train", "test"] = "train",
    test_model: Literal["all", "disjoint"] = "all",
    **rule: Any,
) -> SessionSimulator:
    """Builds a simulator from prepared data; arguments as on the environments' pages.

    Args:
        n: number of users simulated at once.
        replica: the package's replica that ``data="replica"`` stands for.
        scenario: what the environment's items are.
        data: "replica" or the name of prepared data.
        split: which sequences start the sessions, and which reward model answers.
        test_model: what the test split's reward model was fitted on.
        **rule: of :class:`SessionSimulator`.

    Raises:
        DataError: for data that is not prepared, holds no sequences, or is of another scenario.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r}: use 'train' or 'test'")
    if test_model not in ("all", "disjoint"):
        raise ValueError(f"test_model={test_model!r}: use 'all' or 'disjoint'")
    folder = data_folder(data, replica)
    fitted = split if split == "train" or test_model == "all" else "test_disjoint"
    weights = folder / f"{fitted}.safetensors"
    model = load_reward_model(weights)
    dataset = Dataset.load(folder)
    if dataset.scenario != scenario:
        raise DataError(
            f"data={data!r} holds {dataset.scenario}, this environment shows {scenario}: use the "
            f"other environment, or prepare it again with --scenario {scenario}"
        )
    simulator = SessionSimulator(n, dataset, model, load_split(folder, dataset, split), **rule)
    simulator.reward_hash, simulator.split = file_hash(weights), split
    return simulator
