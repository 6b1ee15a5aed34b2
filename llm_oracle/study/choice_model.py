"""Conditional logit models of choices (McFadden, 1974): their fit, and what they are worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.model_selection import GroupKFold

from llm_oracle.calibration import Calibration
from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.report.figures import Figure, ratio_of

RIDGE = 0.1
"""In nats: too small to matter, but a feature that always decides keeps a finite weight."""


def cross_fitted(
    features: FloatArray, answers: IntArray, sequences: IntArray, folds: int
) -> tuple[FloatArray, FloatArray]:
    """Predicts the choices of each part of the sequences by a fit on the other parts.

    Args:
        features: (B, k, d) of the candidates.
        answers: (B,) index of the true choice.
        sequences: (B,) where each question comes from.
        folds: number of parts.

    Returns:
        The log-likelihood of each true choice in nats, (B,), and 1 where it was the likeliest.

    Raises:
        ValueError: if there are fewer sequences than folds.
    """
    utilities = np.empty(features.shape[:2])
    for seen, unseen in GroupKFold(folds).split(features, groups=sequences):
        utilities[unseen] = features[unseen] @ fit_logit(features[seen], answers[seen])
    log_likelihood: FloatArray = log_softmax(utilities, axis=1)[np.arange(len(answers)), answers]
    return log_likelihood, (utilities.argmax(axis=1) == answers).astype(np.float64)


def fit_logit(features: FloatArray, answers: IntArray) -> FloatArray:
    """The weights (d,) of a conditional logit model, by maximum likelihood with a small ridge.

    Args:
        features: (B, k, d) of the candidates, in any units.
        answers: (B,) index of the true choice.
    """
    rows = np.arange(len(answers))
    # Only differences within a slate count.
    spread = (features - features.mean(axis=1, keepdims=True)).std(axis=(0, 1))
    unit = np.where(spread > 0, spread, 1.0)
    scaled = features / unit

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        utilities = scaled @ weights
        likelihood = log_softmax(utilities, axis=1)[rows, answers].sum()
        expected = (softmax(utilities, axis=1)[..., None] * scaled).sum(axis=1)
        slope = (scaled[rows, answers] - expected).sum(axis=0)
        return RIDGE / 2 * weights @ weights - likelihood, RIDGE * weights - slope

    found = minimize(loss, np.zeros(features.shape[2]), jac=True, method="L-BFGS-B")
    weights: FloatArray = found.x / unit
    return weights


def fit_calibration(
    scores: NDArray[np.floating],
    log_counts: NDArray[np.floating],
    answers: IntArray,
    popularity: bool = True,
) -> Calibration:
    """Fits the three numbers of a judge's calibration, by :func:`fit_logit`.

    The k + 1 utilities are linear in them, so the likelihood has one maximum.

    Args:
        scores: (B, k) in any units.
        log_counts: (B, k) log(1 + popularity).
        answers: (B,) index of the choice, -1 for "None of them".
        popularity: False leaves its weight at 0.
    """
    n, k = scores.shape
    features = np.zeros((n, k + 1, 3))
    features[:, :k, 0] = scores
    features[:, :k, 1] = log_counts * popularity
    features[:, k, 2] = 1.0
    weights = fit_logit(features, np.where(answers < 0, k, answers))
    return Calibration(*(float(weight) for weight in weights))


def mean_by_sequence(values: FloatArray, sequences: IntArray) -> Figure:
    """The mean of the questions' values (B,), its interval from resampling whole sequences."""
    _, place = np.unique(sequences, return_inverse=True)
    return ratio_of(np.bincount(place, values), np.bincount(place))
