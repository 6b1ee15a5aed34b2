"""Attention for judging on a CPU: plain matrix products, which there beat the fused kernel.

On prompts of a few hundred tokens PyTorch's fused CPU kernel spends a third of a small model's
time, four times what its arithmetic needs (`benchmarks/throughput/judge.py` compares both).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "recsim_cpu"
BLOCK = 100
"""Queries at a time: few enough to skip most of the keys that lie after them."""


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention in which several heads share their keys and values.

    Args:
        module: the layer, which errors name.
        query: (B, H, L, D).
        key: (B, G, S, D) with S >= L; each of its G heads serves H / G heads of the query, and its
            last L positions are the query's own.
        value: (B, G, S, D).
        attention_mask: (B or 1, 1, L, S), added to the scores: 0 where a query may look and the
            least number elsewhere; never after itself. (Minus infinity would make rows of padding,
            which see nothing at all, NaN.)
        scaling: of the products.
        softcap: least upper bound of a scaled product's size, approached by a tanh (Gemma 2).
        s_aux: attention sinks (gpt-oss), which are not computed here.
        kwargs: of other attention functions; not used.

    Returns:
        (B, L, H, D), and None for the weights.

    Raises:
        NotImplementedError: for a model with attention sinks.
    """
    if s_aux is not None:
        raise NotImplementedError(
            f"{type(module).__name__} has attention sinks, which are not computed on a CPU: serve "
            "the model and use llm_oracle.language_model.server.Server"
        )
    batch, heads, length, dim = query.shape
    groups, known = key.shape[1], key.shape[2] - length
    query = (query * scaling).view(batch, groups, heads // groups, length, dim)
    key, value = key.flatten(0, 1), value.flatten(0, 1)  # (B * G, S, D)
    bias = attention_mask[:, None]  # (B, 1, 1, L, S)
    parts = []
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        seen = known + end
        rows = query[:, :, :, start:end].flatten(2, 3).flatten(0, 1)  # (B * G, H / G * block, D)
        scores = rows @ key[:, :seen].transpose(1, 2)
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        scores = scores.view(batch, groups, -1, end - start, seen)
        scores += bias[..., start:end, :seen]
        weights = scores.softmax(dim=-1).flatten(2, 3).flatten(0, 1)
        mixed = weights @ value[:, :seen]  # (B * G, H / G * block, D)
        parts.append(mixed.view(batch, heads, end - start, dim))
    return torch.cat(parts, dim=2).transpose(1, 2), None


def register() -> str:
    """Makes the function known to transformers; returns the name for ``attn_implementation``."""
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    return NAME
