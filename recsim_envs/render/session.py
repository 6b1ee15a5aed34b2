"""What there is to see of one session, in words; whoever draws it needs no environment."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsim_envs.data.dataset import Dataset
from recsim_envs.state import State
from recsim_envs.users.patience import Patience

MAX_CHARS = 200
"""Of an item's text: some sellers write pages."""
Numbers = dict[str, float]
"""A user's named terms after one step, or at the start."""


@dataclass
class SessionLog:
    """What was shown in one session and what came of it, as plain data: a state holds it.

    Attributes:
        before: items of the history that the session began with, oldest first.
        start: the terms at the start.
        steps: each step's terms, and its ``reward``.
        terminated: whether the user left.
        truncated: whether the length cap ended the session.
    """

    before: list[int] = field(default_factory=list)
    start: Numbers = field(default_factory=dict)
    steps: list[Numbers] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    @classmethod
    def begun(cls, history: NDArray[np.int32], n_items: int, start: Numbers) -> SessionLog:
        """A new session's log; ``history`` (H,) is padded with ``n_items``."""
        return cls([int(item) for item in history if item < n_items], start)

    def add(self, terms: Numbers, reward: float, terminated: bool, truncated: bool) -> None:
        """Notes one recommendation."""
        self.steps.append({**terms, "reward": reward})
        self.terminated, self.truncated = terminated, truncated

    def state(self) -> State:
        """The log as a dict that shares nothing with it; ``SessionLog(**state)`` takes it back."""
        return asdict(self)


@dataclass(frozen=True)
class Step:
    """One recommendation.

    Attributes:
        item: its number in the catalogue.
        text: of the item, one line.
        reward: what it earned.
        accepted: whether the user accepted it; None where users do not say.
        patience: of the user after it.
    """

    item: int
    text: str
    reward: float
    accepted: bool | None
    patience: Patience


@dataclass(frozen=True)
class Session:
    """A session as it stands.

    Attributes:
        data: the data set's name, and whether it is a replica.
        user: who the user is; "" where nothing is known.
        before: texts of the history that the session began with, oldest first.
        steps: the recommendations, oldest first.
        patience: of the user now.
        max_steps: the length cap.
        left: whether the user left.
        over: whether the session has ended, so or at its cap.
        ending: how it ended, or what keeps the user; "" while nothing is to be said.
    """

    data: str
    user: str
    before: list[str]
    steps: list[Step]
    patience: Patience
    max_steps: int
    left: bool
    over: bool
    ending: str

    @property
    def earned(self) -> float:
        """The sum of the rewards so far; at the end it is the paper's Return."""
        return sum(step.reward for step in self.steps)


def session_of(
    log: SessionLog,
    dataset: Dataset,
    patiences: list[Patience],
    user: int | None,
    max_steps: int,
) -> Session:
    """Puts a log into words.

    Args:
        log: the session's.
        dataset: the catalogue.
        patiences: at the start, and after each step.
        user: the user's number where users are known.
        max_steps: the length cap.
    """
    steps = [
        Step(
            item=int(terms["item"]),
            text=item_text(dataset, int(terms["item"])),
            reward=terms["reward"],
            accepted=bool(terms["accepted"]) if "accepted" in terms else None,
            patience=patience,
        )
        for terms, patience in zip(log.steps, patiences[1:], strict=True)
    ]
    who = ""
    if user is not None and dataset.users is not None:
        who = f"user {user}: {one_line(dataset.users['text'][user])}"
    return Session(
        data=f"{dataset.name}, {'REPLICA (synthetic)' if dataset.replica else 'real'}",
        user=who,
        before=[item_text(dataset, item) for item in log.before],
        steps=steps,
        patience=patiences[-1],
        max_steps=max_steps,
        left=log.terminated,
        over=log.terminated or log.truncated,
        ending=_ending(log, patiences[-1]),
    )


def _ending(log: SessionLog, patience: Patience) -> str:
    is_bored = patience.value < patience.leaves_below
    why = f"{patience.name} {patience.number} is below {patience.leaves_below:g}"
    if log.terminated:
        return f"The user left: {why}."
    if log.truncated:
        return f"The session ended at its cap of {len(log.steps)} items; the user had not left."
    return f"Only leaves=False keeps the user: {why}." if is_bored else ""


def item_text(dataset: Dataset, item: int) -> str:
    """An item's text as one line, or its number where it has none."""
    return one_line(dataset.items["text"][item]) or f"item {item}, without text"


def one_line(text: str) -> str:
    """A stranger's text as one line that no terminal obeys: control characters become spaces."""
    plain = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text[: 4 * MAX_CHARS])
    words = " ".join(plain.split())
    return words if len(words) <= MAX_CHARS else words[: MAX_CHARS - 1].rstrip() + "…"
