"""The two action spaces an agent may meet, one item or a slate of k, and how it explores them."""

from __future__ import annotations

from typing import Any, Literal

from gymnasium import spaces

Exploration = Literal["categorical", "epsilon", "greedy"]
"""How an item is chosen while collecting experience (RQ4 of the paper)."""


def item_space(action_space: spaces.Space[Any]) -> spaces.Discrete:
    """Returns the space of one item: of ``Discrete(n)`` itself, of a slate any of its places.

    Raises:
        ValueError: if it is neither ``Discrete(n)`` nor ``MultiDiscrete([n] * k)`` with k <= n.
    """
    if isinstance(action_space, spaces.Discrete) and action_space.start == 0:
        return action_space
    if isinstance(action_space, spaces.MultiDiscrete) and action_space.nvec.ndim == 1:
        n_items, k = int(action_space.nvec[0]), len(action_space.nvec)
        if (action_space.nvec == n_items).all() and k <= n_items:
            return spaces.Discrete(n_items)
    raise ValueError(
        f"action_space={action_space} is not one of items: it must be Discrete(n_items), or "
        "MultiDiscrete([n_items] * k) with k <= n_items for a slate"
    )


def single_item_space(action_space: spaces.Space[Any]) -> spaces.Discrete:
    """The same for an agent of single items.

    Raises:
        ValueError: for a slate too; SB3 would draw each place of one from a head of its own.
    """
    one = item_space(action_space)
    if slate_size(action_space) > 1:
        raise ValueError(f"action_space={action_space} is a slate: use Discrete({one.n})")
    return one


def check_same_items(n_padding: int, n_items: int) -> None:
    """Raises ValueError unless the observations' padding id is the number of actions."""
    if n_padding != n_items:
        raise ValueError(
            f"the observations pad with {n_padding}, but the action space has {n_items} items: "
            "both must be n_items"
        )


def slate_size(action_space: spaces.Space[Any]) -> int:
    """Returns k, the number of items of one action (1 for ``Discrete``)."""
    return len(action_space.nvec) if isinstance(action_space, spaces.MultiDiscrete) else 1
