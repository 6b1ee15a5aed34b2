"""What the judge reads of an item: a seller's words, as far as they look like a catalogue's.

Titles are written by strangers, and a seller may write orders to the judge into one. No list of
forbidden phrases would end; so the catalogue itself says what a title looks like. Titles share
pairs of neighbouring words ("Iron Maiden", "hex bolt", "Pack of"), and their own words stand in
short runs between such pairs. A sentence to the judge is a long run of pairs that no title has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from numpy.typing import ArrayLike

from llm_oracle.judge import item_counts
from llm_oracle.prompts import sanitize
from recsim_envs.data.dataset import Dataset

LONGEST_RUN = 4
"""Words. Of the texts of LFM-1M 97% have no longer run of their own, of Amazon Industrial's 89%;
the shortest order to the judge that we know of has five words."""
EDGES = re.compile(r"^\W+|\W+$")
SENTENCE_ENDS = (".", "!", "?", ":")


def item_texts(dataset: Dataset, counts: ArrayLike | None = None) -> list[str]:
    """Sanitizes the items' texts and drops what no other item vouches for.

    A pair of neighbouring words is vouched for if it stands in the texts of two items that people
    took. Other sellers' items count only with their sales, so that a seller cannot vouch for a
    sentence by writing it into many titles.

    Args:
        dataset: the catalogue.
        counts: (n_items,) how often people took each item; default ``dataset.popularity``.

    Returns:
        One line an item, see :func:`llm_oracle.prompts.sanitize` and :func:`without_long_runs`.
    """
    texts = [sanitize(text) for text in dataset.items["text"]]
    return without_long_runs(texts, [count > 0 for count in item_counts(dataset, counts)])


def without_long_runs(texts: Sequence[str], taken: Sequence[bool]) -> list[str]:
    """Drops runs of more than :data:`LONGEST_RUN` words that stand in no vouched pair.

    Where a run holds sentences that are too long themselves, only those go: the words beside an
    order may be the title's own. With a run at the end goes the punctuation before it.

    Args:
        texts: sanitized.
        taken: whether each text belongs to an item that vouches.

    Returns:
        The texts; "unknown" where nothing is left.
    """
    pairs = [list(pairwise(_plain(word) for word in text.split())) for text in texts]
    vouchers = Counter(
        pair for row, vouches in zip(pairs, taken, strict=True) if vouches for pair in set(row)
    )
    result = []
    for text, row in zip(texts, pairs, strict=True):
        words = text.split()
        shared = [vouchers[pair] >= 2 for pair in row]
        vouched = [a or b for a, b in zip([False, *shared], [*shared, False], strict=True)]
        kept: list[str] = []
        for is_vouched, run in groupby(zip(words, vouched, strict=True), key=lambda pair: pair[1]):
            part = [word for word, _ in run]
            kept += part if is_vouched else _own_words(part)
        clean = " ".join(kept)
        if len(kept) < len(words):
            clean = clean.rstrip(" .,;:-")
        result.append(clean or "unknown")
    return result


def _own_words(run: list[str]) -> list[str]:
    """What may stay of a run that nobody vouches for."""
    if len(run) <= LONGEST_RUN:
        return run
    sentences: list[list[str]] = [[]]
    for word in run:
        sentences[-1].append(word)
        if word.endswith(SENTENCE_ENDS):
            sentences.append([])
    short = [sentence for sentence in sentences if len(sentence) <= LONGEST_RUN]
    # A run that is long only together is an order in short sentences.
    return [] if len(short) == len(sentences) else [word for part in short for word in part]


def _plain(word: str) -> str:
    """A word as it counts in a pair: all sizes and part numbers are one word."""
    word = EDGES.sub("", word.casefold()) or word
    return "0" if any(c.isdigit() for c in word) else word
