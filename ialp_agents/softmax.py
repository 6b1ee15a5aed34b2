"""The softmax over a catalogue of thousands of items, with no more passes over it than needed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, vectors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        # Items first: this way round MKL multiplies twice as fast as the other.
        weights = vectors @ query.T  # (n_items, B)
        peak = weights.amax(dim=0)  # (B,)
        weights.sub_(peak).exp_()
        total = weights.sum(dim=0)  # (B,)
        mean_vector = weights.T @ vectors / total[:, None]  # (B, d)
        mean_value = mean_vector if values is vectors else weights.T @ values / total[:, None]
        ctx.save_for_backward(query, mean_vector, weights, total)
        ctx.mark_non_differentiable(mean_value)
        return peak + total.log(), mean_value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        query, mean_vector, weights, total = ctx.saved_tensors
        grad = grads[0][:, None]  # (B, 1)
        # The mean vector is the derivative with respect to the query: this pass is saved.
        return grad * mean_vector, weights @ (grad * query / total[:, None]), None


def log_normaliser_and_mean(
    query: Tensor, vectors: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the softmax's ``log sum_a exp(query . vectors[a])`` and its mean of ``values``.

    The first is what log pi(a) of one item a needs; its value and gradients are those of
    ``(query @ vectors.T).logsumexp(dim=1)``. The second has no gradient. Both together, forward
    and backward, take three matrix products with the catalogue: as many as the first alone if it
    were left to autograd.

    Args:
        query: (B, d).
        vectors: (n_items, d).
        values: (n_items, d); costs a fourth product unless it *is* ``vectors``.

    Returns:
        (B,), and (B, d).
    """
    log_z, mean = _Softmax.apply(query, vectors, values)  # type: ignore[no-untyped-call]
    return log_z, mean


def softmax_mean(query: Tensor, vectors: Tensor, values: Tensor) -> Tensor:
    """Returns the mean of ``values`` under the softmax of ``query . vectors[a]``.

    This is attention of the states over the catalogue, whose fused kernel never builds the
    (B, n_items) matrix of probabilities.

    Args:
        query: (B, d).
        vectors: (n_items, d).
        values: (n_items, d).

    Returns:
        (B, d).
    """
    # Batch and head must be there: with fewer dimensions PyTorch takes its unfused path.
    q, k, v = (tensor[None, None] for tensor in (query, vectors, values))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[0, 0]
