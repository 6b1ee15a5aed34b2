"""A session in a terminal, and as plain text."""

from __future__ import annotations

import io
import time

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from recsim_envs.render.session import Session
from recsim_envs.users.patience import Patience

WIDTH = 120
"""Characters a line; a narrower terminal has its own."""
ROWS = 12
"""The latest recommendations that are shown, so that a session fits on a screen."""
BAR = 30


def as_text(session: Session) -> str:
    """The session as lines of plain text, without colours."""
    page = io.StringIO()
    Console(file=page, width=WIDTH, color_system=None).print(drawn(session))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def show(session: Session, fps: float) -> None:
    """Prints the session; on a terminal in place of what stood there, and waits 1 / fps s."""
    console = Console()
    if not console.is_terminal:
        print(as_text(session))
        return
    console.clear()
    console.print(drawn(session), width=WIDTH)
    time.sleep(1 / fps)


def drawn(session: Session) -> RenderableType:
    """The session for rich to print. Texts of items never become its markup."""
    lines: list[RenderableType] = [Text(session.data, style="bold")]
    if session.user:
        lines.append(Text(session.user))
    lines.append(_table(session))
    if not session.over:
        lines.append(patience_line(session.patience))
    summary = f"Return {session.earned:.2f}, Length {len(session.steps)} of {session.max_steps}"
    lines.append(Text(summary, style="bold"))
    if session.ending:
        lines.append(Text(session.ending, style="bold red" if session.left else "bold"))
    return Group(*lines)


def patience_line(patience: Patience) -> Text:
    """A bar of what is left, and the numbers."""
    full = round(BAR * patience.share)
    colour = "green" if patience.share > 1 / 3 else "yellow" if patience.share > 0 else "red"
    line = Text(f"{patience.name} ")
    line.append("█" * full, style=colour).append("░" * (BAR - full), style="dim")
    return line.append(f" {patience.number}, leaves below {patience.leaves_below:g}")


def _table(session: Session) -> Table:
    steps = session.steps[-ROWS:]
    first = len(session.steps) - len(steps) + 1
    answers = any(step.accepted is not None for step in steps)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("", justify="right", style="dim")
    table.add_column("recommended", ratio=1, overflow="fold")
    if answers:
        table.add_column("answer")
    table.add_column("reward", justify="right")
    table.add_column(session.patience.name.split()[0], justify="right")
    for text in session.before[-ROWS:]:
        table.add_row("before", Text(text, style="dim"))
    if first > 1:
        table.add_row("", Text(f"… {first - 1} earlier", style="dim"))
    for number, step in enumerate(steps, first):
        is_newest = number == len(session.steps)
        row: list[RenderableType] = [str(number)]
        row.append(Text(step.text, style="bold" if is_newest else ""))
        if answers:
            row.append("accepted" if step.accepted else Text("refused", style="dim"))
        row += [f"{step.reward:.2f}", step.patience.number]
        table.add_row(*row)
    return table
