"""The texts of the replicas' items, put together from the words of ``words.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def load_words() -> dict[str, Any]:
    return tomllib.loads(
        resources.files("recsim_envs.replica").joinpath("words.toml").read_text("utf-8")
    )


def phrases(
    rng: np.random.Generator,
    patterns: Sequence[str],
    pools: Sequence[dict[str, list[str]]],
    style: IntArray,
    within: IntArray | None = None,
) -> list[str]:
    """Fills one pattern a row with the words of its style; no two rows ``within`` are alike."""
    phrases = np.empty(len(style), dtype=object)
    groups = np.zeros(len(style), dtype=int) if within is None else within
    missing = np.arange(len(style))
    while len(missing):
        picks = rng.integers(2**31, size=(len(missing), 1 + len(pools[0])))
        for row, pick in zip(missing, picks.tolist(), strict=True):
            slots = zip(pick[1:], pools[style[row]].items(), strict=True)
            words = {slot: pool[k % len(pool)] for k, (slot, pool) in slots}
            phrases[row] = patterns[pick[0] % len(patterns)].format(**words)
        table = pl.DataFrame({"group": groups, "phrase": phrases.tolist()})
        first = table.select(pl.struct("group", "phrase").is_first_distinct()).to_series()
        missing = np.flatnonzero(~first.to_numpy())
    return phrases.tolist()


def music_pools(words: dict[str, Any], style: dict[str, str]) -> dict[str, list[str]]:
    # A style's own words are fewer than the common ones: twice, they make up half of its titles.
    nouns = 2 * word_list(style["nouns"]) + word_list(words["nouns"])
    return {
        "adjective": 2 * word_list(style["adjectives"]) + word_list(words["adjectives"]),
        "noun": nouns,
        "nouns": [plural(noun) for noun in nouns],
        "thing": word_list(words["things"]),
        "place": word_list(words["places"]),
        "gerund": word_list(words["gerunds"]),
        "first": word_list(words["first_names"]),
        "last": [
            a + b for a in word_list(words["name_starts"]) for b in word_list(words["name_ends"])
        ],
        "group": word_list(words["groups"]),
    }


def product_pools(words: dict[str, Any], shelf: dict[str, str], noun: str) -> dict[str, list[str]]:
    # Acronyms keep their capitals: "PLA filament", "pH meter".
    plain = " ".join(w.lower() if w[1:].islower() else w for w in noun.split())
    return {
        "material": word_list(shelf["materials"]),
        "noun": [plain],
        "size": word_list(shelf["sizes"]),
        "pack": word_list(words["packs"]),
    }


def plural(noun: str) -> str:
    if noun.endswith(("s", "x", "sh", "ch")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeou":
        return noun[:-1] + "ies"
    return noun + "s"


def word_list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]
