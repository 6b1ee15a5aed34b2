"""Sections "response" and "repeats": do the simulated users choose as the real ones did?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import binomtest

from recsim_envs.arrays import Float32Array, FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.report.figures import Cell, Figure, Section, mean_of, resampled
from recsim_envs.report.subject import SessionSubject, ShopperSubject
from recsim_envs.rewards.evaluate import (
    Answers,
    Questions,
    Scorer,
    answers_of,
    calibration_error,
    questions_of,
    sampled_answers,
)
from recsim_envs.rewards.ratings import rating_rmse
from recsim_envs.rewards.repeats import repeat_rates
from recsim_envs.rewards.sequence import SequenceReward

MAX_QUESTIONS = 2000
RESAMPLES = 200


def held_out_questions(subject: SessionSubject, seed: int) -> Questions:
    """The last items of held-out sequences; ``MAX_QUESTIONS`` random ones where there are more.

    No reward model has seen them in its fit.
    """
    dataset, model = subject.dataset, subject.rewards["test"]
    sequences = dataset.with_choices(dataset.held_out)
    if len(sequences) > MAX_QUESTIONS:
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(len(sequences), MAX_QUESTIONS, replace=False))
        sequences = [sequences[number] for number in drawn]
    return questions_of(sequences, dataset.n_items, model.history_length)


def answers_of_all(
    dataset: Dataset, questions: Questions, scorers: Mapping[str, Scorer]
) -> dict[str, Answers]:
    """Asks every scorer the same questions."""
    return {
        name: answers_of(scorer, questions, dataset.n_items) for name, scorer in scorers.items()
    }


def response_section(
    questions: Questions,
    answers: Mapping[str, Answers],
    rewards: Mapping[str, SequenceReward],
    seed: int,
) -> Section:
    """Makes the section of what the recommenders and reward models answered.

    Args:
        questions: what was asked.
        answers: by name.
        rewards: the reward models among them, which have probabilities to be judged.
        seed: of the random items that calibration is measured with.
    """
    rows = []
    for name, of_name in answers.items():
        reward = rewards.get(name)
        row: dict[str, Cell] = {
            "scorer": name,
            "HR@10": mean_of(of_name.hit),
            "NDCG@10": mean_of(of_name.gain),
            "AUC": mean_of(of_name.above),
            "calibration error": None if reward is None else _ece(reward, questions, seed),
        }
        rows.append(row)
    question = (
        f"Does the reward model know what users choose next? {len(questions.truth)} held-out "
        "choices, all items ranked but those of the history"
    )
    return Section("response", question, rows)


def _ece(reward: SequenceReward, questions: Questions, seed: int) -> Figure:
    probability, label = sampled_answers(reward, questions, seed)  # (Q, 1 + K)

    def error(rows: IntArray) -> FloatArray:
        return np.array(
            [calibration_error(probability[row].ravel(), label[row].ravel()) for row in rows]
        )

    return resampled(error, len(probability), RESAMPLES, biased=True)


def repeats_section(subject: SessionSubject) -> Section:
    """Makes the section on how often an item is taken again, in held-out data and by the model."""
    rates = repeat_rates(
        subject.rewards["test"], subject.dataset.with_choices(subject.dataset.held_out)
    )
    rows: list[dict[str, Cell]] = [
        {
            "lag": float(rate["lag"]),
            "transitions": float(rate["transitions"]),
            "held-out data": _share(rate["data"], rate["transitions"]),
            "simulated": rate["simulated"],
        }
        for rate in rates
    ]
    question = "How likely is an item taken again, by how many items ago it was taken?"
    return Section("repeats", question, rows)


def _share(share: float, n: int) -> Figure:
    """A share of n with its 95% Wilson interval."""
    found = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return Figure(share, float(found.low), float(found.high))


def ratings_section(subject: ShopperSubject) -> Section:
    """Makes the section "response" of ratings: root mean squared error on random ratings."""
    rated = subject.dataset.interactions
    train, test = (rated[rated["split"] == split] for split in ("train", "test"))
    shape = subject.ratings["test"].shape
    predictions = {
        "training rewards (DeepFM)": subject.ratings["train"],
        "test rewards (completed ratings)": subject.ratings["test"],
        "constant (training mean)": np.full(shape, train["rating"].mean(), dtype=np.float32),
    }
    rows: list[dict[str, Cell]] = []
    for name, predicted in predictions.items():

        def rmse(drawn: IntArray, predicted: Float32Array = predicted) -> FloatArray:
            return np.array([rating_rmse(predicted, test.iloc[row]) for row in drawn])

        rows.append({"rewards": name, "RMSE": resampled(rmse, len(test), RESAMPLES)})
    question = f"How far are the rewards from {len(test)} ratings of randomly drawn items?"
    return Section("response", question, rows)
