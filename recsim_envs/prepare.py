"""Prepared data: a folder that holds a dataset, its fitted reward models and their model card.

The replicas inside the package and the data sets that ``recsim prepare`` builds have the same
layout, so that one loader serves both::

    dataset.json, items.parquet, interactions.parquet, users.parquet (Coat)
    card.json                       what was fitted, on what, how good it is
    train.safetensors               sequences: reward model of the training split
    test.safetensors                sequences: another seed, fitted on all sequences
    test_disjoint.safetensors       sequences: fitted on the held-out sequences alone
    ratings.safetensors             Coat: ``train`` (DeepFM) and ``test`` (completed) ratings
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from recsim_envs.dataset import DataError, Dataset, IntArray
from recsim_envs.ratings import RATING_RANGE, factorise, fit_deepfm, rating_rmse
from recsim_envs.reward_model import (
    SequenceRewardModel,
    evaluate_reward_model,
    fit_reward_model,
)

REPLICAS = Path(__file__).parent / "replicas"


def data_home() -> Path:
    """Where prepared data lives: ``$RECSIM_DATA``, or the user's data folder."""
    return Path(os.environ.get("RECSIM_DATA") or platformdirs.user_data_dir("recsim"))


def prepared_names() -> list[str]:
    """The names of all prepared data sets."""
    return sorted(folder.parent.name for folder in data_home().glob("*/card.json"))


def data_folder(data: str, replica: str) -> Path:
    """Finds prepared data.

    Args:
        data: "replica", or the name given to ``recsim prepare``.
        replica: which of the package's replicas "replica" stands for.

    Raises:
        DataError: if nothing was prepared under that name.
    """
    if data == "replica":
        return REPLICAS / replica
    folder = data_home() / data
    if not (folder / "card.json").is_file():
        known = ", ".join(repr(name) for name in ["replica", *prepared_names()])
        raise DataError(
            f"data={data!r} is not prepared in {data_home()}: use one of {known}, "
            f"or build it with `recsim prepare {data} FOLDER`"
        )
    return folder


def load_data(name: str) -> Dataset:
    """Loads a data set by its prepared name, or a replica as "replica/industry" and so on.

    Raises:
        DataError: if there is none of that name.
    """
    kind, _, which = name.partition("/")
    if kind != "replica":
        return Dataset.load(data_folder(name, ""))
    known = sorted(folder.parent.name for folder in REPLICAS.glob("*/card.json"))
    if which not in known:
        names = ", ".join(f"replica/{each}" for each in known)
        raise DataError(f"data={name!r} is no replica: use one of {names}, or a prepared name")
    return Dataset.load(data_folder("replica", which))


def file_hash(file: Path) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def load_reward_model(file: Path) -> SequenceRewardModel:
    """Reads the weights of a sequence reward model; its sizes follow from their shapes."""
    if not file.is_file():
        raise DataError(
            f"{file} is missing: this environment needs sequences, and "
            f"{file.parent.name!r} holds {'ratings' if _holds_ratings(file.parent) else 'none'}"
        )
    state = {key: value.float() for key, value in load_file(file).items()}
    rows, embedding_dim = state["encoder.item_embedding.weight"].shape
    history_length = len(state["encoder.position_embedding.weight"])
    model = SequenceRewardModel(rows - 1, history_length, embedding_dim)
    model.load_state_dict(state)
    return model.eval()


def load_ratings(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Reads the ``train`` and ``test`` ratings, each (n_users, n_items)."""
    if not _holds_ratings(folder):
        raise DataError(
            f"{folder / 'ratings.safetensors'} is missing: this environment needs users and "
            f"ratings, and {folder.name!r} holds sequences only"
        )
    return load_arrays(folder / "ratings.safetensors")


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    truth: NDArray[np.float32] | None = None,
    seed: int = 0,
    embedding_dim: int = 64,
    max_epochs: int = 100,
) -> dict[str, Any]:
    """Fits a dataset's reward models and writes the folder, all or nothing.

    A dataset with users and ratings becomes data for ``recsim/Coat-v0``, any other for the
    environments of sequences.

    Args:
        dataset: the data.
        folder: where to; replaced if it exists.
        truth: (n_users, n_items) completed ratings, in 1..5; None completes them by matrix
            factorisation of all ratings, rounded as the published matrix is. Ratings only.
        seed: of the split and of everything fitted.
        embedding_dim: d of the sequence models.
        max_epochs: most passes over the sequences; a fit ends earlier when it stops improving.

    Returns:
        The model card, as written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        build = Path(temporary) / "build"
        dataset.save(build)
        if dataset.users is not None and "rating" in dataset.interactions.columns:
            figures = _prepare_ratings(dataset, build, truth, seed)
        else:
            figures = _prepare_sequences(dataset, build, seed, embedding_dim, max_epochs)
        card = {
            "data": repr(dataset),
            "data_hash": dataset.hash,
            "replica": dataset.replica,
            "seed": seed,
            "versions": {name: version(name) for name in ("torch", "numpy", "polars")},
            **figures,
        }
        (build / "card.json").write_text(json.dumps(card, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        build.rename(folder)
    return card


def _prepare_sequences(
    dataset: Dataset, folder: Path, seed: int, embedding_dim: int, max_epochs: int
) -> dict[str, Any]:
    train, held_out = dataset.split(seed)

    def items_of(numbers: IntArray) -> list[IntArray]:
        return [dataset.sequences[n] for n in numbers if len(dataset.sequences[n]) > 1]

    # The last item of each held-out sequence is what the cards are measured on: nobody sees it.
    measured = items_of(held_out)
    seen_part = [sequence[:-1] for sequence in measured]
    fits = {
        "train": (items_of(train), seed),
        "test": (items_of(train) + seen_part, seed + 1),
        "test_disjoint": (seen_part, seed + 2),
    }
    models = {}
    for name, (sequences, fit_seed) in fits.items():
        model = fit_reward_model(
            sequences,
            dataset.n_items,
            seed=fit_seed,
            embedding_dim=embedding_dim,
            max_epochs=max_epochs,
            progress=f"reward model {name}",
        )
        # Half precision halves the files; what was stored is what is measured and used.
        state = {key: value.half() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
        stored = load_reward_model(folder / f"{name}.safetensors")
        models[name] = {
            "fitted_on_sequences": len(sequences),
            "seed": fit_seed,
            "embedding_dim": embedding_dim,
            "held_out_last_items": evaluate_reward_model(stored, measured),
        }
    return {"models": models}


def _prepare_ratings(
    dataset: Dataset, folder: Path, truth: NDArray[np.float32] | None, seed: int
) -> dict[str, Any]:
    rated = dataset.interactions
    if "split" not in rated.columns:
        raise DataError(
            "interactions has no column 'split': mark self-selected ratings 'train' and randomly "
            "drawn ones 'test'"
        )
    train = rated.filter(pl.col("split") == "train")
    test = rated.filter(pl.col("split") == "test")
    shape = (dataset.n_users, dataset.n_items)
    completion = "given"
    if truth is None:
        completion = "matrix factorisation of all ratings, rounded"
        truth = np.round(factorise(rated, shape, seed=seed))
    if truth.shape != shape:
        raise DataError(f"the completed ratings have shape {truth.shape}, not {shape}")
    low, high = RATING_RANGE
    if truth.min() < low or truth.max() > high:
        raise DataError(
            f"the completed ratings span {truth.min()}..{truth.max()}, not {low}..{high}"
        )
    deepfm = fit_deepfm(dataset, train, seed=seed)
    constant = np.full(shape, train["rating"].mean(), dtype=np.float32)
    save_arrays({"train": deepfm, "test": truth.astype(np.float32)}, folder / "ratings.safetensors")
    return {
        "completed_ratings": completion,
        "rmse_on_random_ratings": {
            "DeepFM, mean of 5 (the training reward)": rating_rmse(deepfm, test),
            "matrix factorisation": rating_rmse(factorise(train, shape, seed=seed), test),
            "constant (training mean)": rating_rmse(constant, test),
            "completed ratings (the test reward)": rating_rmse(truth, test),
        },
    }


def _holds_ratings(folder: Path) -> bool:
    return (folder / "ratings.safetensors").is_file()


def load_split(folder: Path, dataset: Dataset, split: str) -> IntArray:
    """The sequences that start the sessions of ``split``: "train" or "test"."""
    seed = json.loads((folder / "card.json").read_text())["seed"]
    train, held_out = dataset.split(seed)
    return train if split == "train" else held_out
