"""Fits a judge's calibration to a shop's own choices, without tuning: `recsim calibrate-judge`.

The three numbers of :class:`llm_oracle.calibration.Calibration` are fitted on choices of one half
of the held-out sequences, and what that brings is measured on the other half. Popularity is that of
the training sequences, which hold none of these choices; an adapter was tuned on training choices,
and would be too sure of itself there.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.special import log_softmax

from llm_oracle.calibration import Calibration
from llm_oracle.judge import NONE
from llm_oracle.judges.calibrated import CalibrationCard, ScoringJudge
from llm_oracle.judges.simple import PopularityJudge
from llm_oracle.study.choice_model import fit_calibration, mean_by_sequence
from llm_oracle.study.evaluate import Questions, mixed_questions, scores_of
from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DataError
from recsim_envs.provenance import git_revision, versions
from recsim_envs.report.figures import Figure
from recsim_envs.report.tables import LOG_WIDTH, printed


def calibrate_judge(
    judge: ScoringJudge,
    dataset: Dataset,
    n: int = 300,
    k: int = 10,
    none_share: float = 0.1,
    seed: int = 0,
) -> CalibrationCard:
    """Asks the judge 2n questions, fits its calibration on n and measures it on the others.

    Args:
        judge: it keeps the calibration that it has, which is what the new one is compared with.
        dataset: that it judges on.
        n: questions of each half.
        k: candidates a question.
        none_share: share of the questions without the true item, whose answer is "None of them"; 0
            or more, below 1. It decides how readily the judge says so.
        seed: of the questions.

    Returns:
        The card, for :meth:`llm_oracle.judges.calibrated.CalibrationCard.apply`. Its figures, each
        with its 95% interval from resampling sequences: "before" and "after" hold the
        log-likelihood of the true answer among all k + 1 in nats a question; of the questions with
        the true item, the share that picks it (accuracy), that finds it the best candidate, and
        that answers "None of them"; and that share of the questions without it (None where there
        are none). "gain" is that of the log-likelihood. Where a judge had no calibration, "before"
        reads its scores as utilities, which picks what it picks.

    Raises:
        DataError: for arguments out of range, or too few held-out choices.
    """
    if n < 1 or not 0 <= none_share < 1:
        raise DataError(
            f"n={n}, none_share={none_share}: ask at least one question, and not all of them "
            "without the true item"
        )
    fitted_on, measured_on = halves(dataset)
    drawn = mixed_questions(dataset, n, k, none_share, seed, fitted_on)
    counts = judge.counts[drawn.slates]
    # Popularity's own score is the log of the counts: one weight for it is enough.
    weighs = not isinstance(judge, PopularityJudge)
    found = fit_calibration(scores_of(judge, drawn), np.log1p(counts), drawn.answers, weighs)

    test = mixed_questions(dataset, n, k, none_share, seed, measured_on)
    scores = scores_of(judge, test)
    before = _measured(judge.calibration or Calibration(), judge, test, scores)
    after = _measured(found, judge, test, scores)
    return CalibrationCard(
        judge=judge.describe(),
        data={"name": dataset.name, "hash": dataset.hash, "replica": dataset.replica},
        calibration=found,
        settings={"n": n, "k": k, "none_share": none_share, "seed": seed},
        figures={
            "before": before.figures(test),
            "after": after.figures(test),
            "gain": list(
                mean_by_sequence(after.log_likelihood - before.log_likelihood, test.sequences)
            ),
        },
        versions=versions(),
        revision=git_revision(),
    )


def halves(dataset: Dataset) -> tuple[IntArray, IntArray]:
    """The held-out sequences that calibrations are fitted on, and those that measure them.

    Always the same ones, so that `recsim judge-report` measures a calibrated judge on the others.

    Raises:
        DataError: if there are fewer than two.
    """
    held_out = dataset.held_out
    if len(held_out) < 2:
        raise DataError(
            f"{dataset.name!r} has {len(held_out)} held-out sequences: one half fits a "
            "calibration, the other measures it, so take data with 10 sequences or more"
        )
    shuffled = np.random.default_rng(dataset.split_seed).permutation(held_out)
    half = len(held_out) // 2
    return np.sort(shuffled[:half]), np.sort(shuffled[half:])


class Measured(NamedTuple):
    """What a calibration makes of some questions' scores.

    Attributes:
        log_likelihood: (n,) of the true answer among all k + 1, in nats.
        picks: (n,) of the judge.
        best: (n,) the likeliest candidates.
    """

    log_likelihood: FloatArray
    picks: IntArray
    best: IntArray

    def figures(self, questions: Questions) -> dict[str, list[float] | None]:
        """The means over the questions, each with its interval; None of no questions."""
        known = questions.answers >= 0
        none = self.picks == NONE
        of = {
            "log_likelihood": (self.log_likelihood, np.ones(len(known), bool)),
            "accuracy": (self.picks == questions.answers, known),
            "best_candidate": (self.best == questions.answers, known),
            "none_rate": (none, known),
            "none_rate_without": (none, ~known),
        }
        return {
            name: list(mean_by_sequence(values[rows].astype(float), questions.sequences[rows]))
            if rows.any()
            else None
            for name, (values, rows) in of.items()
        }


def _measured(
    calibration: Calibration, judge: ScoringJudge, questions: Questions, scores: FloatArray
) -> Measured:
    counts = judge.counts[questions.slates]
    utilities = calibration.utilities(scores, counts).astype(np.float64)  # (n, k + 1)
    right = np.where(questions.answers == NONE, scores.shape[1], questions.answers)
    log_likelihood = log_softmax(utilities, axis=1)[np.arange(len(right)), right]
    best = utilities[:, :-1].argmax(axis=1)
    return Measured(log_likelihood, calibration.choose(scores, counts), best)


def print_calibration(card: CalibrationCard, name: str, console: Console | None = None) -> None:
    """Prints the three numbers, and what they bring.

    Args:
        card: of :func:`calibrate_judge`.
        name: of the judge.
        console: where to; default the terminal.
    """
    about, rule = card.settings, card.calibration
    kind = "REPLICA, synthetic" if card.data["replica"] else "real"
    table = Table(
        title=escape(f"{name} on {card.data['name']} ({kind}), {card.data['hash']}"),
        caption=escape(
            f"fitted on {about['n']} questions of one half of the held-out sequences, measured on "
            f"{about['n']} of the other: next item among {about['k']}, or none of them in "
            f"{about['none_share']:.0%} of the questions; log-likelihood in nats a question; best "
            "candidate: accuracy if none of them were no answer; none: share of that answer, with "
            "the true item and without; [..] 95% interval"
        ),
    )
    table.add_column("calibration")
    for column in ("log-likelihood", "accuracy", "best candidate", "none, with", "without"):
        table.add_column(column, justify="right")
    for row in ("before", "after"):
        found = card.figures[row].values()
        table.add_row(row, *(escape(printed(v and Figure(*v), 3)) for v in found))
    table.add_row("gain", escape(printed(Figure(*card.figures["gain"]), 3)))
    # A pipe or a log file has no width; rich would fold every cell to fit 80 columns.
    console = console or Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    console.print(table)
    console.print(
        f"scale {rule.scale:.4g}, popularity {rule.popularity:.4g}, none {rule.none:.4g}",
        highlight=False,
    )
