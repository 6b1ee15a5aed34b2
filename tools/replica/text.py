"""The replicas' texts, put together from the words of ``words.toml``.

A *pattern* such as ``"{adjective} {noun}"`` has slots; a *pool* maps each slot to its words.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from recsim_envs.arrays import IntArray
from recsim_envs.errors import DataError

Pool = dict[str, list[str]]
MAX_ROUNDS = 1000
"""How often alike phrases are drawn again; a dozen rounds are enough for the replicas."""


def load_words() -> dict[str, Any]:
    """Reads the word lists."""
    file = resources.files("tools.replica").joinpath("words.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def word_list(text: str) -> list[str]:
    """Splits a comma-separated list."""
    return [word.strip() for word in text.split(",")]


def phrases(
    rng: np.random.Generator,
    patterns: Sequence[str],
    pools: Sequence[Pool],
    style: IntArray,
    within: IntArray | None = None,
) -> list[str]:
    """Fills one pattern a row, no two rows alike.

    Args:
        rng: the source of randomness.
        patterns: one is drawn for each row.
        pools: the words of each style; all have the same slots.
        style: (n,) the pool of each row.
        within: (n,) groups within which no two rows are alike; None is one group.

    Raises:
        DataError: if the words are too few for that.
    """
    result = [""] * len(style)
    group = np.zeros_like(style) if within is None else within
    missing = np.arange(len(style))
    for _ in range(MAX_ROUNDS):
        picks = rng.integers(2**31, size=(len(missing), 1 + len(pools[0])))
        for row, (pattern, *pick) in zip(missing, picks.tolist(), strict=True):
            slots = zip(pools[style[row]].items(), pick, strict=True)
            words = {slot: pool[k % len(pool)] for (slot, pool), k in slots}
            result[row] = patterns[pattern % len(patterns)].format(**words)
        table = pd.DataFrame({"group": group, "phrase": result})
        missing = np.flatnonzero(table.duplicated())
        if not len(missing):
            return result
    raise DataError(
        f"{len(missing)} of {len(style)} phrases, such as {result[missing[0]]!r}, found no words "
        f"of their own in {MAX_ROUNDS} rounds: lower n_items or add words to words.toml"
    )


def music_pool(words: dict[str, Any], style: dict[str, str]) -> Pool:
    """The words of titles and artists in one family of genres."""
    # A family has fewer words of its own than there are common ones: twice, they are half of all.
    nouns = 2 * word_list(style["nouns"]) + word_list(words["nouns"])
    starts, ends = word_list(words["name_starts"]), word_list(words["name_ends"])
    # Most last names are one artist's alone, as real ones are.
    middles = ["", *word_list(words["name_middles"])]
    return {
        "adjective": 2 * word_list(style["adjectives"]) + word_list(words["adjectives"]),
        "noun": nouns,
        "nouns": [plural(noun) for noun in nouns],
        "thing": word_list(words["things"]),
        "place": word_list(words["places"]),
        "gerund": word_list(words["gerunds"]),
        "first": word_list(words["first_names"]),
        "last": [start + middle + end for start in starts for middle in middles for end in ends],
        "group": word_list(words["groups"]),
    }


def product_pool(words: dict[str, Any], shelf: dict[str, str], kind: str) -> Pool:
    """The words that describe one kind of product."""
    # Acronyms keep their capitals: "PLA filament", "pH meter".
    noun = " ".join(word.lower() if word[1:].islower() else word for word in kind.split())
    return {
        "material": word_list(shelf["materials"]),
        "noun": [noun],
        "size": word_list(shelf["sizes"]),
        "pack": word_list(words["packs"]),
    }


def brand_pool(words: dict[str, Any]) -> Pool:
    """The words of brand names."""
    return {slot: word_list(words[f"brand_{slot}s"]) for slot in ("start", "middle", "end", "tail")}


def purpose_pool(words: dict[str, Any]) -> Pool:
    """The words that say what goods are for."""
    return {slot: word_list(words[f"{slot}s"]) for slot in ("place", "task")}


def plural(noun: str) -> str:
    """The regular English plural."""
    if noun.endswith(("s", "x", "sh", "ch")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeou":
        return noun[:-1] + "ies"
    return noun + "s"
