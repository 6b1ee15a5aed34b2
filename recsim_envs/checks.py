"""Checks of arguments that all packages share."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsim_envs.arrays import IntArray


def check_choice(argument: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError, naming the argument, if ``value`` is not one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{argument}={value!r} is unknown: use one of {choices}")


ONE_ITEM = (
    "; this looks like a slate, but users are shown one item: ask a policy of single items (for an "
    "agent of slates that is model.recommender), or let a judge choose (LLMOracleVectorEnv)"
)
"""What an environment of users adds where an action has a dimension too many."""


def as_ids(
    argument: str,
    values: Any,
    shape: tuple[int, ...],
    limit: int | IntArray,
    if_several: str = "",
) -> IntArray:
    """Returns ``values`` as integers, having refused all that are not whole numbers in range.

    Args:
        argument: what the values are, for the message.
        values: one number or an array of them.
        shape: the only one that is accepted; () for one number.
        limit: ids are ``0..limit - 1``; or each place's own limit, of that shape.
        if_several: added to the message where each place of ``shape`` holds several ids.

    Raises:
        ValueError: for another shape, a float, a boolean, a string, or an id out of range.
    """
    if shape == () and isinstance(limit, int):
        # A step of one user asks this each time, and NumPy takes longer than the user.
        if (type(values) is int or isinstance(values, np.integer)) and 0 <= values < limit:
            return np.array(values, dtype=np.int64)
    try:
        ids = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{argument}={values!r} is no array: give shape {shape}") from error
    holds_bool = False
    if isinstance(values, list | tuple):  # NumPy reads [3, True] as two integers
        each = np.asarray(values, dtype=object).flat
        holds_bool = any(isinstance(value, bool) for value in each)
    if ids.dtype.kind not in "iu" or holds_bool:
        kind = "bool" if holds_bool else str(ids.dtype)
        raise ValueError(
            f"{argument}={values!r} is no integer ({kind}): give ids 0..{np.max(limit) - 1}"
        )
    if ids.shape != shape:
        wanted = "one number" if shape == () else f"shape {shape}"
        has_several = ids.ndim > 0 and ids.shape[:-1] == shape and ids.shape[-1] > 1
        advice = if_several if has_several else ""
        raise ValueError(f"{argument}={values!r} has shape {ids.shape}: give {wanted}{advice}")
    outside = (ids < 0) | (ids >= limit)
    if np.count_nonzero(outside):  # several times faster than any() where there are few
        bad, most = ids[outside][0], np.broadcast_to(limit, shape)[outside][0] - 1
        raise ValueError(f"{argument}={bad} is out of range: ids are 0..{most}")
    return ids.astype(np.int64)


def check_whole(argument: str, value: Any) -> None:
    """Raises ValueError, naming the argument, unless ``value`` is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{argument}={value!r} must be a whole number of at least 1")
