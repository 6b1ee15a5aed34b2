"""What a reader of a publisher's files hands over: tables, and how they are meant."""

from __future__ import annotations

from typing import NamedTuple

from recsim_envs.data.columns import Table
from recsim_envs.data.reading import PLAIN, Reading
from recsim_envs.data.wording import Scenario


class Source(NamedTuple):
    """Tables for :func:`recsim_envs.data.build.build`.

    Attributes:
        events: the interactions.
        items: the catalogue.
        users: who they are of, where that is described.
        text: the item columns that a judge reads, unless the user names others.
        user_text: the user columns that a judge reads.
        scenario: what the items are, unless the user says otherwise.
        defaults: how the interactions are read, unless the user says otherwise.
    """

    events: Table
    items: Table
    users: Table | None = None
    text: tuple[str, ...] = ()
    user_text: tuple[str, ...] = ()
    scenario: Scenario = "products"
    defaults: Reading = PLAIN
