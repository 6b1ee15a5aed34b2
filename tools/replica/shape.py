"""The shape of a data set in figures: what a replica has in common with the real one.

``python -m tools.replica.shape`` prints the replicas' figures, and beside them those of
prepared data: name its folders.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsim_envs.data.dataset import Dataset

WINDOW = 12
"""How many items back :func:`describe` looks for an attribute: the environments' history."""


def describe(dataset: Dataset, attributes: Sequence[str]) -> dict[str, float]:
    """Measures sequences, popularity, and how items of a sequence share attributes.

    Args:
        dataset: any data set.
        attributes: item columns; empty values are left out.

    Returns:
        Figures by name. Per attribute: ``next same``, the share of items that have it in common
        with the item before; ``recent same``, with any of the last 12 items; ``chance same``, with
        an item drawn by popularity; ``values``, how many there are. A repeat of the same item does
        not count as sharing.
    """
    item = dataset.interactions["item"].to_numpy()
    sequence = dataset.interactions["sequence"].to_numpy()
    lengths = np.bincount(sequence)
    popularity = np.sort(np.bincount(item, minlength=dataset.n_items))[::-1]
    n = len(popularity)
    figures = {
        "items": n,
        "sequences": len(dataset.sequences),
        "interactions": len(item),
        "shortest": lengths.min(),
        "median length": np.median(lengths),
        "95% length": np.quantile(lengths, 0.95),
        "longest": lengths.max(),
        "events of the rarest item": popularity[-1],
        "share of the top 1%": popularity[: n // 100].sum() / popularity.sum(),
        "share of the top 10%": popularity[: n // 10].sum() / popularity.sum(),
        "share of the top 50%": popularity[: n // 2].sum() / popularity.sum(),
        "repeats": 1 - len(np.unique(np.stack([sequence, item]), axis=1)[0]) / len(item),
    }
    for attribute in attributes:
        column = dataset.items[attribute].to_numpy()
        code = np.unique(column, return_inverse=True)[1][item]
        code = np.where(column[item] == "", -1, code)  # (events,)
        inside = (sequence[1:] == sequence[:-1]) & (code[1:] >= 0)
        recent = np.zeros(len(item), dtype=bool)
        for lag in range(1, WINDOW + 1):
            same = (sequence[lag:] == sequence[:-lag]) & (code[lag:] == code[:-lag])
            recent[lag:] |= same & (item[lag:] != item[:-lag])
            if lag == 1:
                figures[f"{attribute}: next same"] = recent[1:][inside].mean()
        figures[f"{attribute}: recent same"] = recent[1:][inside].mean()
        counts = np.unique(code[code >= 0], return_counts=True)[1]
        figures[f"{attribute}: chance same"] = ((counts / counts.sum()) ** 2).sum()
        figures[f"{attribute}: values"] = len(counts)
    return {name: float(value) for name, value in figures.items()}


def describe_ratings(matrix: NDArray[np.floating] | NDArray[np.integer]) -> dict[str, float]:
    """Measures a completed rating matrix (n_users, n_items) of ratings 1..5.

    Returns:
        Figures by name; distances are those between two items' columns, by which a user of Coat-v0
        leaves.
    """
    squares = (matrix.astype(float) ** 2).sum(axis=0)
    gram = matrix.T.astype(float) @ matrix
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0.0))
    distance = distance[np.triu_indices(len(distance), k=1)]
    figures = {
        "mean rating": matrix.mean(),
        "users' means, sd": matrix.mean(axis=1).std(),
        "items' means, sd": matrix.mean(axis=0).std(),
        **{f"share of {rating}": (matrix == rating).mean() for rating in range(1, 6)},
        **{f"{q:.0%} distance": np.quantile(distance, q) for q in (0.01, 0.05, 0.25, 0.5, 0.75)},
        "pairs closer than 6": (distance < 6).mean(),
    }
    return {name: float(value) for name, value in figures.items()}


def _main(folders: Sequence[str]) -> None:
    from tools.replica import generate_coat, generate_industry, generate_lfm

    others = [Dataset.load(Path(folder)) for folder in folders]
    for dataset in (generate_lfm(), generate_industry(), *others):
        print(dataset)
        known = ("artist", "genre", "brand", "category")
        for name, value in describe(
            dataset, [column for column in known if column in dataset.items.columns]
        ).items():
            print(f"  {name:28} {value:12,.4g}")
    print("coat-replica, completed ratings")
    for name, value in describe_ratings(generate_coat()[1]).items():
        print(f"  {name:28} {value:12,.4g}")


if __name__ == "__main__":
    _main(sys.argv[1:])
