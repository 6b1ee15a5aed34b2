"""README's table of results is what the committed sweep measured."""

from pathlib import Path

import pandas as pd
import pytest

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


@pytest.mark.parametrize("column", [1, 2, 3])
def test_readme_prints_the_committed_numbers(column: int) -> None:
    head, *rows = readme_rows()
    env = head[column]
    numbers = pd.concat(pd.read_csv(RESULTS / f"table{table}_{env}.csv") for table in (3, 5)).query(
        "measure == 'R'"
    )
    assert set(numbers.env) == {f"recsim/{env}-v0"} and not numbers.old.any()
    assert [row[0] for row in rows] == list(VARIANTS)
    for label, *cells in rows:
        of_variant = numbers[numbers.variant == VARIANTS[label]]
        when = "e=0" if VARIANTS[label] == "ialp" else "end"
        found = of_variant[of_variant.when == when]
        if cells[column - 1] == "-":
            assert found.empty
            continue
        mean, low, high = found[["mean", "low", "high"]].iloc[0]
        assert cells[column - 1] == f"{mean:.1f} [{low:.1f}, {high:.1f}]", label


def test_no_text_of_a_real_data_set_is_committed() -> None:
    kinds = {file.suffix for file in RESULTS.iterdir()}
    assert kinds <= {".md", ".csv", ".png"}, "reports hold item texts, which may not be passed on"
