"""Fits Coat's user model, a DeepFM.

DeepFM: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction"
(IJCAI 2017). EasyRL4Rec's user model for Coat is a DeepFM regression on the self-selected ratings;
the training reward is the mean of an ensemble of five.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from recsim_envs.arrays import Float32Array
from recsim_envs.data.dataset import Dataset
from recsim_envs.rewards.ratings import RATING_RANGE


class DeepFM(nn.Module):
    """A factorisation machine and a small network over the same embedded categorical fields.

    Args:
        n_values: number of distinct values over all fields; values are numbered across fields.
        n_fields: number of fields a rating.
        embedding_dim: size of a value's embedding.
        hidden: width of the two hidden layers.
    """

    def __init__(
        self, n_values: int, n_fields: int, embedding_dim: int = 8, hidden: int = 64
    ) -> None:
        super().__init__()
        self.linear = nn.Embedding(n_values, 1)
        self.embedding = nn.Embedding(n_values, embedding_dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.network = nn.Sequential(
            nn.Linear(n_fields * embedding_dim, hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )
        self.mean = nn.Parameter(torch.zeros(()))

    def forward(self, fields: Tensor) -> Tensor:
        """Predicts a rating for each row of value numbers: (B, n_fields) to (B,)."""
        embedded = self.embedding(fields)  # (B, F, e)
        pairwise = embedded.sum(dim=1).square() - embedded.square().sum(dim=1)  # (B, e)
        prediction: Tensor = (
            self.mean
            + self.linear(fields).sum(dim=(1, 2))
            + 0.5 * pairwise.sum(dim=1)
            + self.network(embedded.flatten(1))[:, 0]
        )
        return prediction


def rating_fields(dataset: Dataset) -> tuple[Tensor, int]:
    """Numbers the categorical values of every (user, item) pair.

    Fields are the user, the item, and each attribute column of both tables.

    Returns:
        (n_users, n_items, n_fields) value numbers, and how many values there are.
    """
    assert dataset.users is not None
    columns, offset = [], 0
    for table, axis in ((dataset.users, 1), (dataset.items, 0)):
        attributes = table.drop(columns=["item_id", "user_id", "text"], errors="ignore")
        for column in (np.arange(len(table)), *(attributes[name] for name in attributes)):
            values = np.unique(column, return_inverse=True)[1]
            columns.append(np.expand_dims(values + offset, axis))  # (U, 1) or (1, I)
            offset += int(values.max()) + 1
    grid = np.broadcast_arrays(*columns)  # each (U, I)
    return torch.from_numpy(np.stack(grid, axis=-1)), offset


def fit_deepfm(
    dataset: Dataset,
    ratings: pd.DataFrame,
    *,
    seed: int,
    n_models: int = 5,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
) -> Float32Array:
    """Fits an ensemble by mean squared error and predicts every rating.

    Args:
        dataset: gives the fields.
        ratings: rows of ``dataset.interactions`` to fit.
        seed: of the first model; the others take the next ones.
        n_models: ensemble size (EasyRL4Rec: 5).
        epochs: passes over the ratings.
        batch_size: ratings a step.
        learning_rate: AdamW's.
        weight_decay: AdamW's.

    Returns:
        (n_users, n_items) mean prediction, clipped to 1..5.
    """
    fields, n_values = rating_fields(dataset)
    user, item = (torch.tensor(ratings[name].to_numpy()) for name in ("user", "item"))
    x = fields[user, item]  # (N, F)
    y = torch.tensor(ratings["rating"].to_numpy(np.float32))  # (N,)
    total = torch.zeros(fields.shape[:2])  # (U, I)
    with torch.random.fork_rng():
        for model_seed in trange(seed, seed + n_models, desc="DeepFM user model", unit="model"):
            torch.manual_seed(model_seed)
            model = DeepFM(n_values, fields.shape[-1])
            with torch.no_grad():
                model.mean.copy_(y.mean())
            optimizer = torch.optim.AdamW(
                model.parameters(), lr=learning_rate, weight_decay=weight_decay
            )
            for _ in range(epochs):
                for batch in torch.randperm(len(y)).split(batch_size):
                    loss = F.mse_loss(model(x[batch]), y[batch])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
            model.eval()
            with torch.no_grad():
                total += model(fields.flatten(0, 1)).view_as(total)
    predicted: Float32Array = (total / n_models).clamp(*RATING_RANGE).numpy()
    return predicted
