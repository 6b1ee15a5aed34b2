"""Item texts as vectors, so that an agent can start from what is written about the items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_envs.data.dataset import Dataset

UNSPACED = re.compile(
    # Thai and Lao; Myanmar; Khmer; kana; Han, with its extensions.
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Runs of characters of scripts that put no spaces between words."""
UNSPACED_SHARE = 0.1
"""Of the letters of a catalogue: from here on such runs are read character by character."""
WORD = r"(?u)\b\w\w+\b"
"""A word of two letters or more, scikit-learn's default."""


def word_options(texts: Sequence[str], pattern: str = WORD) -> dict[str, Any]:
    """How scikit-learn's vectorizers split the texts of a catalogue into terms.

    By ``pattern``; but where :data:`UNSPACED_SHARE` of the letters or more belong to a script
    without spaces between words (Chinese, Japanese, Thai, ...), runs of it give their characters
    and pairs of neighbouring characters, for a word there is one or two of them, and the rest its
    words. Otherwise a whole title would be one word, that no other title has.

    Args:
        texts: all of the catalogue, for the choice is the catalogue's.
        pattern: a regular expression of a word.

    Returns:
        Arguments of ``TfidfVectorizer``.
    """
    together = "".join(texts)
    n_letters = sum(map(str.isalpha, together))
    n_unspaced = sum(len(run) for run in UNSPACED.findall(together))
    if n_unspaced == 0 or n_unspaced < UNSPACED_SHARE * n_letters:
        return {"token_pattern": pattern}
    return {"analyzer": partial(_terms, re.compile(pattern))}


def _terms(pattern: re.Pattern[str], text: str) -> list[str]:
    text = text.lower()
    terms = pattern.findall(UNSPACED.sub(" ", text))
    for run in UNSPACED.findall(text):
        terms += [*run, *(a + b for a, b in pairwise(run))]
    return terms


def text_notes(dataset: Dataset) -> list[str]:
    """Says what a reader of the item texts cannot do with them, one sentence each."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = dataset.items["text"]
    notes = []
    n_empty = int((texts.str.strip() == "").sum())
    if n_empty:
        notes.append(f"texts: {n_empty} of {len(texts)} items have none")
    n_alike = int(texts[texts.str.strip() != ""].duplicated(keep=False).sum())
    if texts.nunique() == 1:
        notes.append("texts: all are the same, so no judge that reads them can tell items apart")
    elif n_alike > 0.5 * len(texts):
        notes.append(f"texts: {n_alike} of {len(texts)} items share theirs with another item")
    options = word_options(texts.tolist())
    if "analyzer" in options:
        notes.append("texts: of a script without spaces, read by characters and pairs of them")
    try:
        shared = TfidfVectorizer(**options, binary=True, use_idf=False, norm=None).fit_transform(
            texts.tolist()
        )
        no_words = bool(shared.sum(axis=0).max() < 2)
    except ValueError:  # scikit-learn's for texts without any word
        no_words = True
    if no_words:
        notes.append(
            "texts: no two items share a word, so TF-IDF finds nothing alike: its judge takes none "
            "of the candidates, whatever they are"
        )
    return notes


def text_features(dataset: Dataset, dim: int = 64, seed: int = 0) -> NDArray[np.float32]:
    """Latent semantic analysis of the item texts: TF-IDF, then a truncated SVD.

    Source: Deerwester et al., "Indexing by Latent Semantic Analysis" (1990).

    Args:
        dataset: gives the texts.
        dim: size of a vector; fewer where the vocabulary is smaller, the rest being zero.
        seed: of the randomised SVD.

    Returns:
        (n_items, dim), each row of length 1 (or 0 for an item without words, and for all where
        the texts have fewer than two words between them).
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = dataset.items["text"].tolist()
    try:
        tfidf = TfidfVectorizer(sublinear_tf=True, **word_options(texts)).fit_transform(texts)
    except ValueError:  # scikit-learn's for texts without any word
        return np.zeros((dataset.n_items, dim), dtype=np.float32)
    rank = min(dim, tfidf.shape[1] - 1, tfidf.shape[0] - 1)
    if rank < 1:
        return np.zeros((dataset.n_items, dim), dtype=np.float32)
    vectors = TruncatedSVD(rank, random_state=seed).fit_transform(tfidf)  # (n_items, rank)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
    padded: NDArray[np.float32] = np.pad(vectors, ((0, 0), (0, dim - rank))).astype(np.float32)
    return padded
