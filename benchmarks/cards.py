"""What stands beside a sweep's results: the card of its users, and of its judge."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from benchmarks.cells import IALP, Simulation
from benchmarks.records import Record, data_label, data_of
from recsim_envs.data.store import data_folder
from recsim_envs.data.stored import read_card
from recsim_envs.rewards.card import print_card

WIDTH = 110


def users_card(users: Simulation) -> str:
    """What the users' reward models were fitted on, and how good they are."""
    replica = users.env.removeprefix("recsim/").split("-")[0].lower()
    card = read_card(data_folder(users.data, replica))
    text = io.StringIO()
    print_card(card, Console(file=text, width=WIDTH))
    return f"{users.env}, {data_label(data_of(users)['data'])}\n\n{text.getvalue()}"


def judge_card(records: Sequence[Record]) -> str:
    """Who judged what, and how often no candidate would do.

    Args:
        records: of a sweep; those of its pre-trainings count.
    """
    lines = []
    for record in records:
        cell = record["cell"]
        if cell["variant"]["agent"] != IALP:
            continue
        judging, users = cell["judging"], cell["simulation"]
        precision = f", {judging['quantization']}" if judging["quantization"] else ""
        lines.append(
            f"{users['env']}, seed {record['seed']}: {record['judge']}{precision}, "
            f"{cell['pretraining']['verdicts']:,} verdicts on {judging['k']} candidates each, "
            f"{record['picked']:.0%} of them named one"
        )
    if not lines:
        return "nothing was judged"
    share = np.mean([r["picked"] for r in records if r["cell"]["variant"]["agent"] == IALP])
    return "\n".join([*lines, "", f"on average {share:.0%} of the verdicts named a candidate"])
