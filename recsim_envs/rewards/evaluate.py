"""How well a reward model, or anything else that scores items, answers held-out choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.rewards.sequence import SequenceReward

N_NEGATIVES = 10
"""Random items against each true one, where probabilities are judged; as in the fit."""
BATCH = 256
Scorer = Callable[[IntArray], FloatArray]
"""Maps histories (B, H) to scores of the catalogue (B, n_items)."""


class Questions(NamedTuple):
    """Held-out choices: the last item of each sequence, given those before it.

    Attributes:
        histories: (Q, H) items, newest last, padded on the left with ``n_items``.
        truth: (Q,) the item that came next.
    """

    histories: IntArray
    truth: IntArray


class RankingFigures(TypedDict):
    """How a scorer ranks the true item among all that are not in the history.

    Attributes:
        n: how many questions.
        hr_at_10: share whose true item is among the 10 best.
        ndcg_at_10: mean of ``1 / log2(1 + rank)``, 0 below rank 10.
        auc: probability that the true item outscores a uniformly drawn one.
    """

    n: int
    hr_at_10: float
    ndcg_at_10: float
    auc: float


class RewardModelFigures(RankingFigures):
    """The same of a reward model, and of its probabilities.

    Attributes:
        ece: expected calibration error, 10 bins, at the training's base rate of positives.
        mean_probability_random: mean probability of a uniformly drawn item.
    """

    ece: float
    mean_probability_random: float


def questions_of(sequences: Sequence[IntArray], n_items: int, history_length: int) -> Questions:
    """Makes a question of each sequence; those shorter than 2 hold none and are skipped."""
    usable = [sequence for sequence in sequences if len(sequence) > 1]
    histories = np.full((len(usable), history_length), n_items, dtype=np.int64)
    for row, sequence in zip(histories, usable, strict=True):
        recent = sequence[:-1][-history_length:]
        row[-len(recent) :] = recent
    return Questions(histories, np.array([sequence[-1] for sequence in usable], dtype=np.int64))


def rank(scorer: Scorer, questions: Questions, n_items: int) -> FloatArray:
    """Ranks the true item among those that are not in the history.

    Returns:
        (Q,) ranks from 1; a tie counts half; infinite where the history holds the true item.
    """
    ranks = []
    for first in range(0, len(questions.truth), BATCH):
        histories = questions.histories[first : first + BATCH]
        truth = questions.truth[first : first + BATCH, None]
        rows = np.arange(len(truth))[:, None]
        scores = np.pad(np.array(scorer(histories), dtype=np.float64), ((0, 0), (0, 1)))
        scores[rows, histories] = -np.inf  # padding's column, too
        scores[:, n_items] = -np.inf
        of_truth = scores[rows, truth]
        better = (scores > of_truth).sum(axis=1) + 0.5 * ((scores == of_truth).sum(axis=1) - 1)
        ranks.append(np.where(of_truth[:, 0] == -np.inf, np.inf, 1 + better))
    return np.concatenate(ranks) if ranks else np.empty(0)


class Answers(NamedTuple):
    """How a scorer answered each question, (Q,) each; the means are :class:`RankingFigures`.

    Attributes:
        hit: whether the true item is among the 10 best.
        gain: ``1 / log2(1 + rank)``, 0 below rank 10.
        above: share of the other items that the true one outscores.
    """

    hit: BoolArray
    gain: FloatArray
    above: FloatArray


def answers_of(scorer: Scorer, questions: Questions, n_items: int) -> Answers:
    """Asks a scorer the questions."""
    ranks = rank(scorer, questions, n_items)
    gain = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    others = n_items - 1 - (questions.histories < n_items).sum(axis=1)
    above = np.where(np.isinf(ranks), 0.0, 1 - (ranks - 1) / np.maximum(others, 1))
    return Answers(ranks <= 10, gain, above)


def ranking_figures(scorer: Scorer, questions: Questions, n_items: int) -> RankingFigures:
    """Measures a scorer on the questions."""
    answers = answers_of(scorer, questions, n_items)
    return {
        "n": len(answers.hit),
        "hr_at_10": float(answers.hit.mean()),
        "ndcg_at_10": float(answers.gain.mean()),
        "auc": float(answers.above.mean()),
    }


def reward_model_figures(
    reward: SequenceReward, questions: Questions, seed: int = 0
) -> RewardModelFigures:
    """Measures a reward model on questions that it was not fitted on.

    Args:
        reward: the model.
        questions: as many as there are; a few hundred make a figure.
        seed: of the drawn items.
    """
    probability, label = sampled_answers(reward, questions, seed)
    return {
        **ranking_figures(reward.probabilities, questions, reward.n_items),
        "ece": calibration_error(probability.ravel(), label.ravel()),
        "mean_probability_random": float(probability[:, 1:].mean()),
    }


def sampled_answers(
    reward: SequenceReward, questions: Questions, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Asks for the probability of the true item and of as many random ones as in the fit.

    Returns:
        Probabilities and labels, (Q, 1 + N_NEGATIVES) both, the true item first.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(reward.n_items, size=(len(questions.truth), N_NEGATIVES))
    asked = np.concatenate([questions.truth[:, None], drawn], axis=1)  # (Q, 1 + K)
    probability = np.stack(
        [reward.probability(questions.histories, items) for items in asked.T], axis=1
    )
    label = np.zeros_like(probability)
    label[:, 0] = 1.0
    return probability, label


def calibration_error(probability: FloatArray, label: FloatArray, n_bins: int = 10) -> float:
    """Expected calibration error: |mean probability - share of positives|, weighted over bins.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), eq. 3.
    """
    bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    gap = np.bincount(bins, weights=probability - label, minlength=n_bins)
    return float(np.abs(gap).sum() / len(label))
