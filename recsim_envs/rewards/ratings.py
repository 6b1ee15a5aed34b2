"""Coat's rewards as an environment reads them: two completed rating matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsim_envs.arrays import Float32Array
from recsim_envs.data.stored import Stored
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import parse_tensors

if TYPE_CHECKING:
    import pandas as pd

RATING_RANGE = (1.0, 5.0)
RATINGS_FILE = "ratings.safetensors"


def ratings_of(stored: Stored) -> dict[str, Float32Array]:
    """The ``train`` and ``test`` ratings of a prepared folder, each (n_users, n_items).

    Raises:
        DataError: if it was prepared from sequences without users and ratings, or they are damaged.
    """
    folder, about, content = stored
    file = folder / RATINGS_FILE
    if RATINGS_FILE not in content:
        raise DataError(
            f"{file} is missing: this environment needs users and ratings, and {about['name']!r} "
            "holds sequences only"
        )
    found = parse_tensors(content[RATINGS_FILE], file)
    shape = (about["n_users"], about["n_items"])
    shapes = {name: (values.shape, str(values.dtype)) for name, values in found.items()}
    if shapes != dict.fromkeys(("train", "test"), (shape, "float16")):
        raise DamagedFileError(f"{file} holds {shapes}, not train and test ratings of {shape}")
    low, high = RATING_RANGE
    for name, ratings in found.items():
        if not ((ratings >= low) & (ratings <= high)).all():
            raise DamagedFileError(f"{file}: {name} holds what is no rating in {low}..{high}")
    return {name: ratings.astype(np.float32) for name, ratings in found.items()}


def rating_rmse(predicted: Float32Array, ratings: pd.DataFrame) -> float:
    """Root mean squared error of (n_users, n_items) predictions on ``ratings``."""
    error = predicted[ratings["user"].to_numpy(), ratings["item"].to_numpy()] - (
        ratings["rating"].to_numpy()
    )
    return float(np.sqrt(np.mean(error**2)))
