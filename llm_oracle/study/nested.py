"""What a judge's scores know of real choices, beyond popularity and text.

Nested conditional logit models (McFadden, 1974) predict which candidate a user really took: from
the candidates' popularity; from that and the likeness of their texts to the history's; from these
and a judge's scores. Each is fitted on some of the sequences and measured on the others. What a
model gains in log-likelihood over the one before it is what its features know and the others do
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.markup import escape
from rich.table import Table
from sklearn.preprocessing import normalize

from llm_oracle.judges.simple import TfidfJudge
from llm_oracle.study.choice_model import cross_fitted, mean_by_sequence
from llm_oracle.study.evaluate import Questions
from recsim_envs.arrays import FloatArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.report.figures import Figure
from recsim_envs.report.tables import printed

FOLDS = 10
POPULARITY, TFIDF = "popularity", "+ TF-IDF"


@dataclass(frozen=True)
class NestedModel:
    """One of the nested models; intervals are 95%, from resampling the sequences.

    Attributes:
        model: what it adds; "+ JUDGE" for a judge's scores.
        log_likelihood: of the true choices, in nats a question.
        accuracy: share of the questions whose true choice it found likeliest.
        gain: of the log-likelihood: of popularity over chance, of TF-IDF over popularity, of each
            judge over TF-IDF.
    """

    model: str
    log_likelihood: Figure
    accuracy: Figure
    gain: Figure


def nested_models(
    known: FloatArray,
    scores: Sequence[tuple[str, FloatArray]],
    questions: Questions,
    folds: int = FOLDS,
) -> list[NestedModel]:
    """Fits and measures the models.

    A feature that tells nothing costs about ``0.5 / B`` nats.

    Args:
        known: (B, k, 3) of :func:`known_features`.
        scores: each judge's name and scores (B, k).
        questions: that they are of; all have their true item among the candidates.
        folds: parts of the sequences; each is predicted by a fit on the others.

    Raises:
        ValueError: if there are fewer sequences than folds.
    """
    n, k = questions.slates.shape
    models = []

    def measured(model: str, features: FloatArray, before: FloatArray) -> FloatArray:
        likelihood, right = cross_fitted(features, questions.answers, questions.sequences, folds)
        values = (likelihood, right, likelihood - before)
        found = (mean_by_sequence(each, questions.sequences) for each in values)
        models.append(NestedModel(model, *found))
        return likelihood

    popularity = measured(POPULARITY, known[..., :1], np.full(n, -np.log(k)))
    text = measured(TFIDF, known, popularity)
    for judge, values in scores:
        measured(f"+ {judge}", np.concatenate([known, values[..., None]], axis=2), text)
    return models


def known_features(dataset: Dataset, questions: Questions) -> FloatArray:
    """What is known of each candidate without a judge: popularity, two likenesses, (B, k, 3)."""
    popularity = np.log1p(dataset.popularity[questions.slates])[..., None]
    return np.concatenate([popularity, text_likeness(dataset, questions)], axis=2)


def text_likeness(dataset: Dataset, questions: Questions) -> FloatArray:
    """Likeness of each candidate's text to the newest choice and to all of them, (B, k, 2).

    Cosines of :class:`llm_oracle.judges.simple.TfidfJudge`'s vectors. Its own likeness is the
    second of them times the length of the summed vector, which grows with the history: one weight
    would mean another thing for each user. These two predict held-out choices of Amazon Industrial
    and LFM-1M better than either alone and than the judge's own likeness.
    """
    tfidf = TfidfJudge(dataset)
    likeness = np.empty((*questions.slates.shape, 2))
    for row, slate in enumerate(questions.slates):
        past = questions.histories[row]
        past = past[past < dataset.n_items]
        whole = tfidf.items[past].sum(axis=0)
        if tfidf.users is not None and questions.users is not None:
            whole = whole + tfidf.users[questions.users[row]]
        profile = normalize(np.asarray(whole).reshape(1, -1))[0]
        likeness[row, :, 0] = (tfidf.items[slate] @ tfidf.items[past[-1:]].T).toarray()[:, 0]
        likeness[row, :, 1] = tfidf.items[slate] @ profile
    return likeness


def nested_table(models: Sequence[NestedModel]) -> Table:
    """The models as a table for the terminal."""
    table = Table(
        title="What a language model's scores add to popularity and text",
        caption=escape(
            "nested choice models of the same questions, each predicted by a fit on other "
            "sequences; log-likelihood in nats a question; gain: of popularity over chance, of "
            "TF-IDF over popularity, of each judge over TF-IDF; [..] 95% interval"
        ),
    )
    table.add_column("model")
    for column in ("log-likelihood", "accuracy", "gain"):
        table.add_column(column, justify="right")
    for found in models:
        figures = (found.log_likelihood, found.accuracy, found.gain)
        table.add_row(escape(found.model), *(escape(printed(figure, 3)) for figure in figures))
    return table
