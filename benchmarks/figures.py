"""Draws the paper's Figures 6 to 11 from records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.records import Record
from benchmarks.series import DRAWN, MEASURES, RECENT, Series, test_curve, training_curve
from benchmarks.tables import by_variant

STYLES = ("--", ":", "-.", (0, (1, 3)))


def draw(records: Sequence[Record], title: str, folder: Path, name: str) -> list[Path]:
    """Draws Return and Length, of the sessions learned from and of the test split.

    Args:
        records: of one environment.
        title: above the figures.
        folder: of the files ``name.png`` and ``name_test.png``.
        name: see there.

    Returns:
        The files.
    """
    variants = by_variant(records)
    online = {n: mine for n, mine in variants.items() if mine[0]["cell"]["online"] is not None}
    flat = {n: variants[n] for n in DRAWN if n in variants}
    files = []
    for kind in ("training", "test"):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        for panel, (measure, (learned, tested)) in zip(axes, MEASURES.items(), strict=True):
            for color, mine in enumerate(online.values()):
                is_training = kind == "training"
                curve = training_curve(mine, learned) if is_training else test_curve(mine, tested)
                if curve is not None:
                    _draw_curve(panel, curve, mine[0]["label"], color)
            _draw_lines(panel, flat, tested)
            panel.set(xlabel="recommendations to users", ylabel=measure)
        what = f"the {RECENT} latest sessions learned from" if kind == "training" else "test split"
        figure.suptitle(f"{title}: {what}", fontsize="medium")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / (f"{name}.png" if kind == "training" else f"{name}_test.png"))
        figure.savefig(files[-1], dpi=130)
        plt.close(figure)
    return files


def _draw_curve(panel: Axes, curve: Series, label: str, color: int) -> None:
    style = "-" if color < 10 else "--"
    panel.plot(curve.steps, curve.mean, color=f"C{color % 10}", linestyle=style, label=label)
    if np.isfinite(curve.low).any():
        shade = f"C{color % 10}"
        panel.fill_between(curve.steps, curve.low, curve.high, color=shade, alpha=0.15, linewidth=0)


def _draw_lines(panel: Axes, flat: Mapping[str, list[Record]], measure: str) -> None:
    for style, mine in zip(STYLES, flat.values(), strict=False):
        level = float(np.mean([record["points"][-1][measure] for record in mine]))
        panel.axhline(level, color="gray", linestyle=style, linewidth=1, label=mine[0]["label"])
