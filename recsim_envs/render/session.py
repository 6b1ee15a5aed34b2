"""What there is to see of one session, in words; whoever draws it needs no environment."""

from __future__ import annotations

import html
import unicodedata
from dataclasses import asdict, dataclass, field

from gymnasium.error import ResetNeeded

from recsim_envs.data.dataset import Dataset
from recsim_envs.state import State
from recsim_envs.users.patience import Patience
from recsim_envs.users.simulator import Simulator, Terms

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
    def begun(cls, simulator: Simulator, row: int) -> SessionLog:
        """The log of a user whose session has just begun."""
        known = simulator.history[row] < simulator.dataset.n_items
        before: list[int] = simulator.history[row][known].tolist()
        return cls(before, row_of(simulator.terms_at_start(), row))

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


def session_of(log: SessionLog, simulator: Simulator, row: int) -> Session:
    """Puts the log of a simulator's user into words.

    Raises:
        gymnasium.error.ResetNeeded: if no session has begun.
    """
    if not log.start:
        raise ResetNeeded("there is no session to show yet: call reset()")
    dataset = simulator.dataset
    patiences = [simulator.patience_at(terms) for terms in (log.start, *log.steps)]
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
    who, observation = "", simulator.observe()
    if dataset.users is not None and isinstance(observation, dict) and "user" in observation:
        user = int(observation["user"][row])
        who = f"user {user}: {one_line(dataset.users['text'][user])}"
    return Session(
        data=f"{dataset.name}, {'REPLICA (synthetic)' if dataset.replica else 'real'}",
        user=who,
        before=[item_text(dataset, item) for item in log.before],
        steps=steps,
        patience=patiences[-1],
        max_steps=simulator.max_steps,
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


def row_of(terms: Terms, row: int) -> Numbers:
    """One user's terms, as Python's numbers."""
    return {key: values[row].item() for key, values in terms.items()}


def item_text(dataset: Dataset, item: int) -> str:
    """An item's text as one line, or its number where it has none."""
    return one_line(dataset.items["text"][item]) or f"item {item}, without text"


def one_line(text: str) -> str:
    """A stranger's text as one line that no terminal obeys: control characters become spaces.

    HTML entities are decoded first, for shops write them and they may stand for such characters.
    """
    text = html.unescape(text[: 4 * MAX_CHARS])
    plain = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    words = " ".join(plain.split())
    return words if len(words) <= MAX_CHARS else words[: MAX_CHARS - 1].rstrip() + "…"
