"""A causal language model: which weights, in how many bits, with which adapter, where."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from llm_oracle.adapters import check_adapter
from llm_oracle.attention import register as attention_on_cpu
from llm_oracle.language_judge import Quantization
from llm_oracle.packed import PackedLinear, pack
from llm_oracle.prompts import LABELS
from llm_oracle.scoring import CausalLM
from llm_oracle.smollm2 import VERSION, smollm2_folder

HASH_BLOCK = 1 << 24
INSTALL = "pip install 'recsim-ialp[nf4]'"


class LanguageModel:
    """A causal language model with its tokenizer; several judges may share one.

    Args:
        name: "smollm2", or what transformers' ``from_pretrained`` takes: a folder or a hub name.
        quantization: "nf4" keeps the weights of the linear layers in 4 bits (NormalFloat4 with
            double quantization, computing in bfloat16; Dettmers et al., "QLoRA", 2023).
        adapter: folder with a LoRA adapter as peft saves it.
        device: where the model runs; default CUDA where there is one, else the CPU.
        dtype: of the computation; default bfloat16 where the device computes in it, else float32.
        trainable: keeps the weights as gradients need them; else a CPU may rearrange them.

    Raises:
        ModuleNotFoundError: for "smollm2" without its wheel, or "nf4" without bitsandbytes.
        ValueError: for an unknown ``quantization``.
    """

    def __init__(
        self,
        name: str | Path = "smollm2",
        *,
        quantization: Quantization | None = None,
        adapter: Path | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        trainable: bool = False,
    ) -> None:
        self.name = str(name)
        self.quantization = quantization
        self.adapter = adapter
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        source = smollm2_folder() if name == "smollm2" else name
        attention = attention_on_cpu() if self.device.type == "cpu" else "sdpa"
        # No pickled weights, and no code of whoever made the model.
        options: dict[str, Any] = {"attn_implementation": attention, "use_safetensors": True}
        options["trust_remote_code"] = False
        if quantization == "nf4":
            options |= {"quantization_config": nf4_config(), "device_map": {"": self.device}}
        elif quantization is not None:
            raise ValueError(f"quantization={quantization!r} is unknown: use 'nf4' or None")
        options["dtype"] = dtype or native_dtype(self.device)
        model: Any = AutoModelForCausalLM.from_pretrained(source, **options)
        if quantization is None:
            model = model.to(self.device)
        else:
            keep_gradients_on_cpu(model)
        if adapter is not None:
            check_adapter(adapter)
            model.load_adapter(str(adapter), use_safetensors=True)
        self._packed: list[PackedLinear] = []
        if self.device.type == "cpu" and quantization is None and not trainable:
            self._packed = pack(model.get_decoder())
        self.model: CausalLM = model.eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)

    def describe(self) -> dict[str, Any]:
        """Returns what decides this model's answers, JSON-able: weights by content, precision."""
        local = Path(self.name).is_dir()
        if local:
            weights = folder_hash(Path(self.name))
        elif self.name == "smollm2":
            weights = VERSION
        else:
            weights = str(self.model.config._commit_hash)
        return {
            "model": Path(self.name).name if local else self.name,
            "weights": weights,
            "quantization": self.quantization,
            "adapter": None if self.adapter is None else folder_hash(self.adapter),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    @contextlib.contextmanager
    def bare(self) -> Iterator[None]:
        """Within this context the adapter is off."""
        adapted = getattr(self.model, "_hf_peft_config_loaded", False)
        if adapted:
            self.model.disable_adapters()
        for layer in self._packed:
            layer.bare = True
        try:
            yield
        finally:
            if adapted:
                self.model.enable_adapters()
            for layer in self._packed:
                layer.bare = False

    def tokens(self, text: str, begins: bool = True) -> list[int]:
        """Tokenizes ``text``, which may begin the model's input or continue it."""
        # Markup that survived `sanitize` must stay text, not become a special token.
        tokens: list[int] = self.tokenizer(
            text, add_special_tokens=begins, split_special_tokens=True
        )["input_ids"]
        return tokens

    def label_tokens(self, n: int) -> list[int]:
        """Returns the tokens of the first n labels as they follow the prompt's last word.

        Raises:
            ValueError: if a label is not a single token of this tokenizer.
        """
        stem = self.tokens("select")
        answers = []
        for label in LABELS[:n]:
            *before, answer = self.tokens(f"select {label}")
            if before != stem:
                raise ValueError(
                    f"{self.name}: the label {label!r} is not a single token of this tokenizer: "
                    "use scoring='likelihood' or another model"
                )
            answers.append(answer)
        return answers

    def cut(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Cuts texts, none of them empty, after ``max_tokens`` tokens."""
        spans = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
        )["offset_mapping"]
        ends = [span[:max_tokens][-1][1] for span in spans]
        return [text[:end].rstrip() for text, end in zip(texts, ends, strict=True)]


def nf4_config() -> BitsAndBytesConfig:
    """The quantization of the paper's judge.

    Raises:
        ModuleNotFoundError: if bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401 (transformers' own message names no fix)
    except ImportError as error:
        raise ModuleNotFoundError(f"quantization='nf4' needs bitsandbytes: {INSTALL}") from error
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
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


def folder_hash(folder: Path) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a folder's safetensors files, in order.

    Raises:
        FileNotFoundError: if there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no .safetensors file: save the weights there")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:16]


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has instructions for it; elsewhere float32 is faster."""
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        native = can.get("avx512_bf16", False) or can.get("amx_bf16", False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16
