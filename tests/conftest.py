"""Shared fixtures: where the real data is, and small data sets made here."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recsim_envs.dataset import Dataset

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RECSIM_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}: set RECSIM_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def real_ratings(real_data: Path) -> np.ndarray:
    matrix = np.loadtxt(real_data / "raw" / "coat" / "coat_pseudoGT_ratingM.ascii")
    return matrix.astype(np.float32)


@pytest.fixture(scope="session")
def chains() -> Dataset:
    """20 items in 4 rings of 5: the next item is always the ring's next, so it can be learned."""
    rng = np.random.default_rng(0)
    rows = []
    for sequence in range(200):
        ring, first = rng.integers(4), rng.integers(5)
        rows += [(sequence, 5 * ring + (first + i) % 5, i) for i in range(8)]
    sequence_id, item_id, position = zip(*rows, strict=True)
    interactions = {"sequence_id": sequence_id, "item_id": item_id, "position": position}
    items = pl.DataFrame({"item_id": range(20)}).with_columns(
        title=pl.format("item {} of ring {}", pl.col("item_id"), pl.col("item_id") // 5)
    )
    return Dataset.from_frame("chains", interactions, items, text="title", replica=True)
