"""A session as a picture, for videos and notebooks."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from recsim_envs.render.session import Session, Step

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

# Pixels. Videos want even sizes, and frames of one size.
WIDTH, HEIGHT = 960, 640
MARGIN, ROW, TOP = 32, 30, 122
ROWS = 13
"""Items that are shown, the latest ones: a start and twelve steps, LFM's and Industry's cap."""
REWARD_AT, ANSWER_AT = WIDTH - MARGIN, WIDTH - 210
# The colours of the benchmarks' report.
PAGE, BOX, TEXT, QUIET, RULE = "#ffffff", "#f0f2f5", "#1d2330", "#5a6372", "#d8dce3"
ACCENT, LEFT = "#1f6fb2", "#b3261e"


def picture(session: Session) -> NDArray[np.uint8]:
    """Draws the session.

    Characters that DejaVu Sans lacks (Chinese, Japanese, Thai, ...) become boxes.

    Returns:
        (640, 960, 3) RGB.

    Raises:
        DependencyNotInstalled: without Pillow, or without matplotlib, which brings the font.
    """
    try:
        from PIL import Image, ImageDraw
    except ModuleNotFoundError as error:
        raise DependencyNotInstalled(_missing(error)) from error
    image = Image.new("RGB", (WIDTH, HEIGHT), PAGE)
    draw = ImageDraw.Draw(image)
    _write(draw, (MARGIN, 24), session.data, 20, bold=True)
    _write(draw, (MARGIN, 54), session.user, 15, QUIET)
    _items(draw, session)
    _foot(draw, session)
    return np.asarray(image)


def _items(draw: ImageDraw, session: Session) -> None:
    """The history and the recommendations, newest last, and what each earned."""
    rows: list[tuple[str, str, Step | None]] = [("before", text, None) for text in session.before]
    rows += [(str(n), step.text, step) for n, step in enumerate(session.steps, 1)]
    hidden = max(0, len(rows) - ROWS)
    heading = f"recommended ({hidden} earlier not shown)" if hidden else "recommended"
    _write(draw, (MARGIN + 72, TOP - 30), heading, 14, QUIET)
    _write(draw, (REWARD_AT, TOP - 30), "reward", 14, QUIET, anchor="ra")
    draw.line([(MARGIN, TOP - 6), (WIDTH - MARGIN, TOP - 6)], RULE)
    for place, (label, text, step) in enumerate(rows[hidden:]):
        y = TOP + ROW * place
        is_newest = step is not None and place == len(rows) - hidden - 1
        if is_newest:
            draw.rounded_rectangle((MARGIN - 12, y, WIDTH - MARGIN + 12, y + ROW - 1), 6, BOX)
        colour = QUIET if step is None else TEXT
        _write(draw, (MARGIN + 56, y + 5), label, 15, QUIET, anchor="ra")
        room = ANSWER_AT - MARGIN - 84
        _write(draw, (MARGIN + 72, y + 4), text, 17, colour, bold=is_newest, room=room)
        if step is None:
            continue
        if step.accepted is not None:
            answer = "accepted" if step.accepted else "refused"
            _write(draw, (ANSWER_AT, y + 5), answer, 15, ACCENT if step.accepted else QUIET)
        _write(draw, (REWARD_AT, y + 4), f"{step.reward:.2f}", 17, bold=is_newest, anchor="ra")


def _foot(draw: ImageDraw, session: Session) -> None:
    """The patience as a bar, Return, and how it ended."""
    y, patience = HEIGHT - 106, session.patience
    draw.line([(MARGIN, y - 14), (WIDTH - MARGIN, y - 14)], RULE)
    _write(draw, (MARGIN, y), str(patience), 15, QUIET)
    summary = f"Return {session.earned:.2f}, Length {len(session.steps)} of {session.max_steps}"
    _write(draw, (WIDTH - MARGIN, y), summary, 15, bold=True, anchor="ra")
    bar = (MARGIN, y + 26, WIDTH - MARGIN, y + 42)
    draw.rounded_rectangle(bar, 8, RULE)
    # A rounded box narrower than its corners would be drawn inside out.
    if patience.share > 0:
        end = MARGIN + max(16, round((WIDTH - 2 * MARGIN) * patience.share))
        draw.rounded_rectangle((MARGIN, y + 26, end, y + 42), 8, ACCENT)
    _write(draw, (MARGIN, y + 58), session.ending, 17, LEFT if session.left else TEXT, bold=True)


def _write(
    draw: ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: str = TEXT,
    *,
    bold: bool = False,
    anchor: str = "la",
    room: int = WIDTH - 2 * MARGIN,
) -> None:
    """Writes one line, cut with an ellipsis where it would be wider than ``room`` pixels."""
    font = _font(size, bold)
    if draw.textlength(text, font) > room:
        lengths = range(1, len(text))
        fits = bisect_right(
            lengths, room, key=lambda n: ceil(draw.textlength(f"{text[:n]}…", font))
        )
        text = f"{text[:fits].rstrip()}…"
    draw.text(place, text, colour, font, anchor)


@cache
def _font(size: int, bold: bool) -> FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: Pillow's own font has ASCII alone."""
    from PIL import ImageFont

    try:
        from matplotlib import get_data_path
    except ModuleNotFoundError as error:
        raise DependencyNotInstalled(_missing(error)) from error
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = Path(get_data_path()) / "fonts" / "ttf" / name
    # Basic: the same picture with and without Pillow's optional shaping library.
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def _missing(error: ModuleNotFoundError) -> str:
    return (
        f"render_mode='rgb_array' needs {error.name}: pip install 'recsim-ialp[render]', or use "
        "render_mode='ansi'"
    )
