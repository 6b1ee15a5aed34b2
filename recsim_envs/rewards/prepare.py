"""Fits a data set's reward models and writes the folder that the environments load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.replace import replacing
from recsim_envs.data.stored import CARD
from recsim_envs.data.text import text_features, text_notes
from recsim_envs.errors import DataError
from recsim_envs.files import write_whole
from recsim_envs.notices import logger
from recsim_envs.rewards.baselines import baseline_figures
from recsim_envs.rewards.deepfm import fit_deepfm
from recsim_envs.rewards.evaluate import questions_of, reward_model_figures
from recsim_envs.rewards.factorise import factorise
from recsim_envs.rewards.fit import fit_reward_model
from recsim_envs.rewards.ratings import RATING_RANGE, RATINGS_FILE, rating_rmse
from recsim_envs.rewards.ready import (
    check_items,
    check_ratings,
    check_sequences,
    has_ratings,
    question_notes,
)
from recsim_envs.rewards.repeats import calibrate_repeats, repeat_rates
from recsim_envs.rewards.reward_model import SIMILARITY_DIM, SequenceRewardModel
from recsim_envs.rewards.sequence import SequenceReward

HISTORY_LENGTH = 12
"""H (not given in the paper; its longest session is 12 steps)."""


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    truth: Float32Array | None = None,
    seed: int = 0,
    embedding_dim: int = 64,
    similarity_dim: int = SIMILARITY_DIM,
    max_epochs: int = 100,
) -> dict[str, Any]:
    """Fits a dataset's reward models and writes the folder, all or nothing.

    A dataset with users and ratings becomes data for ``recsim/Coat-v0``, any other for the
    environments of sequences.

    Args:
        dataset: the data.
        folder: where to; replaced if it is a prepared one.
        truth: (n_users, n_items) completed ratings, in 1..5; None completes them by matrix
            factorisation of all ratings, rounded as the published matrix is. Ratings only.
        seed: of the split and of everything fitted.
        embedding_dim: d of the sequence models' encoder.
        similarity_dim: D of their similarity term; both decide the size of the files.
        max_epochs: most passes over the sequences; a fit ends earlier when it stops improving.

    Returns:
        The model card, as written.

    Raises:
        DataError: for data on which an environment or a judge would fail, see
            :mod:`recsim_envs.rewards.ready`; if another process is preparing the folder, it holds
            something else, or it cannot be written. What was there before is then as it was.
    """
    check_items(dataset)
    with replacing(folder) as build:
        dataset.save(build)
        # What was written is what environments read; better to fail now than there.
        Dataset.load(build)
        if has_ratings(dataset):
            figures = _prepare_ratings(dataset, build, truth, seed)
        else:
            dims = {"embedding_dim": embedding_dim, "similarity_dim": similarity_dim}
            figures = _prepare_sequences(dataset, build, seed, dims, max_epochs)
        card = {
            "data": repr(dataset),
            "data_hash": dataset.hash,
            "replica": dataset.replica,
            "seed": seed,
            "account": {
                **dataset.account,
                "judges": [*text_notes(dataset), *question_notes(dataset)],
            },
            "versions": {name: version(name) for name in ("torch", "numpy", "pandas")},
            **figures,
        }
        # A figure that is no number is a fault of ours, and no card.
        text = json.dumps(card, indent=2, allow_nan=False) + "\n"
        write_whole(build / CARD, text.encode())
        dataset.save_about(build)
    return card


def _prepare_sequences(
    dataset: Dataset, folder: Path, seed: int, dims: dict[str, int], max_epochs: int
) -> dict[str, Any]:
    # The last item of each held-out sequence is what the card is measured on: no fit sees it.
    train, held_out, seen = check_sequences(dataset)
    fits = {
        "train": (train, seed),
        "test": (train + seen, seed + 1),
        "test_disjoint": (seen, seed + 2),
    }
    features: Float32Array | None = text_features(dataset, max(dims.values()))
    start = "latent semantic analysis of the item texts"
    if not np.any(features):
        features, start = None, "random: the item texts hold no word that two of them tell apart"
        logger.warning(
            f"{dataset.name}: item vectors start at random, for the item texts hold no words"
        )
    questions = questions_of(held_out, dataset.n_items, HISTORY_LENGTH)
    models = {}
    for name, (sequences, fit_seed) in fits.items():
        model = fit_reward_model(
            sequences,
            dataset.n_items,
            seed=fit_seed,
            item_features=features,
            history_length=HISTORY_LENGTH,
            **dims,
            max_epochs=max_epochs,
            progress=f"reward model {name}",
        )
        save_reward_model(model, sequences, fit_seed, folder / f"{name}.safetensors")
        # What was stored is what is measured and used.
        reward = SequenceReward.load(folder / f"{name}.safetensors")
        models[name] = {
            "fitted_on_sequences": len(sequences),
            "seed": fit_seed,
            **dims,
            "held_out_last_items": reward_model_figures(reward, questions),
            "repeats": repeat_rates(reward, sequences),
            "repeats_held_out": repeat_rates(reward, held_out),
        }
    return {
        "item_vectors_start": start,
        "models": models,
        "baselines_on_the_same_questions": baseline_figures(dataset, questions),
    }


def save_reward_model(
    model: SequenceRewardModel, sequences: Sequence[IntArray], seed: int, file: Path
) -> None:
    """Writes a fitted model, with the repeats of ``sequences``."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    none = np.zeros(model.encoder.history_length, np.float32)
    SequenceReward(weights | {"repeat_bias": none}).save(file)
    # Calibrated as it is used, with what was lost in writing.
    stored = SequenceReward.load(file)
    repeats = calibrate_repeats(stored, sequences, seed)
    SequenceReward(stored.weights | {"repeat_bias": repeats}).save(file)


def _prepare_ratings(
    dataset: Dataset, folder: Path, truth: Float32Array | None, seed: int
) -> dict[str, Any]:
    check_ratings(dataset)
    rated = dataset.interactions
    train, test = (rated[rated["split"] == split] for split in ("train", "test"))
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
    # Halves: a file is part of every download, and they keep a rating to within 0.002.
    stored = {"train": deepfm.astype(np.float16), "test": truth.astype(np.float16)}
    write_whole(folder / RATINGS_FILE, save(stored))
    return {
        "completed_ratings": completion,
        "rmse_on_random_ratings": {
            "DeepFM, mean of 5 (the training reward)": rating_rmse(deepfm, test),
            "matrix factorisation": rating_rmse(factorise(train, shape, seed=seed), test),
            "constant (training mean)": rating_rmse(constant, test),
            "completed ratings (the test reward)": rating_rmse(truth, test),
        },
    }
