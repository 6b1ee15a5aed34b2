"""Imports point one way, between the packages and between the floors of the judge's."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "recsim_envs": set(),
    "llm_oracle": {"recsim_envs"},
    "ialp_agents": {"recsim_envs"},
    "benchmarks": {"recsim_envs", "llm_oracle", "ialp_agents"},
}
FLOORS = ["texts", "language_model", "scoring", "judges", "study"]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def type_checking_only(file):
    """What is imported for annotations alone, which no process loads."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (part.module for part in node.body if isinstance(part, ast.ImportFrom))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_below(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        used = {name.split(".")[0] for name in imported(file)} & PACKAGES.keys()
        assert used <= PACKAGES[package] | {package}, file


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_of_the_judge_imports_only_those_below(floor):
    above = {f"llm_oracle.{name}" for name in FLOORS[FLOORS.index(floor) + 1 :]}
    files = list((ROOT / "llm_oracle" / floor).glob("*.py"))
    assert files
    for file in files:
        used = set(imported(file)) - set(type_checking_only(file))
        assert not {".".join(name.split(".")[:2]) for name in used} & above, file
