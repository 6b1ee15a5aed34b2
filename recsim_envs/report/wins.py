"""Section "what wins it": the reference policies on test users, under both histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.figures import Cell, Section, mean_of, r_avg, ratio_of
from recsim_envs.report.lists import TRAINING_USERS, fixed_lists
from recsim_envs.report.play import Sessions, play, rounds_of
from recsim_envs.report.policies import IMPERSONAL, ORACLE, reference_policies
from recsim_envs.report.subject import SessionSubject, Subject
from recsim_envs.rewards.evaluate import Scorer
from recsim_envs.users.sessions import History
from recsim_envs.users.simulator import Split

TOO_EASY = 0.9
"""Share of the oracle's Return at which a policy that knows no user makes the report warn."""
TRAINING_MODEL = "training model"
Played = dict[str, Sessions]
"""Sessions of each reference policy, with the same users."""


def histories_of(subject: Subject) -> tuple[str, ...]:
    """The rules for the history: both for sessions; a shopper remembers what was shown."""
    return ("shown", "accepted") if isinstance(subject, SessionSubject) else ("shown",)


def users_of(
    subject: Subject, n: int, history: str, split: Split = "test", model: str | None = None
) -> RecommenderVectorEnv:
    """Makes users of either kind of subject; ``model`` answers for those of sessions."""
    if isinstance(subject, SessionSubject):
        return subject.users(n, split=split, model=model, history=cast(History, history))
    return subject.users(n, split=split)


def play_references(
    subject: Subject,
    scorers: Mapping[str, Scorer],
    history: str,
    sessions: int,
    seed: int,
    models: tuple[str | None, ...] = (None,),
) -> list[Played]:
    """Plays the reference policies.

    Args:
        subject: the simulators.
        scorers: what ranks the catalogue, by name.
        history: which items enter the users' histories.
        sessions: of each policy; all meet the same users.
        seed: of the users; training users have the next.
        models: the reward models that answer in turn; None is the test split's.

    Returns:
        The sessions of each policy, under each of the models.
    """
    lists = fixed_lists(users_of(subject, TRAINING_USERS, history, "train"), seed + 1)
    n, rounds = rounds_of(sessions)
    played = []
    for model in models:
        env = users_of(subject, n, history, model=model)
        policies = reference_policies(env, seed, lists=lists, scorers=scorers)
        played.append({name: play(env, act, seed, rounds) for name, act in policies.items()})
    return played


def wins_section(played: Mapping[str, Played]) -> Section:
    """Makes the section of what was played under each history."""
    rows: list[dict[str, Cell]] = []
    warnings = []
    for history, of_policy in played.items():
        oracle = of_policy[ORACLE].reward
        for name, sessions in of_policy.items():
            share = ratio_of(sessions.reward, oracle)
            rows.append(
                {
                    "history": history,
                    "policy": name,
                    "Return": mean_of(sessions.reward),
                    "Length": mean_of(sessions.length),
                    "R_avg": r_avg(sessions),
                    "distinct": float(sessions.distinct.mean()),
                    "share of the oracle": share,
                }
            )
            if name in IMPERSONAL and share.value >= TOO_EASY:
                warnings.append(
                    f'history "{history}": {name}, which knows nothing of the user, reaches '
                    f"{share.value:.2f} of the oracle's Return: a high Return here is no evidence "
                    "of a recommender"
                )
    question = "Which policy gets the highest Return, and does it need to know its user?"
    return Section("what wins it", question, rows, warnings)
