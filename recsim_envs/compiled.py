"""Numba, where it is installed: steps of the environments that cost microseconds.

``pip install 'recsim-ialp[fast]'`` installs it. Without it, or with Numba's own switch
``NUMBA_DISABLE_JIT=1``, the environments step in NumPy: the same users, rewards to 1e-5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

Kernel = Callable[..., Any]
FAST_MATH = {"contract", "reassoc", "nsz"}
"""What lets sums be vectorised. NaN and infinity keep their meaning."""


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
    disabled: bool = numba.config.DISABLE_JIT  # type: ignore[attr-defined]  # set at run time
    return not disabled


def compiled(function: Kernel) -> Kernel:
    """Compiles a function for this CPU at its first call, and keeps what came out on disk.

    The file lies beside the source, in ``$NUMBA_CACHE_DIR`` or in the user's cache folder; where
    none of them can be written, each process compiles anew, in some seconds.
    """
    import numba

    try:
        kept: Kernel = numba.njit(cache=True, fastmath=FAST_MATH, error_model="numpy", nogil=True)(
            function
        )
    except RuntimeError:  # no folder can be written
        kept = numba.njit(fastmath=FAST_MATH, error_model="numpy", nogil=True)(function)
    return kept


def call(kernel: Kernel, *arguments: Any) -> Any:
    """Calls a compiled function, whose first call may also fail to write its file."""
    try:
        return kernel(*arguments)
    except OSError:  # the disk is full; the function is compiled and has not run yet
        return kernel(*arguments)
