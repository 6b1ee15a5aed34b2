"""README's table of results is what the committed sweep measured."""

from itertools import takewhile
from pathlib import Path

import pandas as pd

TOP = Path(__file__).parents[1]
RESULTS = TOP / "benchmarks" / "results"
VARIANTS = {
    "random": "random",
    "nearest text": "nearest text, whole history",
    "best fixed list": "best fixed list",
    "DQN": "dqn",
    "PG": "pg",
    "A2C": "a2c",
    "A2C, text start": "a2c.text",
    "iALP, before any user": "ialp",
    "A-iALP_ft": "a-ialp_ft",
    "A-iALP_ap": "a-ialp_ap",
    "oracle": "myopic oracle",
}
"""Ids by README's words."""


def readme_rows() -> list[list[str]]:
    """The cells of the table that begins with "| Return"."""
    lines = (TOP / "README.md").read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("| Return"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip(" *") for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def test_readme_prints_the_committed_numbers() -> None:
    (_, *envs), *rows = readme_rows()
    assert [row[0] for row in rows] == list(VARIANTS)
    for column, env in enumerate(envs, start=1):
        tables = [pd.read_csv(RESULTS / env / f"table{number}_{env}.csv") for number in (3, 5)]
        numbers = pd.concat(tables).query("measure == 'R'")
        assert set(numbers.env) == {f"recsim/{env}-v0"} and not numbers.old.any()
        for row in rows:
            variant = VARIANTS[row[0]]
            when = "e=0" if variant == "ialp" else "end"
            found = numbers[(numbers.variant == variant) & (numbers.when == when)]
            shown = [
                f"{mean:.1f} [{low:.1f}, {high:.1f}]"
                for mean, low, high in found[["mean", "low", "high"]].itertuples(index=False)
            ]
            assert [row[column]] == (shown or ["-"]), (env, row[0])


def test_the_pretraining_study_prints_the_committed_numbers() -> None:
    lines = (TOP / "docs" / "agents.md").read_text().partition("### Pre-training")[2].splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("| |"))
    table = takewhile(lambda line: line.startswith("|"), lines[first:])
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    for column, env in enumerate(head[1:], start=1):
        shown = [row[column].partition("→ ")[2] for row in rows if row[column] != "-"]
        numbers = pd.read_csv(RESULTS / "studies" / f"pretraining_{env}-v0.csv")
        wanted = [
            f"{row.reward:.1f} ({row.difference:+.1f} "
            f"[{row.difference_low:+.1f}, {row.difference_high:+.1f}])"
            for row in numbers.itertuples()
        ]
        wanted[0] = wanted[0].partition(" ")[0]
        assert shown[: len(wanted)] == wanted, env


def test_no_text_of_a_real_data_set_is_committed() -> None:
    kinds = {file.suffix for file in RESULTS.rglob("*.*")}
    assert kinds <= {".md", ".csv", ".png"}, "reports hold item texts, which may not be passed on"
