"""Tables as a :class:`Dataset`: frames in memory, and folders of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsim_envs.data.account import Account
from recsim_envs.data.build import build
from recsim_envs.data.columns import Frame, to_table
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import PLAIN, Reading
from recsim_envs.data.sources.recognise import import_found, recognise
from recsim_envs.data.wording import choose_words


def from_frame(
    name: str,
    interactions: Frame,
    items: Frame,
    users: Frame | None = None,
    *,
    text: str | Sequence[str],
    scenario: str = "products",
    item: str | None = None,
    behavior: str | None = None,
    attributes: str | Sequence[str] = (),
    user_text: str | Sequence[str] = (),
    replica: bool = False,
    split_seed: int = 0,
    reading: Reading = PLAIN,
) -> Dataset:
    """Builds a dataset from tables (pandas, polars, or a dict of columns).

    Ids are texts, see :mod:`recsim_envs.data.columns`. Items and users are numbered in the order of
    their tables, sequences in the order in which they first appear. Interactions are sorted by
    sequence, then by time and ``position`` where there are such; without both, the order of the
    rows is taken as the order of time, with a warning. ``Dataset.account`` says what became of each
    row. docs/own-data.md describes every column.

    Args:
        name: how results call this data.
        interactions: columns ``item_id`` and ``sequence_id`` or ``user_id`` (where one sequence a
            user is meant) or both (then a sequence is a pair of them); optionally a time (a name of
            :data:`recsim_envs.data.times.TIME_COLUMNS`), ``position``, ``rating``, ``split``. With
            ratings only liked items count, unless ``users`` and ``split`` make it data for
            ``recsim/Coat-v0``.
        items: column ``item_id``, and the columns named in ``text``.
        users: column ``user_id``, and the columns named in ``user_text``.
        text: the item columns that a judge reads, joined by ", " (empty ones are left out).
        scenario: what the items are: "music" for ``recsim/LFM-v0``, "products" for
            ``recsim/Industry-v0``, "clothes" for ``recsim/Coat-v0``; decides the words of judges'
            prompts and their calibrations. Or words of your own for where items are chosen,
            "video platform", for ``recsim/Industry-v0``, with ``item`` and ``behavior``.
        item: what is chosen, a noun in the singular: "film". Default: the scenario's.
        behavior: how, with -ing: "watching", "listening to". Default: the scenario's.
        attributes: what the text consists of: ("title", "genre"). Default: the names of the
            columns in ``text``.
        user_text: the user columns that a judge reads.
        replica: whether the tables are synthetic.
        split_seed: of the shuffle that holds sequences out.
        reading: how, where more than one reading makes sense.

    Raises:
        DataError: for a missing column, a duplicate id, an interaction with an unknown id, a value
            that is no time, position or rating, rows in the order of the items, or words that
            cannot stand in a prompt.
    """
    text = (text,) if isinstance(text, str) else tuple(text)
    return build(
        name,
        to_table(interactions, "interactions"),
        to_table(items, "items"),
        None if users is None else to_table(users, "users"),
        reading,
        Account(),
        text=text,
        user_text=(user_text,) if isinstance(user_text, str) else tuple(user_text),
        words=choose_words(scenario, item, behavior, attributes, text),
        replica=replica,
        split_seed=split_seed,
    )


def import_tables(
    folder: Path,
    name: str,
    *,
    text: Sequence[str] = (),
    scenario: str | None = None,
    item: str | None = None,
    behavior: str | None = None,
    attributes: Sequence[str] = (),
    split_seed: int = 0,
    reading: Reading = PLAIN,
) -> Dataset:
    """Reads a folder of files, as ``recsim prepare`` does.

    The columns of own tables are those of :func:`from_frame`.

    Args:
        folder: holds one of the formats of docs/own-data.md.
        name: how results call this data.
        text: the item columns that a judge reads; empty is the format's own.
        scenario: as of :func:`from_frame`; None is the format's own.
        item: the same, as the next two.
        behavior: how an item is chosen.
        attributes: what the text consists of.
        split_seed: of the shuffle that holds sequences out.
        reading: how, where more than one reading makes sense.

    Raises:
        DataError: for a missing file or column, naming it, and as :func:`from_frame`, naming the
            line.
    """
    return import_found(
        recognise(folder),
        name,
        text=text,
        scenario=scenario,
        item=item,
        behavior=behavior,
        attributes=attributes,
        split_seed=split_seed,
        reading=reading,
    )
