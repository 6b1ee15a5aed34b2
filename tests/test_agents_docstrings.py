"""The usage examples in the agents' docstrings run as they stand."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from typing import Any

import pytest

from ialp_agents import AIALP, IALP, PG, SASRecActorCriticPolicy, SASRecQPolicy


@pytest.mark.parametrize("agent", [IALP, AIALP, PG, SASRecQPolicy, SASRecActorCriticPolicy])
def test_the_example_runs(agent: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    module = sys.modules[agent.__module__]
    # No globals: an example must import what it uses.
    (test,) = [
        test
        for test in doctest.DocTestFinder(recurse=False).find(agent, module=module, globs={})
        if test.examples
    ]
    results = doctest.DocTestRunner().run(test)
    assert results.attempted > 5 and results.failed == 0
