"""What happened between an agent and a judge, step by step: kept in a file, split into sessions.

A verdict cache cannot tell it: it holds what was asked, not which slates of which sessions, nor
what was shown. The file holds ids alone, no item text, and the name and the hash of their data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_oracle.judge import NONE
from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.errors import DamagedFileError
from recsim_envs.files import read_whole, require_fields, write_whole
from recsim_envs.trees import Tree, from_bytes, to_bytes

FORMAT = 1
KINDS = {"about": dict, "observations": dict, "next_observations": dict, "steps": dict}
ABOUT = {"env": str, "kwargs": dict, "data": dict, "n_items": int, "judge": dict, "seeds": list}
DTYPES = {"slates": "i", "picks": "i", "items": "i", "rewards": "f"} | dict.fromkeys(
    ("terminations", "truncations", "begins"), "b"
)
HISTORY = "history"
"""The name of the observation where it is an array and no dict."""


@dataclass(frozen=True)
class Session:
    """One session of L steps.

    Attributes:
        observations: (L + 1, ...) an entry; the last ones are those that the session ended with.
        slates: (L, k) the candidates' ids.
        picks: (L,) the judge's choice, an index in the slate, or -1 for none of them.
        items: (L,) what was shown: the pick, or a random candidate.
        rewards: (L,).
        terminations: (L,) whether the user left.
        truncations: (L,) whether the session was cut: by its length cap, a reset, or the
            recording's end.
    """

    observations: dict[str, NDArray[Any]]
    slates: IntArray
    picks: IntArray
    items: IntArray
    rewards: FloatArray
    terminations: BoolArray
    truncations: BoolArray


@dataclass(frozen=True)
class Interactions:
    """T steps of N users.

    Attributes:
        about: what they were made with: environment, data, judge, seeds, versions.
        observations: by name, (T, N, ...), what was seen before each step.
        next_observations: the same after it, of the same session.
        steps: ``slates`` (T, N, k), ``picks``, ``items``, ``rewards``, ``terminations``,
            ``truncations`` and ``begins`` (whether it is its session's first step), each (T, N).
    """

    about: Tree
    observations: dict[str, NDArray[Any]]
    next_observations: dict[str, NDArray[Any]]
    steps: dict[str, NDArray[Any]]

    def save(self, file: str | Path) -> None:
        """Writes a whole file or none, in place of an old one."""
        file = Path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        tree = {
            "format": FORMAT,
            "about": self.about,
            "observations": self.observations,
            "next_observations": self.next_observations,
            "steps": self.steps,
        }
        write_whole(file, to_bytes(tree))

    @classmethod
    def load(cls, file: str | Path) -> Interactions:
        """Reads what :meth:`save` wrote; runs no code in it.

        Raises:
            DataError: naming the file, if it is missing, damaged, or something else.
        """
        file = Path(file)
        tree = from_bytes(read_whole(file), file, FORMAT, KINDS)
        found = cls(**{name: tree[name] for name in KINDS})
        _check(found, file)
        return found

    def sessions(self) -> Iterator[Session]:
        """Yields the sessions, those that began first at first."""
        begins = self.steps["begins"]
        length, n = begins.shape
        for first, user in np.argwhere(begins).tolist():
            later = np.flatnonzero(begins[first + 1 :, user])
            last = first + int(later[0]) if len(later) else length - 1
            rows = (slice(first, last + 1), user)
            observations = {
                name: np.concatenate(
                    [seen[rows], self.next_observations[name][last : last + 1, user]]
                )
                for name, seen in self.observations.items()
            }
            of_steps = {name: values[rows] for name, values in self.steps.items()}
            del of_steps["begins"]
            truncations = of_steps["truncations"].copy()
            truncations[-1] |= not of_steps["terminations"][-1]
            yield Session(observations, **(of_steps | {"truncations": truncations}))


def _check(found: Interactions, file: Path) -> None:
    """Refuses arrays that do not fit together, from whoever signed them."""
    where = f"{file} is no recording of recsim, or damaged"
    require_fields(found.about, ABOUT, file)
    arrays = {**found.observations, **found.next_observations, **found.steps}
    if found.steps.keys() != DTYPES.keys() or not all(
        isinstance(array, np.ndarray) and array.ndim >= 2 for array in arrays.values()
    ):
        raise DamagedFileError(f"{where}: it holds {sorted(arrays)}")
    shape = found.steps["items"].shape
    for name, kind in DTYPES.items():
        array = found.steps[name]
        if array.dtype.kind != kind or array.shape[:2] != shape:
            raise DamagedFileError(f"{where}: {name} is {array.dtype} of shape {array.shape}")
    seen, seen_after = (
        {name: values.shape for name, values in each.items()}
        for each in (found.observations, found.next_observations)
    )
    if seen != seen_after or any(each[:2] != shape for each in seen.values()):
        raise DamagedFileError(f"{where}: its observations do not fit its {shape} steps")
    slates, picks = found.steps["slates"], found.steps["picks"]
    if slates.ndim != 3 or not slates.size or not found.steps["begins"][0].all():
        raise DamagedFileError(f"{where}: its slates have shape {slates.shape}")
    k = slates.shape[2]
    taken = np.take_along_axis(slates, picks[..., None].clip(0, k - 1), axis=2)[..., 0]
    among = (slates == found.steps["items"][..., None]).any(axis=2)
    if (
        not 0 <= slates.min() <= slates.max() < found.about["n_items"]
        or not NONE <= picks.min() <= picks.max() < k
        or not np.where(picks >= 0, taken == found.steps["items"], among).all()
    ):
        raise DamagedFileError(f"{where}: an item shown is none of its slate, or no item at all")
