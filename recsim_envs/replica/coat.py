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
import polars as pl
from numpy.typing import NDArray

from recsim_envs.dataset import Dataset

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

N_USERS, N_ITEMS = 290, 300
N_CHOSEN, N_RANDOM = 24, 16
"""Ratings a user gives of jackets of their own choice, and of jackets drawn at random."""

# Attribute values are those of Coat's columns; the numbers beside them are weights of drawing them.
MEN = {
    "bomber": 8, "field": 15, "fleece": 12, "insulated": 16, "packable": 14, "parkas": 9,
    "rain": 11, "shells": 13, "track": 7, "vests": 15, "waterproof": 10, "other": 20,
}  # fmt: skip
WOMEN = {
    "bomber": 8, "cropped": 7, "fleece": 10, "insulated": 24, "motorcycle": 5, "parkas": 17,
    "pea": 6, "rain": 12, "shells": 8, "trench": 11, "vests": 13, "waterproof": 8, "other": 21,
}  # fmt: skip
COLORS = {
    "beige": 6, "black": 23, "blue": 10, "brown": 8, "gray": 11, "green": 6, "multi": 3, "navy": 3,
    "olive": 3, "pink": 3, "purple": 3, "red": 5, "other": 16,
}  # fmt: skip
AGES = {"under 20": 1, "20-30": 39, "30-40": 34, "40-50": 15, "50-60": 9, "over 60": 2}
LOCATIONS = {"rural": 16, "suburban": 50, "urban": 34}
INTERESTS = {"not at all": 11, "moderately": 69, "very": 20}

GARMENTS = {
    "parkas": "parka", "pea": "pea coat", "shells": "shell jacket", "trench": "trench coat",
    "vests": "vest", "other": "jacket",
}  # fmt: skip
"""What a type is called; a type that is not here is called "<type> jacket"."""


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
    interactions = pl.DataFrame(
        {
            "sequence": user,
            "item": item,
            "user": user,
            "rating": np.clip(np.rint(stated), 1, 5),
        }
    ).cast(pl.Int32)
    split = np.tile(np.repeat(["train", "test"], [N_CHOSEN, N_RANDOM]), N_USERS)
    interactions = interactions.with_columns(split=pl.Series(split))
    return Dataset("coat-replica", "clothes", items, interactions, users, replica=True), matrix


def _items(rng: np.random.Generator) -> pl.DataFrame:
    half = N_ITEMS // 2
    jackets = pl.DataFrame(
        {
            "item_id": np.arange(N_ITEMS),
            "gender": ["men"] * half + ["women"] * half,
            "jacket_type": _draw(rng, half, MEN) + _draw(rng, half, WOMEN),
            "color": _draw(rng, N_ITEMS, COLORS),
            "on_front_page": _draw(rng, N_ITEMS, {"yes": 5, "no": 95}),
        }
    )
    kind = pl.col("jacket_type")
    garment = kind.replace_strict(GARMENTS, default=pl.format("{} jacket", kind))
    color = pl.col("color").replace({"other": "", "multi": "multicolored"})
    text = pl.format("{}'s {} {}", "gender", color, garment)
    return jackets.with_columns(text=text.str.replace("  ", " ", literal=True))


def _users(rng: np.random.Generator) -> pl.DataFrame:
    shoppers = pl.DataFrame(
        {
            "user_id": np.arange(N_USERS),
            "gender": _draw(rng, N_USERS, {"men": 56, "women": 44}),
            "age": _draw(rng, N_USERS, AGES),
            "location": _draw(rng, N_USERS, LOCATIONS),
            "fashion_interest": _draw(rng, N_USERS, INTERESTS),
        }
    )
    person = pl.col("gender").replace({"men": "a man", "women": "a woman"})
    age = (
        pl.when(pl.col("age").str.contains(" ")).then("age").otherwise(pl.format("aged {}", "age"))
    )
    place = pl.col("location").replace({"urban": "an urban", "rural": "a rural"})
    place = place.replace("suburban", "a suburban")
    interest = pl.format("{} interested in fashion", "fashion_interest")
    return shoppers.with_columns(
        text=pl.format("{} {} from {} area, {}", person, age, place, interest)
    )


def _utility(rng: np.random.Generator, items: pl.DataFrame, users: pl.DataFrame) -> FloatArray:
    """How much each user likes each jacket, (n_users, n_items), on the scale of ratings."""
    kind, color = _codes(items["jacket_type"]), _codes(items["color"])
    n_kinds, n_colors = kind.max() + 1, color.max() + 1

    interest = users["fashion_interest"].replace_strict(
        {"not at all": -0.5, "moderately": 0.0, "very": 0.2}
    )
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
    rng: np.random.Generator, utility: FloatArray, items: pl.DataFrame, users: pl.DataFrame
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


def _same_gender(items: pl.DataFrame, users: pl.DataFrame) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = users["gender"].to_numpy()[:, None] == items["gender"].to_numpy()
    return same


def _standardized(values: FloatArray) -> FloatArray:
    return (values - values.mean()) / values.std()


def _codes(values: pl.Series) -> IntArray:
    return np.unique(values.to_numpy(), return_inverse=True)[1]


def _draw(rng: np.random.Generator, n: int, weights: dict[str, int]) -> list[str]:
    share = np.array(list(weights.values())) / sum(weights.values())
    drawn: list[str] = rng.choice(list(weights), size=n, p=share).tolist()
    return drawn
