"""The words in which a judge is asked about a data set: the slots of the paper's Table 1.

Three scenarios have words of their own; a user's data may bring others. They stand in every prompt,
and a file of a stranger may hold them: so they are short names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from recsim_envs.errors import DataError
from recsim_envs.files import require_fields

Scenario = Literal["music", "products", "clothes"]
SLOTS = ("scenario", "item", "behavior")
MAX_CHARS = 40
MOST_ATTRIBUTES = 12
MARKS = " &'’/-"
"""What a name may hold beside letters, accents and digits: nothing that ends a sentence."""


@dataclass(frozen=True)
class Wording:
    """Table 1's slots.

    Attributes:
        scenario: where items are chosen, a noun without an article: "video platform".
        item: what is chosen, a noun in the singular: "film".
        behavior: how, with -ing and what belongs to it: "watching", "listening to".
        attributes: what an item's text consists of: ("title", "genre").

    Raises:
        DataError: naming the slot, unless each is a name of at most :data:`MAX_CHARS` letters,
            digits and :data:`MARKS`, and there are 1 to :data:`MOST_ATTRIBUTES` attributes.
    """

    scenario: str
    item: str
    behavior: str
    attributes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Checks what will stand in prompts."""
        for slot, name in zip(SLOTS, (self.scenario, self.item, self.behavior), strict=True):
            _check_name(slot, name)
        check_attributes(self.attributes)
        if not self.attributes:
            raise DataError(
                "attributes is empty: name what an item's text consists of, for example "
                "attributes=('title', 'genre') or --attributes title genre"
            )


def check_attributes(names: object) -> None:
    """Raises DataError unless ``names`` is a tuple of at most :data:`MOST_ATTRIBUTES` names."""
    if not isinstance(names, tuple) or len(names) > MOST_ATTRIBUTES:
        raise DataError(
            f"attributes={str(names)[:80]} is no tuple of at most {MOST_ATTRIBUTES} names: give "
            "those that an item's text consists of"
        )
    for name in names:
        _check_name("attributes", name)


def _check_name(slot: str, name: object) -> None:
    if not isinstance(name, str) or not name or name != _as_name(name):
        raise DataError(
            f"{slot}={str(name)[:80]!r} cannot stand in a judge's prompt: give a name of 1 to "
            f"{MAX_CHARS} letters, digits, single spaces and any of {MARKS.strip()}"
        )


def _as_name(text: str) -> str:
    """A text without what a name may not hold, "" if no letter or digit is left."""
    kept = "".join(c if c in MARKS or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    name = " ".join(kept.split())[:MAX_CHARS].strip()
    return name if any(c.isalnum() for c in name) else ""


WORDINGS: dict[Scenario, Wording] = {
    "music": Wording("music service", "song", "listening to", ("title", "artist")),
    "products": Wording("online shop", "product", "buying", ("title", "brand")),
    "clothes": Wording("clothing shop", "garment", "choosing", ("gender", "colour", "type")),
}


class ChosenWords(NamedTuple):
    """What a data set is worded by.

    Attributes:
        scenario: the one of the three whose environment and calibrations serve the data.
        own: the user's words, or None for the scenario's.
        attributes: names of the columns that the items' text was joined from, as words.
    """

    scenario: Scenario
    own: Wording | None
    attributes: tuple[str, ...]


def choose_words(
    scenario: str,
    item: str | None,
    behavior: str | None,
    attributes: Sequence[str],
    columns: Sequence[str],
) -> ChosenWords:
    """Completes what a user says of the words by the scenario's and by the columns of the text.

    Args:
        scenario: "music", "products", "clothes", or the user's own, which counts as "products".
        item: see :class:`Wording`; None is the scenario's.
        behavior: the same.
        attributes: the same; empty is the names of the columns.
        columns: the item columns that the text is joined from. One that is called "text" has no
            name for what it holds.

    Raises:
        DataError: for a bad word, naming its argument, and for an own scenario without item or
            behavior.
    """
    named = tuple(filter(None, (_as_name(column) for column in columns if column != "text")))
    named = named[:MOST_ATTRIBUTES]
    is_known = scenario in get_args(Scenario)
    if not is_known and (item is None or behavior is None):
        raise DataError(
            f"scenario={str(scenario)[:80]!r} is none of {get_args(Scenario)}: use one of them, or "
            "give own words for item and behavior too, for example item='film', "
            "behavior='watching' (--item film --behavior watching)"
        )
    kind: Scenario = next((known for known in get_args(Scenario) if known == scenario), "products")
    if is_known and item is None and behavior is None and not attributes:
        return ChosenWords(kind, None, named)
    usual = WORDINGS[kind]
    own = Wording(
        usual.scenario if is_known else scenario,
        usual.item if item is None else item,
        usual.behavior if behavior is None else behavior,
        (attributes,) if isinstance(attributes, str) else tuple(attributes) or named,
    )
    return ChosenWords(kind, own, named)


def read_wording(found: dict[str, Any] | None, file: Path) -> Wording | None:
    """The own words of ``dataset.json``, which few data sets have.

    Raises:
        DataError: for what :func:`dataclasses.asdict` does not make of a :class:`Wording`.
    """
    if found is None:
        return None
    require_fields(found, dict.fromkeys(SLOTS, str) | {"attributes": list}, f"{file}, wording")
    scenario, item, behavior = (found[slot] for slot in SLOTS)
    return Wording(scenario, item, behavior, tuple(found["attributes"]))


def scenario_wording(scenario: Scenario, attributes: tuple[str, ...]) -> Wording:
    """A scenario's own words; empty ``attributes`` are the scenario's."""
    usual = WORDINGS[scenario]
    return replace(usual, attributes=attributes or usual.attributes)
