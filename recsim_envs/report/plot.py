"""Draws a report on a simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsim_envs.report.figures import Figure, Section
from recsim_envs.report.report import EnvReport


def plot_report(report: EnvReport, file: Path) -> None:
    """Draws who wins; and beside it whether held-out choices and a second simulator agree.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra ``benchmarks`` installs.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    agreement, second = report.section("ranking agreement"), report.section("second simulator")
    n_panels = 1 if agreement.not_applicable else 3
    figure, panels = plt.subplots(
        1, n_panels, figsize=(4 + 3.5 * n_panels, 4.5), layout="constrained", squeeze=False
    )
    _draw_wins(panels[0, 0], report.section("what wins it"))
    if n_panels > 1:
        _scatter(panels[0, 1], agreement, "recommender", "HR@10", "Return, test model")
        _scatter(panels[0, 2], second, "policy", "test model", "disjoint users' model")
    figure.suptitle(report.title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _draw_wins(axes: Any, section: Section) -> None:
    policies = list(dict.fromkeys(row["policy"] for row in section.rows))
    histories = list(dict.fromkeys(row["history"] for row in section.rows))
    height = 0.8 / len(histories)
    for number, history in enumerate(histories):
        rows = {row["policy"]: row["Return"] for row in section.rows if row["history"] == history}
        found = np.array([rows[policy] for policy in policies], dtype=np.float64)  # (P, 3)
        axes.barh(
            np.arange(len(policies)) + (number - (len(histories) - 1) / 2) * height,
            found[:, 0],
            height,
            xerr=np.abs(found[:, 1:].T - found[:, 0]),
            label=f"history {history}",
            alpha=0.8,
        )
    axes.set_yticks(range(len(policies)), policies)
    axes.invert_yaxis()
    axes.set(xlabel="Return (95% interval)", title="what wins it")
    axes.legend(fontsize="small")


def _scatter(axes: Any, section: Section, name: str, across: str, up: str) -> None:
    for row in section.rows:
        x, y = row.get(across), row.get(up)
        if isinstance(x, Figure) and isinstance(y, Figure):
            low, high = ([[f.value - f.low] for f in (x, y)], [[f.high - f.value] for f in (x, y)])
            axes.errorbar(
                x.value,
                y.value,
                xerr=[low[0], high[0]],
                yerr=[low[1], high[1]],
                marker="o",
                capsize=2,
                label=row[name],
            )
    axes.set(xlabel=across, ylabel=up, title=section.name)
    axes.legend(fontsize="x-small")
