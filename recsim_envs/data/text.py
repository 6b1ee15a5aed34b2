"""Item texts as vectors, so that an agent can start from what is written about the items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsim_envs.data.dataset import Dataset


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
    try:
        tfidf = TfidfVectorizer(sublinear_tf=True).fit_transform(dataset.items["text"].tolist())
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
