"""Section "random policy": are users as hard to please as those of the paper's untrained agents?"""

from __future__ import annotations

from recsim_envs.report.figures import Cell, Figure, Section, mean_of, r_avg
from recsim_envs.report.play import Sessions

PAPER_R_AVG = (0.21, 0.41)
PAPER_LENGTH = (4.5, 5.9)
"""Of the untrained agents in the paper's Table 3, DQN, PG and A2C on LFM and Industry, rounded."""


def random_section(sessions: Sessions, in_paper: bool) -> Section:
    """Compares a uniformly random policy with the paper's untrained agents.

    Args:
        sessions: of the random policy.
        in_paper: whether the paper prints untrained rows for this kind of environment.
    """
    figures = {"R_avg": r_avg(sessions), "Length": mean_of(sessions.length)}
    ranges = {"R_avg": PAPER_R_AVG, "Length": PAPER_LENGTH}
    rows: list[dict[str, Cell]] = [{"measure": "Return", "random": mean_of(sessions.reward)}]
    warnings = []
    for name, figure in figures.items():
        low, high = ranges[name]
        row: dict[str, Cell] = {"measure": name, "random": figure}
        if in_paper:
            row["paper, untrained"] = f"{low} to {high}"
            if not _meets(figure, low, high):
                warnings.append(f"{name} of a random policy lies outside of {low} to {high}")
        rows.append(row)
    question = "Are users as hard to please as the paper's, before anything is learned?"
    return Section("random policy", question, rows, warnings)


def _meets(figure: Figure, low: float, high: float) -> bool:
    """Whether the figure's interval reaches into the range."""
    return figure.high >= low and figure.low <= high
