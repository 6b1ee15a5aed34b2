"""What a result was made with: the record that every result carries."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def git_revision() -> str:
    """The commit of this checkout, marked where files differ from it; "unknown" outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """The versions of the packages that decide a result."""
    names = (
        "recsim-ialp",
        "torch",
        "numpy",
        "gymnasium",
        "stable-baselines3",
        "transformers",
        "peft",
        "bitsandbytes",
    )
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
