"""What became of every row of a user's tables: read, kept, dropped and why, and how it was read."""

from __future__ import annotations

from typing import Any

from recsim_envs.arrays import BoolArray


class Account:
    """Counts rows while a data set is built; :meth:`as_dict` is what a card holds.

    Attributes:
        tables: "read", "kept" and "dropped" (counts by reason) of "interactions", "items", "users"
            and "sequences".
        sizes: numbers of items, sequences and interactions, "before" anything was dropped but rows
            without ids, and "after".
        notes: sentences on what was decided for the user: the unit of the time, the scale of
            ratings, what a sequence is.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self.sizes: dict[str, dict[str, int]] = {}
        self.notes: list[str] = []

    def read(self, table: str, n: int) -> None:
        """Counts ``n`` more rows of a table, all kept so far."""
        rows = self.tables.setdefault(table, {"read": 0, "kept": 0, "dropped": {}})
        rows["read"] += n
        rows["kept"] += n

    def drop(self, table: str, n: int, reason: str) -> None:
        """Moves ``n`` rows from kept to dropped."""
        if n:
            rows = self.tables[table]
            rows["kept"] -= n
            rows["dropped"][reason] = rows["dropped"].get(reason, 0) + n

    def keep(self, table: str, kept: BoolArray, reason: str) -> BoolArray:
        """Drops the rows where ``kept`` (n,) is False, and returns it."""
        self.drop(table, int((~kept).sum()), reason)
        return kept

    def size(self, when: str, n_items: int, n_sequences: int, n_interactions: int) -> None:
        """Notes how large the data is, "before" or "after" dropping."""
        found = {"items": n_items, "sequences": n_sequences, "interactions": n_interactions}
        self.sizes[when] = found

    def note(self, text: str) -> None:
        """Adds a sentence."""
        self.notes.append(text)

    def as_dict(self) -> dict[str, Any]:
        """The account as JSON holds it."""
        return {"rows": self.tables, "sizes": self.sizes, "notes": self.notes}
