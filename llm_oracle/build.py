"""Builds a judge from one word, as command lines and settings name it."""

from __future__ import annotations

import os
from pathlib import Path

from llm_oracle.judge import Judge, PopularityJudge, TfidfJudge
from llm_oracle.language_judge import Quantization
from recsim_envs.data.dataset import DataError, Dataset


def build_judge(
    name: str,
    dataset: Dataset,
    *,
    quantization: Quantization | None = None,
    cache: Path | None = None,
    seed: int = 0,
    api_key_env: str = "OPENAI_API_KEY",
) -> Judge:
    """Builds a judge; what it knows of popularity comes from the training sequences.

    Args:
        name: "popularity"; "tfidf"; "smollm2", a folder or a hub name for a model in this process,
            with "@FOLDER" for the adapter in it and "@bare" for none; or the URL of an
            OpenAI-compatible server and its model, as in "http://localhost:8000/v1#MODEL".
        dataset: the catalogue.
        quantization: "nf4" keeps the weights of a model in this process in 4 bits.
        cache: file of the language models' stored verdicts.
        seed: of a language model's prompts.
        api_key_env: environment variable with a server's key; unset, none is sent.

    Raises:
        DataError: if a server's name lacks the model.
        ModuleNotFoundError: if a language model's packages are not installed.
    """
    if name == "popularity":
        return PopularityJudge(dataset)
    if name == "tfidf":
        return TfidfJudge(dataset)
    if name.startswith(("http://", "https://")):
        from llm_oracle.server_judge import ServerJudge

        url, _, model = name.partition("#")
        if not model:
            raise DataError(f"judge {name!r} names no model: write {name}#MODEL")
        key = os.environ.get(api_key_env, "").strip() or None
        return ServerJudge(dataset, url, model, api_key=key, cache=cache, seed=seed)
    from llm_oracle.transformers_judge import TransformersJudge

    model, _, adapter = name.partition("@")
    return TransformersJudge(
        dataset,
        model,
        adapter=None if adapter == "bare" else adapter or "shipped",
        quantization=quantization,
        cache=cache,
        seed=seed,
    )
