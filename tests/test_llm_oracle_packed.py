"""Packed layers: the same answers as the plain ones, as far as bfloat16 goes."""

import pytest
import torch

from llm_oracle.language_model.adapters import AdapterCard
from llm_oracle.language_model.local import LanguageModel
from llm_oracle.language_model.packed import PackedLinear, pack, usable

pytestmark = pytest.mark.usefixtures("one_thread")
on_this_cpu = pytest.mark.skipif(not usable(), reason="this CPU has no bfloat16 products")
N_LAYERS = 2 * 7  # q, k, v, o, gate, up and down of two blocks


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    """A random one, that changes what the model says."""
    from peft import LoraConfig

    torch.manual_seed(0)
    model = LanguageModel(tiny_llama, device="cpu", trainable=True).model
    model.add_adapter(LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    AdapterCard(str(tiny_llama), "likelihood", 6, {}, {}, {}, "1").save(folder)
    return folder


@torch.inference_mode()
def logits(model):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 300, (3, 40), generator=generator)
    return model.model(ids, use_cache=False).logits.float()


def load(tiny_llama, adapter=None, dtype=torch.bfloat16, trainable=False):
    return LanguageModel(
        tiny_llama, adapter=adapter, device="cpu", dtype=dtype, trainable=trainable
    )


def packed_layers(model):
    return [layer for layer in model.model.modules() if isinstance(layer, PackedLinear)]


@on_this_cpu
@pytest.mark.parametrize("adapted", [True, False])
def test_packed_layers_are_as_exact_as_plain_ones(tiny_llama, adapter, adapted):
    folder = adapter if adapted else None
    exact = logits(load(tiny_llama, folder, dtype=torch.float32))
    plain = logits(load(tiny_llama, folder, trainable=True))
    model = load(tiny_llama, folder)
    assert len(packed_layers(model)) == N_LAYERS
    error = (logits(model) - exact).norm()
    assert 0 < error < 1.25 * (plain - exact).norm()


@on_this_cpu
def test_the_adapter_can_be_off(tiny_llama, adapter):
    bare, model = load(tiny_llama), load(tiny_llama, adapter)
    before = logits(model)
    with model.bare():
        assert torch.equal(logits(model), logits(bare))
    assert torch.equal(logits(model), before)
    assert (before - logits(bare)).norm() > 0.1 * before.norm()


@on_this_cpu
def test_only_bfloat16_is_packed_and_only_for_judging(tiny_llama):
    assert not packed_layers(load(tiny_llama, dtype=torch.float32))
    assert not packed_layers(load(tiny_llama, trainable=True))


@on_this_cpu
def test_a_bias_is_added():
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 32).bfloat16()
    x = torch.randn(5, 48).bfloat16()
    with torch.inference_mode():
        assert torch.equal(PackedLinear(layer)(x), layer(x))


class OtherVersion:
    """PyTorch's private operators, one of which takes other arguments by now."""

    def _is_mkldnn_bf16_supported(self):
        return True

    def _reorder_linear_weight(self, weight):
        return weight

    def _linear_pointwise(self, x, weight, bias, activation):
        raise AssertionError("never reached with today's six arguments")


class OtherMeaning(OtherVersion):
    def _linear_pointwise(self, x, weight, bias, activation, scalars, algorithm):
        return torch.nn.functional.linear(x, weight, bias)  # no activation any more


@pytest.mark.parametrize("operators", [object(), OtherVersion(), OtherMeaning()])
def test_without_the_private_operators_the_layers_stay_plain(operators, monkeypatch):
    usable.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    layers = torch.nn.Sequential(torch.nn.Linear(16, 8).bfloat16())
    try:
        assert pack(layers) == []
    finally:
        usable.cache_clear()
    assert type(layers[0]) is torch.nn.Linear


def test_operators_that_do_what_they_should_are_used(monkeypatch):
    class Right(OtherVersion):
        def _linear_pointwise(self, x, weight, bias, activation, scalars, algorithm):
            product = torch.nn.functional.linear(x, weight, bias)
            return torch.nn.functional.silu(product) if activation == "swish" else product

    usable.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", Right())
    try:
        assert len(pack(torch.nn.Sequential(torch.nn.Linear(16, 8).bfloat16()))) == 1
    finally:
        usable.cache_clear()
