"""The softmax over a catalogue of thousands of items, with no more passes over it than needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Places = tuple[Tensor, Tensor]
"""Rows (states) and items whose probability is zero, as a (B, n_items) tensor's two indices."""


def _weights(query: Tensor, vectors: Tensor, left_out: Places) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the softmax's numerators (n_items, B), their peak (B,) and their sum (B,)."""
    # Items first: this way round MKL multiplies twice as fast as the other.
    weights = vectors @ query.T  # (n_items, B)
    rows, items = left_out
    weights[items, rows] = -torch.inf
    peak = weights.amax(dim=0)  # (B,)
    weights.sub_(peak).exp_()
    return weights, peak, weights.sum(dim=0)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, vectors: Tensor, values: Tensor, rows: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights, peak, total = _weights(query, vectors, (rows, items))
        mean_value = weights.T @ values / total[:, None]  # (B, d)
        mean_vector = mean_value
        if values is not vectors and any(ctx.needs_input_grad):  # a frozen policy's are not needed
            mean_vector = weights.T @ vectors / total[:, None]  # (B, d)
        ctx.save_for_backward(query, mean_vector, weights, total)
        ctx.mark_non_differentiable(mean_value)
        return peak + total.log(), mean_value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        query, mean_vector, weights, total = ctx.saved_tensors
        grad = grads[0][:, None]  # (B, 1)
        # The mean vector is the derivative with respect to the query: this pass is saved.
        by_vectors = weights @ (grad * query / total[:, None])
        return grad * mean_vector, by_vectors, None, None, None


def log_normaliser_and_mean(
    query: Tensor, vectors: Tensor, values: Tensor, left_out: Places
) -> tuple[Tensor, Tensor]:
    """Returns the softmax's ``log sum_a exp(query . vectors[a])`` and its mean of ``values``.

    The sum leaves some items out. The first is what log pi(a) of one item a needs; its value and
    gradients are those of ``(query @ vectors.T).logsumexp(dim=1)`` with minus infinity at the items
    left out. The second has no gradient. Both together, forward and backward, take three matrix
    products with the catalogue: as many as the first alone if it were left to autograd.

    Args:
        query: (B, d).
        vectors: (n_items, d).
        values: (n_items, d); costs a fourth product unless it *is* ``vectors``.
        left_out: of each row at least one item must remain.

    Returns:
        (B,), and (B, d).
    """
    log_z, mean = _Softmax.apply(query, vectors, values, *left_out)  # type: ignore[no-untyped-call]
    return log_z, mean


def softmax_mean(query: Tensor, vectors: Tensor, values: Tensor, left_out: Places) -> Tensor:
    """Returns the mean of ``values`` under the same softmax, without gradient.

    Args:
        query: (B, d).
        vectors: (n_items, d).
        values: (n_items, d).
        left_out: as above.

    Returns:
        (B, d).
    """
    with torch.no_grad():
        weights, _, total = _weights(query, vectors, left_out)
        return weights.T @ values / total[:, None]
