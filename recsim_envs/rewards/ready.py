"""Whether a data set can carry an environment and a judge, asked before anything is fitted.

What passes here fails neither in ``reset`` or ``step`` nor in a judge.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DataError

CANDIDATES = 10
"""Of a judge's slate (the paper: k = 10)."""
LIKED = 4
"""The lowest rating, of 1 to 5, of what counts as a choice where every rating is kept."""


class Parts(NamedTuple):
    """The sequences of two items or more that the reward models are fitted and measured on.

    Attributes:
        train: of the training split.
        held_out: of the other, whole.
        seen: those of ``held_out`` without their last item, which measures, where two are left.
    """

    train: list[IntArray]
    held_out: list[IntArray]
    seen: list[IntArray]


def has_ratings(dataset: Dataset) -> bool:
    """Whether the data is for ``recsim/Coat-v0``; else it is for the environments of sequences."""
    return dataset.users is not None and "rating" in dataset.interactions.columns


def check_items(dataset: Dataset) -> None:
    """Raises DataError if the catalogue does not fill a slate."""
    if dataset.n_items < CANDIDATES:
        raise DataError(
            f"{dataset.name!r} has {dataset.n_items} items, but a judge chooses from "
            f"{CANDIDATES} candidates: give at least as many items"
        )


def check_sequences(dataset: Dataset) -> Parts:
    """Returns what the reward models are fitted on.

    Raises:
        DataError: if a part holds nothing that could be learned or measured.
    """
    if dataset.scenario == "clothes":
        raise DataError(
            f"scenario='clothes' of {dataset.name!r} is for recsim/Coat-v0, which needs users and "
            "their ratings: add both (--all-ratings where no column 'split' tells them apart), or "
            "use --scenario products"
        )
    n = len(dataset.sequences)
    train, held_out = dataset.with_choices(dataset.train), dataset.with_choices(dataset.held_out)
    seen = [sequence[:-1] for sequence in held_out if len(sequence) > 2]
    for part, sequences in (
        ("training sequences", train),
        ("held-out sequences", held_out),
        ("held-out sequences, their last item left out to measure,", seen),
    ):
        if not sequences:
            raise DataError(
                f"none of the {part} of {dataset.name!r} holds two items: give more sequences "
                f"than {n}, longer ones, or another --seed"
            )
        if not any(len(np.unique(sequence)) > 1 for sequence in sequences):
            raise DataError(
                f"none of the {part} of {dataset.name!r} holds two different items: nothing says "
                "which item comes after another; give other sequences, or another --seed"
            )
    return Parts(train, held_out, seen)


def check_ratings(dataset: Dataset) -> None:
    """Raises DataError unless two users gave ratings to learn from and ratings to measure on."""
    rated = dataset.interactions
    if dataset.n_users < 2:
        raise DataError(f"{dataset.name!r} has {dataset.n_users} user: give two or more")
    if "split" not in rated.columns:
        raise DataError(
            "interactions has no column 'split': mark self-selected ratings 'train' and randomly "
            "drawn ones 'test', or build the data set with all_ratings=True"
        )
    for split in ("train", "test"):
        if not (rated["split"] == split).any():
            raise DataError(
                f"interactions has no rating with split {split!r}: give ratings of both"
            )


def question_notes(dataset: Dataset) -> list[str]:
    """Says so if judges cannot be compared on the held-out sequences."""
    rows = dataset.interactions[dataset.interactions["sequence"].isin(dataset.held_out)]
    if "rating" in rows.columns:
        rows = rows[rows["rating"] >= LIKED]
    items = rows.groupby("sequence")["item"]
    new = dataset.n_items - items.nunique()
    if ((items.size() > 1) & (new >= CANDIDATES)).any():
        return []
    return [
        f"judges: no held-out sequence holds two choices and leaves {CANDIDATES} other items, so "
        "`recsim judge-report` has nothing to ask; a lower --k needs fewer others"
    ]
