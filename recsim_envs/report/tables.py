"""Prints a report on a simulator."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsim_envs.report.figures import Cell, Figure, Section
from recsim_envs.report.report import EnvReport

LOG_WIDTH = 150
LARGE, MIDDLE, SMALL = 10.0, 1.5, 0.005
"""Columns that hold a number of this size are printed with 1, 2 and 3 decimals, others with 5."""


def print_report(report: EnvReport, console: Console | None = None) -> None:
    """Prints what the report was made with, and each section as a table."""
    # A pipe or a log file has no width; rich would fold every cell to fit 80 columns.
    console = console or Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    about = report.provenance
    console.print(f"[bold]{escape(report.title)}[/]", highlight=False)
    console.print(
        f"{about['environment']}, {about['sessions']} sessions a policy, seed {about['seed']}, "
        f"revision {about['revision']}, rewards {about['reward_hashes']}, {about['wall_s']} s",
        highlight=False,
    )
    console.print("\\[..] 95% interval, see docs/env-report.md", highlight=False)
    for section in report.sections:
        _print_section(section, console)


def _print_section(section: Section, console: Console) -> None:
    if section.not_applicable:
        console.print(f"\n{section.name}: not applicable, {section.not_applicable}")
        return
    console.print(f"\n[bold]{escape(section.name)}[/]: {escape(section.question)}", highlight=False)
    table = Table()
    columns = list(dict.fromkeys(column for row in section.rows for column in row))
    cells = []
    for column in columns:
        of_column = [row.get(column) for row in section.rows]
        named = all(isinstance(cell, str | None) for cell in of_column)
        table.add_column(column, justify="left" if named else "right")
        digits = _digits(of_column)
        cells.append([escape(printed(cell, digits)) for cell in of_column])
    for row_of_cells in zip(*cells, strict=True):
        table.add_row(*row_of_cells)
    console.print(table)
    for warning in section.warnings:
        console.print(f"[bold]WARNING[/]: {escape(warning)}", highlight=False)


def printed(cell: Cell, digits: int) -> str:
    """A cell as text, with so many decimals."""
    if isinstance(cell, str) or cell is None:
        return cell or ""
    figure = cell if isinstance(cell, Figure) else Figure(cell)
    text = "-" if math.isnan(figure.value) else f"{figure.value:.{digits}f}"
    if math.isnan(figure.low):
        return text
    return f"{text} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def _digits(cells: Sequence[Cell]) -> int:
    """Decimals for a column: fewer for larger numbers, none for whole ones; shares have three."""
    numbers = [cell[0] if isinstance(cell, tuple) else cell for cell in cells]
    found = [number for number in numbers if isinstance(number, float) and not math.isnan(number)]
    largest = max(map(abs, found), default=0.0)
    if largest > 1 and not any(isinstance(cell, tuple) for cell in cells):
        whole = all(number.is_integer() for number in found)
        return 0 if whole else 1 if largest >= LARGE else 2
    return 1 if largest >= LARGE else 2 if largest >= MIDDLE else 3 if largest >= SMALL else 5
