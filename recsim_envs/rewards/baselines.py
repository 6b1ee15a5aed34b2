"""Recommenders without training, to be measured beside the reward model on the same questions.

Each function maps padded histories (B, H), left-padded with ``n_items``, to scores (B, n_items).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.text import word_options
from recsim_envs.rewards.evaluate import Questions, RankingFigures, Scorer, ranking_figures


def baseline_scorers(dataset: Dataset) -> dict[str, Scorer]:
    """The baselines by name; they know what a learner may know, the training sequences."""
    train = [dataset.sequences[number] for number in dataset.train]
    texts = dataset.items["text"].tolist()
    n_items = dataset.n_items
    similarity = item_similarity(train, n_items)
    tfidf = tfidf_vectors(texts)
    return {
        "popularity": lambda histories: popularity_scores(histories, dataset.popularity),
        "item-kNN": lambda histories: item_knn_scores(histories, similarity),
        "nearest text, newest item": lambda histories: text_scores(histories[:, -1:], tfidf),
        "nearest text, whole history": lambda histories: text_scores(histories, tfidf),
    }


def baseline_figures(dataset: Dataset, questions: Questions) -> dict[str, RankingFigures]:
    """Measures the baselines on the questions."""
    scorers = baseline_scorers(dataset).items()
    return {name: ranking_figures(score, questions, dataset.n_items) for name, score in scorers}


def popularity_scores(histories: IntArray, counts: IntArray) -> FloatArray:
    """Scores every item by ``counts`` (n_items,), whatever the history: (B, H) to (B, n_items)."""
    return np.broadcast_to(counts.astype(np.float64), (len(histories), len(counts)))


def item_similarity(sequences: Sequence[IntArray], n_items: int) -> sparse.csr_array:
    """Cosine similarity of the items' co-occurrence, (n_items, n_items), with a zero diagonal.

    Source: Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms" (WWW
    2001), on the 0/1 matrix of sequences and items, with all neighbours.
    """
    rows = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    held = _incidence(rows, np.concatenate(sequences), (len(sequences), n_items))
    held.data[:] = 1.0  # held at least once
    length = np.sqrt(np.maximum(held.sum(axis=0), 1.0))
    unit = held @ sparse.diags_array(1.0 / length)  # columns of length 1
    similarity = (unit.T @ unit).tocsr()
    # A history's item would only recommend itself.
    return (similarity - sparse.diags_array(similarity.diagonal())).tocsr()


def item_knn_scores(histories: IntArray, similarity: sparse.csr_array) -> FloatArray:
    """Sums the similarity to the history's items: (B, H) to (B, n_items)."""
    scores: FloatArray = (_bag(histories, similarity.shape[0]) @ similarity).toarray()
    return scores


def tfidf_vectors(texts: Sequence[str]) -> sparse.csr_array:
    """TF-IDF vectors (n_items, words) of the texts, of length 1, or 0 where one has no words."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, **word_options(texts))
    try:
        return sparse.csr_array(vectorizer.fit_transform(texts))
    except ValueError:  # scikit-learn's for an empty vocabulary
        return sparse.csr_array((len(texts), 1))


def text_scores(histories: IntArray, tfidf: sparse.csr_array) -> FloatArray:
    """Sums the likeness of texts to those of the history's items: (B, H) to (B, n_items)."""
    scores: FloatArray = (_bag(histories, tfidf.shape[0]) @ tfidf @ tfidf.T).toarray()
    return scores


def _bag(histories: IntArray, n_items: int) -> sparse.csr_array:
    """How often each history holds each item: (B, H) to a sparse (B, n_items)."""
    rows, places = np.nonzero(histories != n_items)
    return _incidence(rows, histories[rows, places], (len(histories), n_items))


def _incidence(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)  # adds duplicates
