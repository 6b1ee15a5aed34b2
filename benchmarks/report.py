"""Turns the records of a comparison into the paper's table and learning curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.records import Record
from recsim_envs.report.figures import interval

DRAWN = ("popularity", "best fixed list", "nearest text, whole history", "iALP")
"""Rows without a curve that are drawn as lines; the oracle's would flatten the curves."""
MEASURES = ("reward", "length", "average_reward", "distinct")


def print_table(
    records: list[Record], title: str, made_by: str, console: Console | None = None
) -> None:
    """Prints Return, Length and R_avg of every agent, before and after learning online.

    With several seeds the interval is a 95% bootstrap over the seeds' means; with one seed it is
    over that seed's sessions, and says nothing about other seeds.

    Args:
        records: of all cells.
        title: above the table.
        made_by: below it, the revision.
        console: where to; default standard output.
    """
    n_seeds = len({record["seed"] for record in records})
    over = f"{n_seeds} seeds" if n_seeds > 1 else "the sessions of 1 seed"
    table = Table(
        title=title,
        caption=f"[..] 95% bootstrap interval over {over}; R_avg = Return / Length; {made_by}",
    )
    for column in ("agent", "when", "Return", "Length", "R_avg", "distinct"):
        is_name = column in ("agent", "when")
        table.add_column(column, justify="left" if is_name else "right", no_wrap=is_name)
    section = ""
    for agent in dict.fromkeys(record["agent"] for record in records):
        for when in ("e = 0", "online", "reference"):
            cells = [r["results"][when] for r in records if r["agent"] == agent]
            cells = [cell for cell in cells if cell is not None]
            if not cells:
                continue
            if section and (when == "reference") != (section == "reference"):
                table.add_section()
            section = when
            table.add_row(agent, when, *(_cell(cells, measure) for measure in MEASURES))
    (console or Console(width=125)).print(table)


def _cell(cells: list[Record], measure: str) -> str:
    mean = float(np.mean([cell[measure]["mean"] for cell in cells]))
    if len(cells) > 1:
        low, high = interval([cell[measure]["mean"] for cell in cells])
    else:
        low, high = cells[0][measure]["interval"]
    digits = 2 if measure in ("average_reward", "distinct") else 1
    if measure == "distinct" or not np.isfinite(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def plot_curves(records: list[Record], title: str, file: Path) -> None:
    """Draws each agent's mean test Return against its online steps, one thin line a seed."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    agents = [r["agent"] for r in records if r["curve"]]
    for color, agent in enumerate(dict.fromkeys(agents)):
        runs = [r["curve"] for r in records if r["agent"] == agent]
        steps = [point["steps"] for point in runs[0]]
        values = np.array([[point["reward"] for point in run] for run in runs])  # (seeds, points)
        if len(runs) > 1:
            axes.plot(steps, values.T, color=f"C{color}", alpha=0.25, linewidth=0.8)
        axes.plot(steps, values.mean(axis=0), color=f"C{color}", label=agent, marker=".")
    styles = ("--", ":", "-.", (0, (1, 3)))
    references = [r for r in records if r["agent"] in DRAWN]
    for style, agent in zip(styles, dict.fromkeys(r["agent"] for r in references), strict=False):
        shown = [r["results"] for r in references if r["agent"] == agent]
        means = [(x["reference"] or x["e = 0"])["reward"]["mean"] for x in shown]
        axes.axhline(float(np.mean(means)), color="gray", linestyle=style, linewidth=1, label=agent)
    axes.set_title(title.replace(", judge", "\njudge"), fontsize="medium")
    axes.set(xlabel="online steps", ylabel="Return on the test split")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def print_variants(
    rows: list[Record], title: str, made_by: str, console: Console | None = None
) -> None:
    """Prints a study: each variant's test Return along its curve, and its distance to the first.

    Args:
        rows: dicts of ``variant``, ``seed``, ``curve``; the others are compared to the first.
            Where they are there: ``picked``, the share of verdicts that named an item;
            ``while_learning``, the Return of the sessions learned from; ``learning_s``, seconds.
        title: above the table.
        made_by: below it, the revision.
        console: where to; default standard output.
    """
    steps = [int(point["steps"]) for point in rows[0]["curve"]]
    n_seeds = len({row["seed"] for row in rows})
    table = Table(
        title=title,
        caption=f"test Return, mean of {n_seeds} seeds; [..] 95% bootstrap interval over seeds; "
        f"difference to the first row: paired by seed; {made_by}",
    )
    table.add_column("variant")
    more = {"picked": 2, "while_learning": 1, "learning_s": 0}  # and how many digits
    more = {name: digits for name, digits in more.items() if name in rows[0]}
    for column in (*(f"after {n}" for n in steps), "difference", "distinct", *more):
        table.add_column(column.replace("_", " "), justify="right")
    first = rows[0]["variant"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        runs = {row["seed"]: row for row in rows if row["variant"] == variant}
        base = {row["seed"]: row for row in rows if row["variant"] == first}
        returns = np.array([[p["reward"] for p in run["curve"]] for run in runs.values()])
        last = {seed: run["curve"][-1]["reward"] for seed, run in runs.items()}
        gaps = [value - base[seed]["curve"][-1]["reward"] for seed, value in last.items()]
        cells = [f"{value:.1f}" for value in returns.mean(axis=0)]
        gap = f"{np.mean(gaps):+.1f}" if variant != first else ""
        if len(runs) > 1:  # one seed says nothing of others
            low, high = interval(list(last.values()))
            cells[-1] += f" [{low:.1f}, {high:.1f}]"
        if len(runs) > 1 and gap:
            low, high = interval(gaps)
            gap += f" [{low:+.1f}, {high:+.1f}]"
        distinct = np.mean([run["curve"][-1]["distinct"] for run in runs.values()])
        cells += [gap, f"{distinct:.2f}"]
        for name, digits in more.items():
            cells.append(f"{np.mean([run[name] for run in runs.values()]):.{digits}f}")
        table.add_row(escape(variant), *(escape(cell) for cell in cells))
    (console or Console(width=150)).print(table)


def plot_variants(rows: list[Record], title: str, file: Path) -> None:
    """Draws each variant's mean test Return along its curve."""
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    styles = ("-", "--", ":")
    for number, variant in enumerate(dict.fromkeys(row["variant"] for row in rows)):
        runs = [row["curve"] for row in rows if row["variant"] == variant]
        values = np.array([[point["reward"] for point in run] for run in runs])  # (seeds, points)
        axes.plot(
            [point["steps"] for point in runs[0]],
            values.mean(axis=0),
            color=f"C{number % 10}",
            linestyle=styles[number // 10],
            label=variant,
            marker=".",
        )
    axes.set_title(title.replace(", judge", "\njudge"), fontsize="medium")
    axes.set(xlabel="verdicts or online steps", ylabel="Return on the test split")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=150)
    plt.close(figure)
