"""Matrix factorisation: completes a rating matrix, and is what a user model must beat."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsim_envs.arrays import Float32Array
from recsim_envs.rewards.ratings import RATING_RANGE


def factorise(
    ratings: pd.DataFrame,
    shape: tuple[int, int],
    *,
    seed: int = 0,
    rank: int = 4,
    ridge: float = 8.0,
    sweeps: int = 20,
) -> Float32Array:
    """Completes a rating matrix by alternating least squares with a user and an item bias.

    Source: Koren et al., "Matrix Factorization Techniques for Recommender Systems" (2009), eq. 5.

    Args:
        ratings: columns ``user``, ``item``, ``rating``.
        shape: (n_users, n_items).
        seed: of the initial factors.
        rank: number of latent factors beside the biases.
        ridge: weight of the squared norm.
        sweeps: alternations.

    Returns:
        (n_users, n_items) predictions, clipped to 1..5.
    """
    user, item = ratings["user"].to_numpy(), ratings["item"].to_numpy()
    rating = ratings["rating"].to_numpy().astype(np.float64)
    mean = rating.mean()
    rng = np.random.default_rng(seed)
    # Columns: a factor that meets the other side's bias, the side's own bias, then the latent ones.
    user_factors = 0.1 * rng.standard_normal((shape[0], rank + 2))
    item_factors = 0.1 * rng.standard_normal((shape[1], rank + 2))
    user_factors[:, 0] = item_factors[:, 1] = 1.0
    for _ in range(sweeps):
        for own, other, rows, others, fixed in (
            (user_factors, item_factors, user, item, 0),
            (item_factors, user_factors, item, user, 1),
        ):
            free = [c for c in range(rank + 2) if c != fixed]
            for row in np.unique(rows):
                seen = rows == row
                design = other[others[seen]]  # (n, rank + 2)
                residual = rating[seen] - mean - design[:, fixed]
                a = design[:, free].T @ design[:, free] + ridge * np.eye(rank + 1)
                own[row, free] = np.linalg.solve(a, design[:, free].T @ residual)
    completed = mean + user_factors @ item_factors.T
    clipped: Float32Array = np.clip(completed, *RATING_RANGE).astype(np.float32)
    return clipped
