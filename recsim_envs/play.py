"""A person is the recommender, in a terminal: what ``recsim play`` does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import sparse

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.cli import EnvId
from recsim_envs.data.dataset import Dataset
from recsim_envs.envs import RecommenderEnv, RecommenderVectorEnv
from recsim_envs.render.session import item_text
from recsim_envs.render.terminal import drawn
from recsim_envs.report.play import make_users, play
from recsim_envs.report.policies import (
    ORACLE,
    oracle_policy,
    popularity_counts,
    random_policy,
    ranking_policy,
)
from recsim_envs.rewards.baselines import popularity_scores, text_scores, tfidf_vectors
from recsim_envs.users.simulator import Split, which_held

EACH = 3
"""Suggestions by each rule."""
FOUND = 9
"""Most items that a search shows."""
PROMPT = "number, /words to search, Enter for suggestions, q to stop: "


def play_a_session(env: EnvId, data: str, split: Split, seed: int) -> None:
    """Lets a person recommend to one user, and compares the person with policies on that user.

    Args:
        env: which users.
        data: "replica" or a prepared name.
        split: whose users and rewards.
        seed: of the user and of the random suggestions.
    """
    console = Console()
    users = make_users(env, 1, data=data, split=split)
    rules = Rules.of(users.dataset)
    one = RecommenderEnv(users.simulator)
    one.reset(seed=seed)
    is_over = recommend(one, rules, np.random.default_rng(seed), console)
    console.print(drawn(one.session()))
    if not is_over:
        console.print("Stopped before the end.")
        return
    you = one.session()
    rows = [("you", you.earned, len(you.steps)), *played(users, rules, seed)]
    console.print("\nThe same user with")
    for name, earned, length in rows:
        console.print(f"  {name:<14} Return {earned:6.2f}, Length {length}", highlight=False)


@dataclass(frozen=True)
class Rules:
    """What the suggestions need of a catalogue.

    Attributes:
        counts: how often users took each item, (n_items,).
        tfidf: of the items' texts, (n_items, words).
        texts: of the items, in lower case.
    """

    counts: IntArray
    tfidf: sparse.csr_array
    texts: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> Rules:
        """Reads a data set."""
        texts = dataset.items["text"].tolist()
        return cls(
            popularity_counts(dataset), tfidf_vectors(texts), [text.casefold() for text in texts]
        )

    def popularity(self, histories: IntArray) -> FloatArray:
        """Scores by popularity, (B, n_items)."""
        return popularity_scores(histories, self.counts)

    def nearest(self, histories: IntArray) -> FloatArray:
        """Scores by likeness of texts to the whole history, (B, n_items)."""
        return text_scores(histories, self.tfidf)


Offer = tuple[str, int]
"""The rule that found an item, and the item."""


def recommend(
    env: RecommenderEnv, rules: Rules, rng: np.random.Generator, console: Console
) -> bool:
    """Asks for one recommendation after another; returns whether the session ended.

    It stops where the input ends, at Ctrl-C and at "q".
    """
    offers = suggestions(env, rules, rng)
    console.print(drawn(env.session()), offers_table(env, offers))
    while True:
        try:
            line = input(PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return False
        if line == "q":
            return False
        if line.isdecimal() and 1 <= int(line) <= len(offers):
            _, _, terminated, truncated, _ = env.step(np.int64(offers[int(line) - 1][1]))
            if terminated or truncated:
                return True
            offers = suggestions(env, rules, rng)
            console.print()
            console.print(drawn(env.session()), offers_table(env, offers))
        elif not line:
            offers = suggestions(env, rules, rng)
            console.print(offers_table(env, offers))
        elif line.startswith("/"):
            found = search(rules, line[1:])
            if found:
                offers = found
                console.print(offers_table(env, offers))
            else:
                console.print(Text(f"No item's text has all of {line[1:].split()}."))
        else:
            console.print(Text(f"{line!r} is none of the choices: give 1 to {len(offers)}."))


def suggestions(env: RecommenderEnv, rules: Rules, rng: np.random.Generator) -> list[Offer]:
    """Items that were neither shown nor are in the history, ``EACH`` by each rule."""
    simulator = env.simulator
    n_items, history = simulator.dataset.n_items, simulator.history.astype(np.int64)
    ranked = {"popular": rules.popularity(history)[0]}
    if (history < n_items).any():
        ranked["nearest text"] = rules.nearest(history)[0]
    ranked["random"] = rng.random(n_items)
    hidden = (simulator.already_shown() | which_held(simulator.history, n_items))[0]
    offers: list[Offer] = []
    for rule, scores in ranked.items():
        order = np.argsort(-np.where(hidden, -np.inf, scores), kind="stable")
        best = [int(item) for item in order[:EACH] if not hidden[item]]
        hidden[best] = True
        offers += [(rule, item) for item in best]
    return offers


def search(rules: Rules, words: str) -> list[Offer]:
    """The most popular items with all of the words in their text, upper and lower case alike."""
    wanted = words.casefold().split()
    found = [i for i, text in enumerate(rules.texts) if all(word in text for word in wanted)]
    found.sort(key=lambda item: -rules.counts[item])
    return [("search", item) for item in found[:FOUND]] if wanted else []


def offers_table(env: RecommenderEnv, offers: list[Offer]) -> Table:
    """The choices, numbered from 1."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right", style="bold")
    table.add_column("why", style="dim")
    table.add_column("item", overflow="fold")
    for number, (rule, item) in enumerate(offers, 1):
        table.add_row(str(number), rule, Text(item_text(env.dataset, item)))
    return table


def played(users: RecommenderVectorEnv, rules: Rules, seed: int) -> list[tuple[str, float, int]]:
    """Return and Length of policies with the user of that seed, by name."""
    policies = {
        "random": random_policy(users, seed),
        "popularity": ranking_policy(users, rules.popularity),
        "nearest text": ranking_policy(users, rules.nearest),
        ORACLE: oracle_policy(users),
    }
    rows = []
    for name, act in policies.items():
        sessions = play(users, act, seed)
        rows.append((name, float(sessions.reward[0]), int(sessions.length[0])))
    return rows
