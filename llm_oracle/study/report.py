"""Compares judges on one data set: `recsim judge-report`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from llm_oracle.judge import NONE, Judge
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.study.evaluate import Questions, ask, next_item_questions, scores_of
from llm_oracle.study.nested import (
    FOLDS,
    NestedModel,
    known_features,
    nested_models,
    nested_table,
)
from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.provenance import git_revision, versions
from recsim_envs.report.tables import LOG_WIDTH

BINS = 10
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class JudgeCard:
    """What one judge is worth on one data set; all rates are shares between 0 and 1.

    Attributes:
        judge: its name.
        accuracy: share of the questions whose true next item it picked.
        interval: 95% Wilson interval of the accuracy.
        none_rate: share of those questions answered with "None of them".
        none_rate_without: the same for slates without the true item, where that is right.
        position_bias: total variation distance between where its picks were shown and evenly
            everywhere; 0 is none, ``1 - 1 / k`` is always the same place. Chance alone gives about
            ``sqrt(k / (2 pi n))``.
        flips: share of the questions where another order of the same slate changed the pick.
        label_mass: mean total probability that the model gave all labels together; None where no
            label was read, or none freshly.
        calibration_error: expected calibration error of the picked candidate's probability among
            the candidates, in 10 bins of equal size; None for judges without probabilities
            (scoring "answer" has none).
        bins: the calibration curve, (mean probability, accuracy) a bin.
        prompts_per_second: verdicts a second, first-time costs included; None if some verdicts
            came from a cache.
        minutes_per_1000: of this machine, for 1,000 verdicts; None as above.
        dollars_per_1000: the same at the price given.
    """

    judge: str
    accuracy: float
    interval: tuple[float, float]
    none_rate: float
    none_rate_without: float
    position_bias: float
    flips: float
    label_mass: float | None
    calibration_error: float | None
    bins: list[tuple[float, float]]
    prompts_per_second: float | None
    minutes_per_1000: float | None
    dollars_per_1000: float | None


@dataclass(frozen=True)
class Report:
    """Judges on the same questions.

    Attributes:
        data: name of the data set; a replica's says so.
        data_hash: its content.
        n: questions of each kind.
        k: candidates a question.
        seed: of the questions.
        cards: one a judge.
        agreement: share of the questions on which two judges gave the same verdict.
        nested: what the language models' scores add to popularity and text, on the same questions;
            empty where these are of a single sequence.
        versions: of the packages.
        revision: of this code.
    """

    data: str
    data_hash: str
    n: int
    k: int
    seed: int
    cards: list[JudgeCard]
    agreement: list[list[float]]
    nested: list[NestedModel]
    versions: dict[str, str]
    revision: str

    def save(self, file: Path) -> None:
        """Writes the report as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")


def compare_judges(
    judges: Sequence[Judge],
    dataset: Dataset,
    n: int = 300,
    k: int = 10,
    seed: int = 0,
    dollars_per_hour: float | None = None,
    sequences: IntArray | None = None,
) -> Report:
    """Asks every judge the same questions from held-out sequences.

    Args:
        judges: of this data set; for honest figures, without knowledge of the held-out sequences.
        dataset: real or replica.
        n: questions with the true next item, and as many without it.
        k: candidates a question.
        seed: of the questions.
        dollars_per_hour: price of this machine.
        sequences: numbers of the sequences to draw from; default ``dataset.held_out``. Of judges
            that were calibrated, the second of :func:`llm_oracle.study.calibrate.halves`.
    """
    questions = next_item_questions(dataset, n, k, seed, sequences)
    hopeless = next_item_questions(dataset, n, k, seed + 1, sequences, with_answer=False)
    picks, cards = [], []
    for judge in judges:
        card, chosen = _card(judge, questions, hopeless, seed, dollars_per_hour)
        cards.append(card)
        picks.append(chosen)
    return Report(
        data=f"{dataset.name} ({'REPLICA, synthetic' if dataset.replica else 'real'})",
        data_hash=dataset.hash,
        n=n,
        k=k,
        seed=seed,
        cards=cards,
        agreement=[[float((a == b).mean()) for b in picks] for a in picks],
        nested=_nested(judges, dataset, questions),
        versions=versions(),
        revision=git_revision(),
    )


def _card(
    judge: Judge,
    questions: Questions,
    hopeless: Questions,
    seed: int,
    dollars_per_hour: float | None,
) -> tuple[JudgeCard, IntArray]:
    n = len(questions.slates)
    stored = _stored_verdicts(judge)
    start = time.perf_counter()
    picks, picks_without = ask(judge, questions), ask(judge, hopeless)
    seconds = time.perf_counter() - start
    fresh = _stored_verdicts(judge) - stored == 2 * n or stored < 0

    other_order = np.random.default_rng(seed).permuted(
        np.tile(np.arange(questions.slates.shape[1]), (n, 1)), axis=1
    )  # (n, k)
    moved = questions._replace(slates=np.take_along_axis(questions.slates, other_order, axis=1))
    picks_moved = ask(judge, moved)
    hits = int((picks == questions.answers).sum())
    sure = binomtest(hits, n).proportion_ci(method="wilson")
    bins = _calibration(judge, questions)
    error = None if not bins else float(np.mean([abs(p - right) for p, right in bins]))
    rate = 2 * n / seconds if fresh else None
    hours = None if rate is None else 1000 / rate / SECONDS_AN_HOUR
    no_price = hours is None or dollars_per_hour is None
    card = JudgeCard(
        judge=judge.name,
        accuracy=hits / n,
        interval=(float(sure.low), float(sure.high)),
        none_rate=float((picks == NONE).mean()),
        none_rate_without=float((picks_without == NONE).mean()),
        position_bias=_position_bias(judge, questions, picks),
        flips=float((_items(questions, picks) != _items(moved, picks_moved)).mean()),
        label_mass=_label_mass(judge),
        calibration_error=error,
        bins=bins,
        prompts_per_second=rate,
        minutes_per_1000=None if hours is None else hours * 60,
        dollars_per_1000=None if no_price else hours * dollars_per_hour,  # type: ignore[operator]
    )
    return card, picks


def _nested(judges: Sequence[Judge], dataset: Dataset, questions: Questions) -> list[NestedModel]:
    n_sequences = len(np.unique(questions.sequences))
    if n_sequences < 2:
        return []
    models = [judge for judge in judges if isinstance(judge, LanguageModelJudge)]
    scores = [(judge.name, scores_of(judge, questions)) for judge in models]
    known = known_features(dataset, questions)
    return nested_models(known, scores, questions, min(FOLDS, n_sequences))


def _stored_verdicts(judge: Judge) -> int:
    """How many verdicts the judge's cache holds, -1 if it has none."""
    if not isinstance(judge, LanguageModelJudge) or judge.cache is None:
        return -1
    return len(judge.cache)


def _label_mass(judge: Judge) -> float | None:
    """The mean of the fresh verdicts' total probability of the labels."""
    if not isinstance(judge, LanguageModelJudge) or not judge.scoring.masses[1]:
        return None
    total, n = judge.scoring.masses
    return total / n


def _items(questions: Questions, picks: IntArray) -> IntArray:
    items = questions.slates[np.arange(len(picks)), picks]
    return np.where(picks == NONE, NONE, items)


def _position_bias(judge: Judge, questions: Questions, picks: IntArray) -> float:
    """How uneven the shown places of the picks are."""
    k = questions.slates.shape[1]
    shown = np.tile(np.arange(k), (len(picks), 1))  # shown[row, place in the slate]
    if isinstance(judge, LanguageModelJudge):
        asked = judge.questions(questions.histories, questions.slates, questions.users)
        shown = np.stack([np.argsort(question.order) for question in asked])
    rows = np.flatnonzero(picks != NONE)
    if not len(rows):
        return 0.0
    places = np.bincount(shown[rows, picks[rows]], minlength=k) / len(rows)
    return float(np.abs(places - 1 / k).sum() / 2)


def _calibration(judge: Judge, questions: Questions) -> list[tuple[float, float]]:
    """The calibration curve, given that one of the candidates is the right one."""
    if not isinstance(judge, LanguageModelJudge) or judge.scoring.name == "answer":
        return []
    chances = judge.probabilities(questions.histories, questions.slates, questions.users)
    among: NDArray[np.floating] = chances[:, :-1] / chances[:, :-1].sum(axis=1, keepdims=True)
    order = among.max(axis=1).argsort()
    right = among.argmax(axis=1) == questions.answers
    parts = np.array_split(order, BINS)
    return [
        (float(among.max(axis=1)[part].mean()), float(right[part].mean()))
        for part in parts
        if len(part)
    ]


def print_report(report: Report, console: Console | None = None) -> None:
    """Prints the cards, the agreement between judges, and what their scores add."""
    table = Table(
        title=f"Judges on {report.data}, {report.data_hash}: next item among {report.k}, "
        f"n = {report.n}, chance {1 / report.k:.0%}",
        caption="[..] 95% Wilson interval; ECE: calibration error; none: share of 'None of them' "
        "with / without the true item; labels: probability of all together",
    )
    columns = (
        "accuracy",
        "none",
        "position bias",
        "flips",
        "labels",
        "ECE",
        "prompts/s",
        "min/1,000",
    )
    table.add_column("judge")
    for column in (*columns, "$/1,000"):
        table.add_column(column, justify="right")
    for card in report.cards:
        low, high = card.interval
        table.add_row(
            card.judge,
            f"{card.accuracy:.1%} [{low:.1%}, {high:.1%}]".replace("[", "\\["),
            f"{card.none_rate:.0%} / {card.none_rate_without:.0%}",
            f"{card.position_bias:.2f}",
            f"{card.flips:.0%}",
            *(
                "-" if value is None else f"{value:.3g}"
                for value in (
                    card.label_mass,
                    card.calibration_error,
                    card.prompts_per_second,
                    card.minutes_per_1000,
                    card.dollars_per_1000,
                )
            ),
        )
    names = [card.judge for card in report.cards]
    agreement = Table(title="Share of questions with the same verdict")
    for name in ("", *names):
        agreement.add_column(name, justify="right")
    for name, row in zip(names, report.agreement, strict=True):
        agreement.add_row(name, *(f"{share:.0%}" for share in row))
    # A pipe or a log file has no width; rich would fold every cell to fit 80 columns.
    console = console or Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    console.print(table)
    console.print(agreement)
    if report.nested:
        console.print(nested_table(report.nested))


def plot_report(report: Report, file: Path) -> None:
    """Draws the accuracies and the calibration curves.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra ``benchmarks`` installs.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    names = [card.judge for card in report.cards]
    accuracy = np.array([card.accuracy for card in report.cards])
    ends = np.abs(np.array([card.interval for card in report.cards]).T - accuracy)
    left.barh(names, accuracy, xerr=ends, color="tab:blue", alpha=0.7, capsize=3)
    left.axvline(1 / report.k, color="black", linestyle=":", label="chance")
    left.set(xlabel=f"accuracy, {report.k} candidates, n = {report.n} (95% interval)")
    left.invert_yaxis()
    left.legend()
    right.plot([0, 1], [0, 1], color="black", linestyle=":")
    for card in report.cards:
        if card.bins:
            right.plot(*np.array(card.bins).T, marker="o", label=card.judge)
    right.set(xlabel="probability of the picked candidate", ylabel="share right")
    if any(card.bins for card in report.cards):
        right.legend()
    figure.suptitle(f"{report.data}, {report.data_hash}")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)
