"""Fits the sequence reward model.

Source of the loss on sampled items: the user response model of HAC (Liu et al., "Exploration and
Regularization of the Latent Action Space in Recommendation", WWW 2023), without applying the
sigmoid twice as its published code does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor
from tqdm import trange

from recsim_envs.arrays import Float32Array, FloatArray, IntArray
from recsim_envs.rewards.evaluate import N_NEGATIVES
from recsim_envs.rewards.reward_model import SIMILARITY_DIM, SequenceRewardModel

LEAST_STEPS = 20
"""Of a pass: small data has smaller batches, else it would be judged after every step or two."""


class Windows(TypedDict):
    """Training examples: each history position with the item that came next."""

    history: Tensor  # (W, H)
    target: Tensor  # (W, H)


def cut_windows(sequences: Sequence[IntArray], n_items: int, history_length: int) -> Windows:
    """Cuts sequences into windows so that each transition is in one of them, exactly once.

    Args:
        sequences: item ids, oldest first; those shorter than 2 hold no transition and are skipped.
        n_items: the padding id.
        history_length: H.
    """
    pieces = [
        sequence[start : start + history_length + 1]
        for sequence in sequences
        for start in range(0, len(sequence) - 1, history_length)
    ]
    padded = np.full((len(pieces), history_length + 1), n_items)  # (W, H + 1)
    for row, piece in zip(padded, pieces, strict=True):
        row[-len(piece) :] = piece
    windows = torch.from_numpy(padded)
    target = windows[:, 1:].clone()
    target[windows[:, :-1] == n_items] = n_items
    return {"history": windows[:, :-1], "target": target}


def fit_reward_model(
    sequences: Sequence[IntArray],
    n_items: int,
    *,
    seed: int,
    item_features: Float32Array | None = None,
    history_length: int = 12,
    embedding_dim: int = 64,
    similarity_dim: int = SIMILARITY_DIM,
    n_negatives: int = 512,
    max_epochs: int = 50,
    patience: int = 3,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
    progress: str = "reward model",
) -> SequenceRewardModel:
    """Fits the model with binary cross-entropy on sampled negatives, which a batch shares.

    A tenth of the sequences is kept aside: the weights of the pass with the lowest loss on it are
    the result, for a model that has learned its sequences by heart gives overconfident rewards.

    Args:
        sequences: training sequences of item ids, oldest first.
        n_items: catalogue size.
        seed: of the initial weights, the batches and the negatives.
        item_features: (n_items, F), what the item vectors start from, in decreasing order of
            information (``text_features(dataset, dim=similarity_dim)``); None starts at random.
        history_length: H (not given; the longest session is 12 steps).
        embedding_dim: d of the encoder (not given).
        similarity_dim: D of the similarity term's vectors, see there.
        n_negatives: uniformly drawn items that each true next one of a batch is told from (not
            given; measured: 128 rank worse, 2,048 no better). Fewer in a smaller catalogue. The
            base rate of the probabilities does not depend on it: see :func:`_loss`.
        max_epochs: most passes over the data (5 to 10 are usual).
        patience: passes without a new lowest validation loss after which the fit ends.
        batch_size: windows a step (not given); at most a twentieth of them.
        learning_rate: AdamW's (not given; measured).
        weight_decay: AdamW's (not given).
        progress: the progress bar's label.

    Returns:
        The fitted model, in eval mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SequenceRewardModel(n_items, history_length, embedding_dim, similarity_dim)
        if item_features is not None:
            model.start_from(item_features)
        with torch.no_grad():  # at the base rate from the first step on
            model.item_bias.weight[:n_items] = -math.log(N_NEGATIVES)
        aside, kept = _set_aside(sequences)
        windows = cut_windows([sequences[i] for i in kept], n_items, history_length)
        validation = cut_windows([sequences[i] for i in aside], n_items, history_length)
        n_windows = len(windows["history"])
        batch_size = min(batch_size, math.ceil(n_windows / LEAST_STEPS))
        n_shared = min(n_negatives, n_items)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        best_loss, best_epoch, best_state = float("inf"), 0, model.state_dict()
        bar = trange(max_epochs, desc=progress, unit="epoch")
        for epoch in bar:
            model.train()
            for batch in torch.randperm(n_windows).split(batch_size):
                loss = _loss(model, windows["history"][batch], windows["target"][batch], n_shared)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            model.eval()
            # The same negatives after each pass, so that passes can be compared.
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(seed)
                loss = _loss(model, validation["history"], validation["target"], n_shared)
            bar.set_postfix(validation_loss=f"{loss:.4f}", best_epoch=best_epoch)
            if loss < best_loss:
                best_loss, best_epoch, best_state = float(loss), epoch, deepcopy(model.state_dict())
            elif epoch - best_epoch >= patience:
                break
        bar.close()
        model.load_state_dict(best_state)
        model.eval()
        _calibrate(model, validation, n_shared)
    return model


def _set_aside(sequences: Sequence[IntArray]) -> tuple[list[int], list[int]]:
    """Draws a tenth of the sequences to judge the fit by; the numbers of those and of the others.

    A sequence of one item, however often, has nothing to judge or to learn by. Where either part
    has no other, those that are not so judge, and all are learned from.
    """

    def tells(number: int) -> bool:
        return len(np.unique(sequences[number])) > 1

    order = torch.randperm(len(sequences)).tolist()
    n_aside = max(1, len(order) // 10)
    aside, kept = order[:n_aside], order[n_aside:] or order
    if any(map(tells, aside)) and any(map(tells, kept)):
        return aside, kept
    telling = list(filter(tells, order))
    if not telling:
        raise ValueError("no sequence holds two different items: there is nothing to learn")
    return telling[:n_aside], order


class Drawn(NamedTuple):
    """What P places of histories are asked, and the scores.

    Attributes:
        positive: (P,) of the true next item.
        negative: (P, K) of the items that all places share.
        had: (P, K) whether the user has had that item: then it is no negative.
    """

    positive: Tensor
    negative: Tensor
    had: Tensor


def _draw(model: SequenceRewardModel, history: Tensor, target: Tensor, n_shared: int) -> Drawn:
    """Scores each true next item, and shared negatives; (B, H) both.

    What a user has had is neither true nor false here: how often it is taken again is solved for
    afterwards, see :mod:`recsim_envs.rewards.repeats`.
    """
    n_items = model.encoder.n_items
    causal = torch.ones(history.shape[1], history.shape[1], dtype=torch.bool).tril()
    again = ((target[:, :, None] == history[:, None, :]) & causal).any(dim=2)  # (B, H)
    asked = (target != n_items) & ~again  # P of them
    queries = model.queries(history)[asked]  # (P, d + D)
    positive = model.logits(queries, target[asked][:, None])[:, 0]
    items = torch.randint(n_items, (n_shared,))
    had = ((history[:, :, None] == items).cumsum(dim=1) > 0)[asked]
    return Drawn(positive, model.shared_logits(queries, items), had)


def _loss(model: SequenceRewardModel, history: Tensor, target: Tensor, n_shared: int) -> Tensor:
    """Binary cross-entropy of each true next item among K shared negatives; (B, H) both.

    With K negatives the best logit is log(p(a|h) n / K), so ``score - log(K / N_NEGATIVES)`` is
    trained on K, and ``sigmoid(score)`` has the base rate of ``N_NEGATIVES``: many negatives teach
    the ranking, and the probabilities stay those of few.
    """
    shift = math.log(n_shared / N_NEGATIVES)
    positive, negative, had = _draw(model, history, target, n_shared)
    of_negative = F.softplus(negative - shift).masked_fill(had, 0.0).sum(dim=1)  # (P,)
    return (F.softplus(shift - positive) + of_negative).mean()


def _calibrate(model: SequenceRewardModel, validation: Windows, n_shared: int) -> None:
    """Platt scaling on the sequences kept aside: the ranking stays, probabilities become honest.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999). The slope is fitted
    as its logarithm, so that it cannot turn the ranking around.
    """
    with torch.no_grad():
        drawn = _draw(model, validation["history"], validation["target"], n_shared)
    positive = drawn.positive.double().numpy()
    negative = drawn.negative[~drawn.had].double().numpy()
    weight = N_NEGATIVES / n_shared  # the base rate of N_NEGATIVES

    def loss(line: FloatArray) -> float:
        slope = np.exp(line[0])
        of_positive = np.logaddexp(0, -slope * positive - line[1]).sum()
        return float(of_positive + weight * np.logaddexp(0, slope * negative + line[1]).sum())

    # Few sequences kept aside may be told apart perfectly: then no slope is steep enough.
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-1, 1), (-5, 5)])
    model.rescale(float(np.exp(found.x[0])), float(found.x[1]))
