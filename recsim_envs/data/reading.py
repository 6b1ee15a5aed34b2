"""How a user's interactions are to be read, and which arguments would be ignored."""

from __future__ import annotations

from typing import NamedTuple

from recsim_envs.data.columns import Table
from recsim_envs.data.times import time_column
from recsim_envs.errors import DataError


class Reading(NamedTuple):
    """How the interactions are to be read, where more than one reading makes sense.

    Attributes:
        rating_scale: lowest and highest rating there can be; None is what the source says, else 1
            to 5.
        liked: the lowest rating of an item that counts as chosen, on that scale; None is three
            quarters of the way up, 4 of 1 to 5.
        all_ratings: keep every rating, for ``recsim/Coat-v0``, though no column ``split`` says
            which ones are of randomly drawn items.
        min_length: sequences of fewer items are dropped; None is 2, for a single item teaches
            nothing of what comes next. Not for ratings, of which each one counts.
        rows_in_order: the rows are in the order of time, where no column says so.
        max_users: only the first so many users, in the order of the rows.
        k_core: only users (or sequences, where there are none) and items with so many choices or
            more, repeated until nothing changes; items outside leave the catalogue.
        session_gap: hours; a sequence is cut where more pass between two choices.
    """

    rating_scale: tuple[float, float] | None = None
    liked: float | None = None
    all_ratings: bool = False
    min_length: int | None = None
    rows_in_order: bool = False
    max_users: int | None = None
    k_core: int | None = None
    session_gap: float | None = None

    def over(self, defaults: Reading) -> Reading:
        """These, and what ``defaults`` say where these are None."""
        own = self._asdict()
        return self._replace(**{k: v for k, v in defaults._asdict().items() if own[k] is None})


PLAIN = Reading()
SHORTEST = 2
"""Items of a sequence, where nothing else is said."""


def refuse_unused(events: Table, for_coat: bool, reading: Reading) -> None:
    """Raises DataError for an argument that would change nothing."""
    has = events.frame.columns
    if for_coat:
        why = "every rating counts in data for recsim/Coat-v0"
        unused = ["liked", "min_length", "max_users", "k_core", "session_gap"]
    elif "rating" not in has:
        why, unused = f"{events.name} has no column 'rating'", ["rating_scale", "liked"]
    else:
        why, unused = "", []
    given = {name: value for name, value in reading._asdict().items() if value is not None}
    for name in unused:
        if name in given:
            raise DataError(
                f"--{name.replace('_', '-')} {given[name]} would change nothing, for {why}: "
                "leave it out"
            )
    for name, column in (("max_users", "user_id"), ("session_gap", "a time")):
        found = time_column(events) if column == "a time" else column in has
        if name in given and not found:
            raise DataError(
                f"--{name.replace('_', '-')} {given[name]} needs {column}, but {events.name} has "
                f"only the columns {list(has)}"
            )
    for name, least in (("min_length", 1), ("max_users", 1), ("k_core", 1), ("session_gap", 0)):
        if name in given and not given[name] >= least:
            raise DataError(
                f"--{name.replace('_', '-')} {given[name]} is too small: {least} or more"
            )
