"""Loading a model without what other libraries print of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

MISSING_KERNEL = "Failed to load CPU gemm_4bit_forward"


def ignore_missing_kernel() -> None:
    """Drops one warning of bitsandbytes, which peft imports for every adapter where it finds it.

    On CPUs with AVX512-BF16 it misses a kernel of 4-bit weights that only serves a path without
    gradients, which :func:`llm_oracle.language_model.nf4.keep_gradients_on_cpu` turns off.
    Seen with bitsandbytes 0.50.2.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_no_missing_kernel)


@contextmanager
def no_loading_bars() -> Iterator[None]:
    """Within this context transformers draws no progress bars."""
    before = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            transformers_logging.enable_progress_bar()


def _is_no_missing_kernel(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(MISSING_KERNEL)
