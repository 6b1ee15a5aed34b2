"""Linear layers for judging on a CPU, where the plain ones waste a seventh of a tuned model's time.

PyTorch rearranges a weight at every product; here it lies as the product reads it. A LoRA adapter
takes five more operations a layer; here it is merged into a second weight, so that the bare model
stays at hand. A gated MLP applies its activation to what is no longer in the cache; here the
product does. No weight has a gradient.

PyTorch's operators for this are private. Where a version has none, or others, or the CPU cannot use
them, :func:`usable` says so and the plain layers stay.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation


class PackedLinear(nn.Module):
    """What ``layer`` computes, in bfloat16 on a CPU.

    Merged weights are rounded to bfloat16 once more. With the shipped adapter this moves a
    likelihood as much as the rounding of the activations does.

    Args:
        layer: a linear layer, or one with an adapter as peft makes it.

    Attributes:
        bare: whether the adapter is off.
        activation: what follows the product, in oneDNN's words.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        plain: nn.Linear = getattr(layer, "base_layer", layer)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bare, self.activation = False, "none"
        self._bias = plain.bias
        self._plain = self._adapted = _packed(plain)
        if plain is not layer:
            layer.merge()
            self._adapted = _packed(plain)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_features) to (..., out_features)."""
        return _product(x, self._plain if self.bare else self._adapted, self._bias, self.activation)


def pack(module: nn.Module) -> list[PackedLinear]:
    """Replaces the bfloat16 linear layers below ``module``, if it can; returns the new ones."""
    if not usable():
        return []
    packed = []
    for name, layer in list(module.named_children()):
        plain = getattr(layer, "base_layer", layer)
        if type(plain) is nn.Linear and plain.weight.dtype == torch.bfloat16:
            packed.append(PackedLinear(layer))
            setattr(module, name, packed[-1])
        else:
            packed += pack(layer)
    gate = getattr(module, "gate_proj", None)
    if isinstance(gate, PackedLinear) and isinstance(module.act_fn, SiLUActivation | nn.SiLU):
        gate.activation, module.act_fn = "swish", nn.Identity()
    return packed


@cache
def usable() -> bool:
    """Whether this PyTorch has the operators, with the arguments used here, and the CPU them."""
    layer = nn.Linear(16, 16).bfloat16()
    x = torch.ones(1, 16, dtype=torch.bfloat16)
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        with torch.inference_mode():
            product = _product(x, _packed(layer), layer.bias, "swish")
            return torch.allclose(product, nn.functional.silu(layer(x)), atol=0.05)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _packed(layer: nn.Linear) -> Tensor:
    weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
    return weight


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
    return result
