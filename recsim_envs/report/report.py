"""Puts a report on a simulator together: `recsim env-report`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from recsim_envs.files import write_whole
from recsim_envs.provenance import git_revision, versions
from recsim_envs.report.agreement import (
    WITHOUT_TEXT,
    agreement_section,
    fit_without_text,
    second_section,
)
from recsim_envs.report.figures import Figure, Section
from recsim_envs.report.head_room import head_room_section
from recsim_envs.report.known_order import known_order_section
from recsim_envs.report.likeness import likeness_section
from recsim_envs.report.policies import reference_scorers
from recsim_envs.report.response import (
    answers_of_all,
    held_out_questions,
    ratings_section,
    repeats_section,
    response_section,
)
from recsim_envs.report.subject import (
    SessionSubject,
    ShopperSubject,
    Subject,
    environment_of,
    load_subject,
)
from recsim_envs.report.untrained import random_section
from recsim_envs.report.wins import TRAINING_MODEL, play_references, wins_section

Part = TypeVar("Part")
LEAST_SESSIONS = 20
"""Fewer give no interval worth the name."""
RATINGS_ONLY = {
    "repeats": "a shopper rates; the log does not say what was bought again",
    "likeness to the log": "the log holds ratings without an order, and no sessions",
    "known order": "the log holds ratings of coats, and no sequence that could be replayed",
    "ranking agreement": "no held-out choice follows a history, so that nothing can be ranked by "
    "hits",
    "second simulator": "one completed rating matrix answers; no model is fitted on other users",
}
"""Sections that ratings do not allow, and why."""


@dataclass(frozen=True)
class EnvReport:
    """What was found, and what it was made with.

    Attributes:
        provenance: data, hashes, seeds, versions.
        sections: in the order of the documentation.
    """

    provenance: dict[str, Any]
    sections: list[Section]

    @property
    def title(self) -> str:
        """Names the data; a replica is called one."""
        kind = "REPLICA (synthetic)" if self.provenance["replica"] else "real"
        return f"{self.provenance['data']} ({kind}) {self.provenance['data_hash']}"

    def section(self, name: str) -> Section:
        """The section of that name."""
        return next(section for section in self.sections if section.name == name)

    def save(self, file: Path) -> None:
        """Writes the record as JSON; a number that is not defined is null."""
        file.parent.mkdir(parents=True, exist_ok=True)
        record = _json({"provenance": self.provenance, "sections": map(asdict, self.sections)})
        write_whole(file, (json.dumps(record, indent=1) + "\n").encode())


def report_on(name: str, sessions: int = 500, seed: int = 0) -> EnvReport:
    """Reports on prepared data.

    Args:
        name: given to ``recsim prepare``, or replica/lfm, replica/industry, replica/coat.
        sessions: of each policy, at least 20.
        seed: of users, policies and the one fit.

    Raises:
        DataError: for data that is not prepared.
        ValueError: for too few sessions.
    """
    return make_report(name, load_subject(name), sessions, seed)


def make_report(name: str, subject: Subject, sessions: int, seed: int) -> EnvReport:
    """Reports on what was loaded, or made in memory; arguments and errors as :func:`report_on`."""
    if sessions < LEAST_SESSIONS:
        raise ValueError(f"sessions={sessions} are too few: use at least {LEAST_SESSIONS}")
    start = time.perf_counter()
    if isinstance(subject, ShopperSubject):
        sections = _sections_of_shoppers(subject, sessions, seed)
    else:
        sections = _sections_of_sessions(subject, sessions, seed)
    provenance = {
        "data": name,
        "replica": subject.dataset.replica,
        "data_hash": subject.dataset.hash,
        "environment": environment_of(subject),
        "reward_hashes": subject.reward_hashes,
        "split_seed": subject.dataset.split_seed,
        "seed": seed,
        "sessions": sessions,
        "revision": git_revision(),
        "versions": versions(),
        "wall_s": round(time.perf_counter() - start, 1),
    }
    return EnvReport(provenance, sections)


def _sections_of_sessions(subject: SessionSubject, sessions: int, seed: int) -> list[Section]:
    baselines = reference_scorers(subject.dataset)
    models = {
        TRAINING_MODEL: subject.rewards["train"],
        "test model": subject.rewards["test"],
        "disjoint users' model": subject.rewards["test_disjoint"],
    }
    scorers = {**baselines, TRAINING_MODEL: models[TRAINING_MODEL].probabilities}
    askable = {**scorers, **{name: model.probabilities for name, model in models.items()}}
    questions = held_out_questions(subject, seed)
    steps = tqdm(total=7, desc="env-report", unit="part", leave=False)

    def done(part: Part) -> Part:
        steps.update()
        return part

    without = done(fit_without_text(subject, seed + 3))
    subject = replace(subject, rewards={**subject.rewards, WITHOUT_TEXT: without})
    answering = (None, "test_disjoint", WITHOUT_TEXT)
    shown, disjoint, textless = done(
        play_references(subject, scorers, "shown", sessions, seed, answering)
    )
    (accepted,) = done(play_references(subject, scorers, "accepted", sessions, seed))
    played = {"shown": shown, "accepted": accepted}
    answers = done(answers_of_all(subject.dataset, questions, askable))
    ranked = {name: answers[name] for name in scorers}
    simulators = {"test model": shown, "test model without text": textless, "accepted": accepted}
    sections = [
        wins_section(played),
        done(head_room_section(subject, played, seed)),
        response_section(questions, answers, models, seed),
        repeats_section(subject),
        done(likeness_section(subject, sessions, seed)),
        done(known_order_section(subject, sessions, seed)),
        agreement_section(ranked, simulators),
        second_section(shown, disjoint),
        random_section(shown["random"], True),
    ]
    steps.close()
    return sections


def _sections_of_shoppers(subject: ShopperSubject, sessions: int, seed: int) -> list[Section]:
    scorers = reference_scorers(subject.dataset)
    (shown,) = play_references(subject, scorers, "shown", sessions, seed)
    return [
        wins_section({"shown": shown}),
        head_room_section(subject, {"shown": shown}, seed),
        ratings_section(subject),
        *(Section(name, "", not_applicable=reason) for name, reason in RATINGS_ONLY.items()),
        random_section(shown["random"], False),
    ]


def _json(value: Any) -> Any:
    """The value in JSON's types: figures by their parts, no NaN."""
    if isinstance(value, Figure):
        return {"value": _json(value.value), "interval": [_json(value.low), _json(value.high)]}
    if isinstance(value, Mapping):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | map):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
