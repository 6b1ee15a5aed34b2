"""What a policy leaves out: the items that the user has just had or been offered.

A user's answer to a repeat is in the data (``docs/rewards.md``), and it is a refusal nearly always;
the paper says nothing of it. Left out are the items of the *visible* history, and of ``shown``
where the observation has it, which is all that a policy knows of the session.
"""

from __future__ import annotations

import torch
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor


def visible_items(obs: PyTorchObs, n_items: int) -> Tensor:
    """Returns the items to leave out, (B, S), with ``n_items`` in places without one.

    A user who has seen the whole catalogue may be offered all of it again.

    Args:
        obs: B observations as the environment gives them: (B, H), or a dict with ``history`` and
            optionally ``shown``.
        n_items: catalogue size, and the id of padding.
    """
    parts = [obs]
    if isinstance(obs, dict):
        parts = [obs[name] for name in ("history", "shown") if name in obs]
    visible = torch.cat(parts, dim=1).long()  # type: ignore[arg-type]  # (B, S)
    if visible.shape[1] >= n_items:  # shorter ones can't hold them all
        seen = torch.zeros(len(visible), n_items + 1, dtype=torch.bool, device=visible.device)
        seen.scatter_(1, visible, True)
        visible = visible.masked_fill(seen[:, :n_items].all(dim=1, keepdim=True), n_items)
    return visible


def left_out_items(obs: PyTorchObs, n_items: int, mask_history: bool) -> Tensor:
    """Returns :func:`visible_items`; of a policy that leaves nothing out none of them, (B, 0)."""
    if mask_history:
        return visible_items(obs, n_items)
    history = obs["history"] if isinstance(obs, dict) else obs
    return history[:, :0].long()


def places(visible: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Returns the rows and the items that are left out, as a (B, n_items) tensor's two indices."""
    rows, columns = (visible != n_items).nonzero(as_tuple=True)
    return rows, visible[rows, columns]


def is_visible(items: Tensor, visible: Tensor) -> Tensor:
    """Whether each of some items, (B, m), is among those left out, (B, m)."""
    return (items[:, :, None] == visible[:, None, :]).any(dim=2)
