"""What ``render()`` gives for each mode."""

from __future__ import annotations

from typing import Any

from recsim_envs.render.session import Session

RENDER_FPS = 1
"""Frames a second: a recommendation has to be read."""


def drawn(session: Session, mode: str) -> Any:
    """Draws a session.

    Args:
        session: what is seen.
        mode: "ansi", "rgb_array" or "human".

    Returns:
        A str; (H, W, 3) uint8; or None, when it is printed.
    """
    # Imported where it is drawn: environments that draw nothing load neither rich nor Pillow.
    if mode == "rgb_array":
        from recsim_envs.render.picture import picture

        return picture(session)
    from recsim_envs.render.terminal import as_text, show

    return as_text(session) if mode == "ansi" else show(session, RENDER_FPS)
