"""When a model's log-probabilities of labels are a verdict, and when they are noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llm_oracle.judge import JudgeError
from recsim_envs.arrays import Float32Array

LEAST_MASS = 0.1
"""Of all labels together. Below it the model was about to say something else, and which label it
likes best says nothing."""
MARKS = "▁Ġ"
"""How SentencePiece and byte-level tokenizers write that a word begins."""
NEVER = -9999.0
"""What vLLM and OpenAI write for a probability of 0."""
ROUNDING = 0.01


class LabelAnswer(NamedTuple):
    """What a model says of each label.

    Attributes:
        values: (n,) log-probabilities, in nats.
        mass: probability of all labels that the model was seen to give, between 0 and 1.
    """

    values: Float32Array
    mass: float


def label_of(token: str) -> str:
    """Returns a token as a label is written: "a" for "▁a", "Ġa" and " A"."""
    word = token.strip().lstrip(MARKS).strip()
    # "I" begins a sentence ("I think"); the prompts show small letters.
    return word if word == "I" else word.casefold()


def read_labels(log_probs: Mapping[str, float], labels: Sequence[str]) -> LabelAnswer:
    """Finds the labels among the likeliest tokens.

    A label in several forms ("a", " a") has the likeliest one's value. The labels that are not
    listed share what the listed tokens leave, and none gets more than half of the least of those.

    Args:
        log_probs: of the likeliest tokens, in nats.
        labels: all that may be chosen.

    Raises:
        JudgeError: for numbers that are no log-probabilities.
    """
    found: dict[str, float] = {}
    total, least = 0.0, 0.0
    for token, value in log_probs.items():
        if not math.isfinite(value) or value > ROUNDING:
            raise JudgeError(f"{value} is no log-probability (of the token {token!r})")
        if value <= NEVER:
            continue
        total += math.exp(value)
        least = min(least, value)
        label = label_of(token)
        found[label] = max(value, found.get(label, NEVER))
    if total > 1 + ROUNDING:
        raise JudgeError(f"the probabilities of {list(log_probs)} add up to {total:.2f}")
    mass = sum(math.exp(found[label]) for label in labels if label in found)
    missing = sum(label not in found for label in labels)
    left = max(1 - total, 1e-6) / max(missing, 1)
    unlisted = min(least - math.log(2), math.log(left))
    values = [found.get(label, unlisted) for label in labels]
    return LabelAnswer(np.array(values, dtype=np.float32), mass)


def check_answer(
    answer: LabelAnswer, least_mass: float, name: str, wanted: Callable[[], str]
) -> None:
    """Refuses what is no verdict.

    Args:
        answer: of one question.
        least_mass: the labels' total probability must reach it.
        name: of the model, for the error.
        wanted: says what the model would say instead; called only for the error.

    Raises:
        JudgeError: if a value is not finite, or the labels have too little mass.
    """
    check_finite(answer.values, name)
    if answer.mass < least_mass:
        raise JudgeError(
            f"{name} gives all labels together a probability of {answer.mass:.2g}, less than "
            f"least_mass={least_mass:g}, and wants to say {wanted()}: use a model that follows the "
            "prompt, or lower least_mass"
        )


def check_finite(values: NDArray[np.floating], name: str) -> None:
    """Refuses NaN and infinities, which would read as "None of them".

    Raises:
        JudgeError: if there are any.
    """
    if not np.isfinite(values).all():
        raise JudgeError(
            f"{name} answered {values.tolist()}, which are no log-probabilities: its weights or "
            "its precision are broken"
        )


def said(log_probs: Mapping[str, float], n: int = 5) -> str:
    """Returns the likeliest tokens with their probabilities, for an error."""
    likeliest = sorted(log_probs.items(), key=lambda pair: -pair[1])[:n]
    return (
        ", ".join(f"{token!r} ({math.exp(value):.0%})" for token, value in likeliest) or "nothing"
    )
