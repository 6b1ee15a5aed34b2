"""Sample sessions of a report: an untrained and a trained agent with the same user."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import gymnasium as gym

from benchmarks.agents import FROM_SCRATCH
from benchmarks.records import Record
from recsim_envs.data.dataset import Dataset
from recsim_envs.report.play import make_users

PREFERRED = ("a-ialp_ap", "a-ialp_ft")
"""Trained variants to show, the best first; then any other."""
RANDOM = "random"
"""The reference policy that stands in where no agent started from nothing."""

Sample = tuple[str, list[Record]]
"""A player's name, and its sessions as ``benchmarks.curve.sample_sessions`` records them."""


def sample_pairs(records: Sequence[Record]) -> Record:
    """Sessions of an untrained and a trained agent with the same users, with item texts.

    Args:
        records: of one environment and data set.

    Returns:
        A dict of ``users``, each a list of the two sessions, and ``notes``: why there is none, or
        why there are no texts.
    """
    pairs = ((a, b) for a, b in product(_untrained(records), _trained(records)) if a[0] == b[0])
    seed, untrained, trained = next(((a[0], a[1], b[1]) for a, b in pairs), (0, None, None))
    if untrained is None or trained is None:
        return {"users": [], "notes": ["No seed has both an untrained and a trained agent."]}
    texts, notes = item_texts(records[0])
    users = []
    for first, second in zip(untrained[1], trained[1], strict=False):
        # Whose sessions start alike, under one seed, is the same user.
        if first["start"] == second["start"]:
            sides = [(untrained[0], first), (trained[0], second)]
            most = max((step[2] or 0.0 for _, s in sides for step in s["steps"]), default=0.0)
            users.append([_session(f"{name}, seed {seed}", s, texts, most) for name, s in sides])
    if not users:
        notes = ["The untrained and the trained agent met different users."]
    return {"users": users, "notes": notes}


def item_texts(record: Record) -> tuple[list[str] | None, list[str]]:
    """The item texts of a record's data set; None, and a note, if it is not here (any more)."""
    users, data = record["cell"]["simulation"], record["data"]
    note = f"item numbers instead of texts: the data set {users['data']!r}"
    try:
        dataset: Dataset = make_users(users["env"], 1, data=users["data"]).dataset
    except (ValueError, OSError, gym.error.Error) as error:
        return None, [f"{note} cannot be loaded ({type(error).__name__})"]
    if dataset.hash != data["hash"]:
        return None, [f"{note} is another one now: {dataset.hash}, then {data['hash']}"]
    return dataset.items["text"].tolist(), []


def _untrained(records: Sequence[Record]) -> list[tuple[int, Sample]]:
    """By seed: agents before they learned, from nothing; then the random policy."""
    found = []
    for record in records:
        variant = record["cell"]["variant"]
        if variant["agent"] in FROM_SCRATCH and variant["start"] == "random":
            sessions = record.get("samples", {}).get("before", [])
            found.append((record["seed"], (f"{record['label']}, untrained", sessions)))
    for record in records:
        if RANDOM in record.get("references", {}):
            sessions = record.get("samples", {}).get(RANDOM, [])
            found.append((record["seed"], ("random policy", sessions)))
    return [entry for entry in found if entry[1][1]]


def _trained(records: Sequence[Record]) -> list[tuple[int, Sample]]:
    """By seed: agents after they learned online, the preferred ones first."""
    online = [r for r in records if r["cell"]["online"] and r.get("samples", {}).get("after")]

    def rank(record: Record) -> int:
        name = record["variant"]
        return PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)

    return [
        (record["seed"], (f"{record['label']}, trained", record["samples"]["after"]))
        for record in sorted(online, key=rank)
    ]


def _session(name: str, session: Record, texts: list[str] | None, most: float) -> Record:
    """A session with texts; ``share`` is the patience left as a share of ``most``."""

    def text(item: int) -> str:
        return f"item {item}" if texts is None else texts[item] or f"item {item}, without text"

    steps = [
        {
            "item": item,
            "text": text(item),
            "reward": reward,
            "patience": patience,
            "share": None if patience is None else max(0.0, patience) / most if most else 0.0,
        }
        for item, reward, patience in session["steps"]
    ]
    return {
        "player": name,
        "history": [{"item": item, "text": text(item)} for item in session["start"]],
        "steps": steps,
        "return": round(sum(step["reward"] for step in steps), 3),
        "length": len(steps),
    }
