"""Coat's rewards as an environment reads them: two completed rating matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from recsim_envs.arrays import Float32Array
from recsim_envs.data.dataset import DataError

RATING_RANGE = (1.0, 5.0)
RATINGS_FILE = "ratings.safetensors"


def load_ratings(folder: Path) -> dict[str, Float32Array]:
    """Reads the ``train`` and ``test`` ratings, each (n_users, n_items).

    Raises:
        DataError: if the folder was prepared from sequences without users and ratings.
    """
    file = folder / RATINGS_FILE
    if not file.is_file():
        raise DataError(
            f"{file} is missing: this environment needs users and ratings, and {folder.name!r} "
            "holds sequences only"
        )
    return {name: ratings.astype(np.float32) for name, ratings in load_file(file).items()}


def rating_rmse(predicted: Float32Array, ratings: pd.DataFrame) -> float:
    """Root mean squared error of (n_users, n_items) predictions on ``ratings``."""
    error = predicted[ratings["user"].to_numpy(), ratings["item"].to_numpy()] - (
        ratings["rating"].to_numpy()
    )
    return float(np.sqrt(np.mean(error**2)))
