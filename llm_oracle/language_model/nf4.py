"""NF4, the 4-bit weights of the paper's judge, through bitsandbytes."""

from __future__ import annotations

import torch
from transformers import BitsAndBytesConfig

from llm_oracle.language_model.passes import CausalLM

INSTALL = "pip install 'recsim-ialp[nf4]'"


def nf4_config() -> BitsAndBytesConfig:
    """The quantization of the paper's judge.

    Raises:
        ModuleNotFoundError: if bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401 (transformers' own message names no fix)
    except ImportError as error:
        raise ModuleNotFoundError(f"quantization='nf4' needs bitsandbytes: {INSTALL}") from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def keep_gradients_on_cpu(model: CausalLM) -> None:
    """Turns off a fast path of bitsandbytes that loses the gradients of what lies below.

    On CPUs with AVX512-BF16, the first forward pass in eval mode repacks a layer's weights for a
    kernel without a backward pass, and a later training pass then runs through it. Seen with
    bitsandbytes 0.50.2.
    """
    from bitsandbytes.nn import Linear4bit  # type: ignore[attr-defined]

    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
