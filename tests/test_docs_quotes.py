"""What the pages on algorithms quote is in the code: lines, defaults; and every option there is."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from ialp_agents import (
    AIALP,
    IALP,
    PG,
    SASRecActorCriticPolicy,
    SASRecExtractor,
    SASRecPolicy,
    SASRecQPolicy,
)
from llm_oracle import LLMOracleVectorEnv

TOP = Path(__file__).parents[1]
OF = {
    "ialp": (IALP, SASRecPolicy, SASRecExtractor, LLMOracleVectorEnv),
    "aialp": (AIALP, AIALP.from_pretrained, IALP),
    "pg": (PG, SASRecExtractor),
    "dqn-a2c": (SASRecQPolicy, SASRecActorCriticPolicy, SASRecExtractor),
}
"""By page, what its defaults are of; of two with the same argument, the first."""


def rows(page):
    """The cells of the table of equations."""
    for line in (TOP / "docs" / f"{page}.md").read_text().splitlines():
        if line.startswith("| ") and ".py`: `" in line:
            yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("page", OF)
def test_quoted_lines_are_in_the_code(page):
    quoted = [
        found
        for row in rows(page)
        for cell in row
        for found in re.findall(r"`(\w+\.py)`: `([^`]+)`", cell)
    ]
    assert len(quoted) == len(list(rows(page))) > 3
    for file, line in quoted:
        (path,) = [path for top in ("ialp_agents", "llm_oracle") for path in (TOP / top).glob(file)]
        assert line in path.read_text(), f"{page}.md: {file} has no {line}"


@pytest.mark.parametrize("page", OF)
def test_quoted_defaults_are_the_code(page):
    quoted = [found for *_, cell in rows(page) for found in re.findall(r"`(\w+)=([^`]+)`", cell)]
    assert len(quoted) > 3
    for argument, value in quoted:
        parameters = [
            inspect.signature(each).parameters[argument]
            for each in OF[page]
            if argument in inspect.signature(each).parameters
        ]
        assert parameters, f"{page}.md: nobody takes {argument}"
        assert parameters[0].default == ast.literal_eval(value), f"{page}.md: {argument}={value}"
