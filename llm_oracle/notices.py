"""What a user should know while something runs."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


def say(text: str) -> None:
    """Writes a line to standard error, above any progress bar."""
    tqdm.write(f"recsim: {text}", file=sys.stderr)
