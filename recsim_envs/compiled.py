"""Numba, where it is installed: steps of the environments that cost microseconds.

``pip install 'recsim-ialp[fast]'`` installs it. Without it, or with Numba's own switch
``NUMBA_DISABLE_JIT=1``, the environments step in NumPy: the same users, rewards to 1e-5.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any


@cache
def can_compile() -> bool:
    """Whether Numba is installed, works, and is not switched off."""
    try:
        import numba
    except ModuleNotFoundError:
        return False
    except ImportError as error:  # such as "Numba needs NumPy 2.5 or less"
        warnings.warn(
            f"numba is installed but does not work: {error}. The environments step in NumPy, "
            "slower; reinstall it with pip install -U 'recsim-ialp[fast]', or uninstall it",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    config: Any = numba.config  # made from the environment when it is imported
    return not config.DISABLE_JIT
