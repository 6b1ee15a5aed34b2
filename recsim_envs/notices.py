"""What recsim tells while it runs: the logger ``recsim``, of all three packages.

As a library it sets up no handler: Python itself writes warnings to standard error where nobody
else did, and ``logging.getLogger("recsim").setLevel(logging.ERROR)`` silences them. Progress bars
are tqdm's: the environment variable ``TQDM_DISABLE=1`` leaves them out.
"""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("recsim")


def show_notices() -> None:
    """Writes all notices to standard error, "recsim:" before them. For commands alone."""
    if not logger.handlers:
        handler = _AboveBars()
        handler.setFormatter(logging.Formatter("recsim: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _AboveBars(logging.Handler):
    """Writes lines that no progress bar overwrites."""

    def emit(self, record: logging.LogRecord) -> None:
        """See :meth:`logging.Handler.emit`."""
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # as the standard library's handlers: a notice ends no run
            self.handleError(record)
