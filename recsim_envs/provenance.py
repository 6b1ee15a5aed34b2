"""What a result was made with: the record that every result carries."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def git_revision() -> str:
    """The commit of recsim's checkout, marked where files differ from it; else "unknown"."""
    if not _is_checkout():
        return "unknown"
    return _git("describe", "--always", "--dirty", "--abbrev=12") or "unknown"


def last_change(*paths: str) -> str:
    """The last commit that changed any of ``paths``, marked where they differ from it.

    It stays the same while other files change, such as documentation.

    Args:
        *paths: files and folders of recsim's checkout, from its top.

    Returns:
        12 digits, "-dirty" after them where files are changed or new; "unknown" without a checkout.
    """
    if not _is_checkout():
        return "unknown"
    from_top = [f":/{path}" for path in paths]
    commit = _git("log", "-1", "--format=%h", "--abbrev=12", "--", *from_top)
    dirty = "-dirty" if _git("status", "--porcelain", "--", *from_top) else ""
    return f"{commit}{dirty}" if commit else "unknown"


def versions() -> dict[str, str]:
    """The versions of the packages that decide a result."""
    names = (
        "recsim-ialp",
        "torch",
        "numpy",
        "numba",
        "pandas",
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


def _is_checkout() -> bool:
    """Whether a repository tracks this file.

    An installed recsim may lie inside a repository of its user, whose commits say nothing about it.
    """
    return bool(_git("ls-files", Path(__file__).name))


def _git(*arguments: str) -> str:
    """What git prints in this folder; "" where it fails or is not installed."""
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return result.stdout.strip()
