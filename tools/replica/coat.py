"""The Coat replica: made-up jackets, shoppers and ratings in the shape of the Coat data.

Coat (Schnabel et al. 2016) has 290 shoppers, 300 jackets and two sets of ratings: 24 jackets that
each shopper chose, and 16 that were drawn at random. Coat-v0 scores actions with a *completed*
rating matrix, so the replica has one, too. A user's utility of a jacket is::

    level[u] * (1 + appeal[i] + boldness[i] * (taste[u, type] + taste[u, color] + gender + latent))

A jacket's appeal comes from its type, its color and itself; plain jackets (low boldness) are liked
alike by all, and bold ones divide the shoppers. Rounding gives the matrix. The ratings that
shoppers state spread wider around their utilities than the matrix does, as the real ones do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.coat import word_coat
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.tables import from_frame

N_USERS, N_ITEMS = 290, 300
N_CHOSEN, N_RANDOM = 24, 16
"""Ratings a user gives of jackets of their own choice, and of jackets drawn at random."""

# Attribute values are those of Coat's columns; the numbers are their shares in per cent, about.
MEN = {
    "bomber": 5, "field": 10, "fleece": 8, "insulated": 11, "packable": 9, "parkas": 6, "rain": 7,
    "shells": 9, "track": 5, "vests": 10, "waterproof": 7, "other": 13,
}  # fmt: skip
WOMEN = {
    "bomber": 5, "cropped": 5, "fleece": 7, "insulated": 16, "motorcycle": 3, "parkas": 11,
    "pea": 4, "rain": 8, "shells": 5, "trench": 7, "vests": 9, "waterproof": 5, "other": 15,
}  # fmt: skip
COLORS = {
    "beige": 6, "black": 23, "blue": 10, "brown": 8, "gray": 11, "green": 6, "multi": 3, "navy": 3,
    "olive": 3, "pink": 3, "purple": 3, "red": 5, "other": 16,
}  # fmt: skip
AGES = {"under 20": 1, "20-30": 39, "30-40": 34, "40-50": 15, "50-60": 9, "over 60": 2}
LOCATIONS = {"rural": 16, "suburban": 50, "urban": 34}
INTERESTS = {"not at all": 11, "moderately": 69, "very": 20}


def generate_coat(seed: int = 0) -> tuple[Dataset, IntArray]:
    """Makes the Coat replica.

    Args:
        seed: of everything that is random.

    Returns:
        The data set "coat-replica" and its completed rating matrix (290, 300), integers 1..5,
        users in rows. A sequence is a user: first the chosen jackets (``split`` "train"), then
        those drawn at random ("test"); a jacket can be in both, as in Coat. Item columns: gender,
        jacket_type, color, on_front_page. User columns: gender, age, location, fashion_interest.
    """
    rng = np.random.default_rng(seed)
    items, users = _items(rng), _users(rng)
    utility = _utility(rng, items, users)
    matrix = np.clip(np.rint(utility), 1, 5).astype(np.int64)

    chosen = _choose(rng, utility, items, users)
    at_random = rng.random(utility.shape).argsort(axis=1)[:, :N_RANDOM]
    item = np.concatenate([chosen, at_random], axis=1).ravel()
    user = np.repeat(np.arange(N_USERS), N_CHOSEN + N_RANDOM)
    # Fitted to Coat's random ratings: 40% are a 1, and the mean is the matrix's.
    stated = 1.92 + 1.6 * (utility[user, item] - 2.23) + rng.normal(scale=1.05, size=len(user))
    interactions = pd.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "rating": np.clip(np.rint(stated), 1, 5).astype(np.int8),
            "split": np.tile(np.repeat(["train", "test"], [N_CHOSEN, N_RANDOM]), N_USERS),
        }
    )
    items, users = word_coat(items, users)
    dataset = from_frame(
        "coat-replica",
        interactions,
        items,
        users,
        text="text",
        user_text="text",
        scenario="clothes",
        replica=True,
    )
    return dataset, matrix


def _items(rng: np.random.Generator) -> pd.DataFrame:
    half = N_ITEMS // 2
    return pd.DataFrame(
        {
            "item_id": np.arange(N_ITEMS),
            "gender": ["men"] * half + ["women"] * half,
            "jacket_type": _draw(rng, half, MEN) + _draw(rng, half, WOMEN),
            "color": _draw(rng, N_ITEMS, COLORS),
            "on_front_page": _draw(rng, N_ITEMS, {"yes": 5, "no": 95}),
        }
    )


def _users(rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": np.arange(N_USERS),
            "gender": _draw(rng, N_USERS, {"men": 56, "women": 44}),
            "age": _draw(rng, N_USERS, AGES),
            "location": _draw(rng, N_USERS, LOCATIONS),
            "fashion_interest": _draw(rng, N_USERS, INTERESTS),
        }
    )


def _utility(rng: np.random.Generator, items: pd.DataFrame, users: pd.DataFrame) -> FloatArray:
    """How much each user likes each jacket, (n_users, n_items), on the scale of ratings."""
    kind, color = _codes(items["jacket_type"]), _codes(items["color"])
    n_kinds, n_colors = kind.max() + 1, color.max() + 1

    interest = users["fashion_interest"].map({"not at all": -0.5, "moderately": 0.0, "very": 0.2})
    generosity = rng.normal(size=N_USERS) + interest.to_numpy()
    level = 2.175 * np.exp(0.262 * _standardized(generosity))  # (U,)

    appeal = 0.55 * rng.normal(size=n_kinds)[kind] + 0.50 * rng.normal(size=n_colors)[color]
    appeal = 0.147 * _standardized(appeal + 0.67 * rng.normal(size=N_ITEMS))  # (I,)
    boldness = np.exp(0.5 * rng.normal(size=N_ITEMS))  # (I,)

    taste = 0.037 * rng.normal(size=(N_USERS, n_kinds))[:, kind]
    taste += 0.037 * rng.normal(size=(N_USERS, n_colors))[:, color]
    taste += 0.028 * np.where(_same_gender(items, users), 1, -1)
    rank = 2
    factors = rng.normal(size=(N_USERS, rank)) @ rng.normal(size=(rank, N_ITEMS))
    taste += 0.060 * factors / np.sqrt(rank)  # (U, I)
    utility: FloatArray = level[:, None] * (1 + appeal + boldness * taste)
    return utility


def _choose(
    rng: np.random.Generator, utility: FloatArray, items: pd.DataFrame, users: pd.DataFrame
) -> IntArray:
    """The jackets each user picks to rate, (n_users, N_CHOSEN): liked, own gender, well placed."""
    front_page = (items["on_front_page"] == "yes").to_numpy()
    lure = (
        1.0 * utility
        + 2.0 * _same_gender(items, users)
        + 1.2 * front_page
        + 0.4 * rng.normal(size=N_ITEMS)
        + rng.gumbel(size=utility.shape)  # top-k of Gumbel-perturbed logits: draws without repeats
    )
    return np.argsort(-lure, axis=1)[:, :N_CHOSEN]


def _same_gender(items: pd.DataFrame, users: pd.DataFrame) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = users["gender"].to_numpy()[:, None] == items["gender"].to_numpy()
    return same


def _standardized(values: FloatArray) -> FloatArray:
    standard: FloatArray = (values - values.mean()) / values.std()
    return standard


def _codes(values: pd.Series) -> IntArray:
    return np.unique(values.to_numpy(), return_inverse=True)[1]


def _draw(rng: np.random.Generator, n: int, weights: dict[str, int]) -> list[str]:
    share = np.array(list(weights.values())) / sum(weights.values())
    drawn: list[str] = rng.choice(list(weights), size=n, p=share).tolist()
    return drawn
