"""The learned reward of LFM and Industry: how likely a user is to like an item after a history.

The model is a SASRec encoder whose output is compared with item embeddings, trained with binary
cross-entropy on the true next item against uniformly sampled ones. It follows the user response
model of HAC (Liu et al., "Exploration and Regularization of the Latent Action Space in
Recommendation", WWW 2023), without applying the sigmoid twice as HAC's published code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import trange

from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import DataError
from recsim_envs.rewards.sasrec import SASRec

N_NEGATIVES = 10
"""Sampled items against each true one: a random recommendation then has p of about 1 / (1 + 10)."""


class SequenceRewardModel(nn.Module):
    """Scores items after a history: ``sigmoid(score)`` is the probability of a positive response.

    Args:
        n_items: catalogue size.
        history_length: H, the longest history.
        embedding_dim: d of the encoder.
    """

    def __init__(self, n_items: int, history_length: int = 12, embedding_dim: int = 64) -> None:
        super().__init__()
        self.encoder = SASRec(n_items, history_length, embedding_dim, dropout=0.3)
        self.item_bias = nn.Embedding(n_items + 1, 1, padding_idx=n_items)
        nn.init.zeros_(self.item_bias.weight)

    def logits(self, encoded: Tensor, items: Tensor) -> Tensor:
        """Scores of ``items`` (..., K) after the encoded histories (..., d): (..., K)."""
        embedded = self.encoder.item_embedding(items)  # (..., K, d)
        match: Tensor = (embedded @ encoded[..., None]).squeeze(-1)
        bias: Tensor = self.item_bias(items).squeeze(-1)
        return match + bias

    def score(self, histories: Tensor, items: Tensor) -> Tensor:
        """Scores one item a history: (B, H) and (B,) to (B,)."""
        return self.logits(self.encoder.encode(histories), items[:, None])[:, 0]

    def scores(self, histories: Tensor) -> Tensor:
        """Scores the whole catalogue after each history: (B, H) to (B, n_items)."""
        n_items = self.encoder.n_items
        weight = self.encoder.item_embedding.weight[:n_items]  # (n_items, d)
        return F.linear(self.encoder.encode(histories), weight, self.item_bias.weight[:n_items, 0])


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
    history_length: int = 12,
    embedding_dim: int = 64,
    n_negatives: int = N_NEGATIVES,
    max_epochs: int = 100,
    patience: int = 4,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
    weight_decay: float = 1e-2,
    progress: str = "reward model",
) -> SequenceRewardModel:
    """Fits the model with binary cross-entropy on sampled negatives.

    A tenth of the sequences is kept aside: the weights of the pass with the lowest loss on it are
    the result, for a model that has learned its sequences by heart gives overconfident rewards.

    Args:
        sequences: training sequences of item ids, oldest first.
        n_items: catalogue size.
        seed: of the initial weights, the batches and the negatives.
        history_length: H (not given; the longest session is 12 steps).
        embedding_dim: d (not given).
        n_negatives: uniformly drawn items against each true next one (not given). It sets the base
            rate of a positive response, and with it the reward of a random recommendation.
        max_epochs: most passes over the data.
        patience: passes without a new lowest validation loss after which the fit ends.
        batch_size: windows a step (not given).
        learning_rate: AdamW's (not given).
        weight_decay: AdamW's (not given).
        progress: the progress bar's label.

    Returns:
        The fitted model, in eval mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SequenceRewardModel(n_items, history_length, embedding_dim)
        order = torch.randperm(len(sequences)).tolist()
        n_aside = max(1, len(order) // 10)
        aside, kept = order[:n_aside], order[n_aside:] or order
        windows = cut_windows([sequences[i] for i in kept], n_items, history_length)
        validation = cut_windows([sequences[i] for i in aside], n_items, history_length)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        best_loss, best_epoch, best_state = float("inf"), 0, model.state_dict()
        bar = trange(max_epochs, desc=progress, unit="epoch")
        for epoch in bar:
            model.train()
            for batch in torch.randperm(len(windows["history"])).split(batch_size):
                loss = _loss(
                    model, windows["history"][batch], windows["target"][batch], n_negatives
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            model.eval()
            # The same negatives after each pass, so that passes can be compared.
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(seed)
                loss = _loss(model, validation["history"], validation["target"], n_negatives)
            bar.set_postfix(validation_loss=f"{loss:.4f}", best_epoch=best_epoch)
            if loss < best_loss:
                best_loss, best_epoch, best_state = float(loss), epoch, deepcopy(model.state_dict())
            elif epoch - best_epoch >= patience:
                break
        bar.close()
        model.load_state_dict(best_state)
    return model.eval()


def _loss(model: SequenceRewardModel, history: Tensor, target: Tensor, n_negatives: int) -> Tensor:
    """Binary cross-entropy of each true next item among sampled ones; (B, H) both."""
    n_items = model.encoder.n_items
    encoded = model.encoder(history)[target != n_items]  # (P, d)
    positive = target[target != n_items][:, None]  # (P, 1)
    negative = torch.randint(n_items, (len(positive), n_negatives))  # (P, K)
    logits = model.logits(encoded, torch.cat([positive, negative], dim=1))  # (P, 1 + K)
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return F.binary_cross_entropy_with_logits(logits, labels)


class RewardModelFigures(TypedDict):
    """Quality on held-out interactions.

    Attributes:
        n: how many interactions.
        hr_at_10: share whose true item is among the 10 best of the whole catalogue.
        auc: probability that the true item outscores a uniformly drawn one.
        ece: expected calibration error, 10 bins, at the training's base rate of positives.
        mean_probability_random: mean ``sigmoid(score)`` of a uniformly drawn item.
    """

    n: int
    hr_at_10: float
    auc: float
    ece: float
    mean_probability_random: float


@torch.no_grad()
def evaluate_reward_model(
    model: SequenceRewardModel,
    sequences: Sequence[IntArray],
    *,
    n_negatives: int = N_NEGATIVES,
    seed: int = 0,
) -> RewardModelFigures:
    """Measures the model on the last item of each sequence, given those before it.

    Args:
        model: a fitted model.
        sequences: of at least two items; their last items must not have been trained on.
        n_negatives: as in training; the base rate at which calibration is measured.
        seed: of the drawn negatives.
    """
    n_items, length = model.encoder.n_items, model.encoder.history_length
    generator = torch.Generator().manual_seed(seed)
    histories = torch.full((len(sequences), length), n_items)
    for row, sequence in zip(histories, sequences, strict=True):
        recent = torch.from_numpy(sequence[:-1][-length:])
        row[-len(recent) :] = recent
    truth = torch.tensor([int(sequence[-1]) for sequence in sequences])
    negatives = torch.randint(n_items, (len(truth), n_negatives), generator=generator)
    hits, parts = 0, []
    for chunk in torch.arange(len(truth)).split(512):
        scores = model.scores(histories[chunk])  # (B, n_items)
        of_truth = scores.gather(1, truth[chunk, None])  # (B, 1)
        hits += int(((scores > of_truth).sum(dim=1) < 10).sum())
        parts.append(torch.cat([of_truth, scores.gather(1, negatives[chunk])], dim=1))
    logits = torch.cat(parts)  # (N, 1 + K)
    above = (logits[:, :1] > logits[:, 1:]).float() + 0.5 * (logits[:, :1] == logits[:, 1:]).float()
    probability = logits.sigmoid()
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return {
        "n": len(truth),
        "hr_at_10": hits / len(truth),
        "auc": float(above.mean()),
        "ece": calibration_error(probability.ravel().numpy(), labels.ravel().numpy()),
        "mean_probability_random": float(probability[:, 1:].mean()),
    }


def calibration_error(
    probability: NDArray[np.float32], label: NDArray[np.float32], n_bins: int = 10
) -> float:
    """Expected calibration error: |mean probability - share of positives|, weighted over bins.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), eq. 3.
    """
    bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    gap = np.bincount(bins, weights=probability - label, minlength=n_bins)
    return float(np.abs(gap).sum() / len(label))


def load_reward_model(file: Path) -> SequenceRewardModel:
    """Reads the weights of a sequence reward model; its sizes follow from their shapes."""
    if not file.is_file():
        raise DataError(
            f"{file} is missing: this environment needs sequences, and {file.parent.name!r} holds "
            "ratings"
        )
    state = {key: value.float() for key, value in load_file(file).items()}
    rows, embedding_dim = state["encoder.item_embedding.weight"].shape
    history_length = len(state["encoder.position_embedding.weight"])
    model = SequenceRewardModel(rows - 1, history_length, embedding_dim)
    model.load_state_dict(state)
    return model.eval()
