"""Builds a judge from one word, as command lines and settings name it."""

from __future__ import annotations

import os
from pathlib import Path

from llm_oracle.judges.calibrated import CalibrationCard, ScoringJudge
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.judges.simple import PopularityJudge, TfidfJudge
from llm_oracle.language_model.adapters import Quantization
from llm_oracle.language_model.connection import check_address
from llm_oracle.language_model.evidence import LEAST_MASS
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DataError


def build_judge(
    name: str,
    dataset: Dataset,
    *,
    quantization: Quantization | None = None,
    cache: Path | None = None,
    seed: int = 0,
    api_key_env: str = "OPENAI_API_KEY",
    max_requests: int | None = None,
    dollars_per_million_tokens: float | None = None,
    least_mass: float = LEAST_MASS,
    calibration: CalibrationCard | None = None,
) -> ScoringJudge:
    """Builds a judge; what it knows of popularity comes from the training sequences.

    Args:
        name: "popularity"; "tfidf"; "smollm2", a folder or a hub name for a model in this process,
            with "@FOLDER" for the adapter in it and "@bare" for none; or the URL of an
            OpenAI-compatible server and its model, as in "http://localhost:8000/v1#MODEL" (ending
            in "/v1/chat/completions#MODEL" for a chat, in "#MODEL@answer" where the server gives no
            log-probabilities).
        dataset: the catalogue.
        quantization: "nf4" keeps the weights of a model in this process in 4 bits.
        cache: file of the language models' stored verdicts.
        seed: of a language model's prompts.
        api_key_env: environment variable with a server's key; unset, none is sent.
        max_requests: how many requests may be sent to a server in all.
        dollars_per_million_tokens: price of a server's tokens, to show what is spent.
        least_mass: total probability that a language model must give the labels.
        calibration: what `recsim calibrate-judge` wrote; the judge's name says so. Default the
            adapter's, or none.

    Raises:
        DataError: if a server's name lacks the model, its URL may hold a secret, or the calibration
            is another judge's.
        ModuleNotFoundError: if a language model's packages are not installed.
    """
    judge: ScoringJudge
    if name == "popularity":
        judge = PopularityJudge(dataset)
    elif name == "tfidf":
        judge = TfidfJudge(dataset)
    elif "://" in name:
        from llm_oracle.language_model.server import Server

        check_address(name)
        url, _, model = name.partition("#")
        model, is_answer = model.removesuffix("@answer"), model.endswith("@answer")
        if not model:
            raise DataError(f"judge {name!r} names no model: write {url}#MODEL")
        server = Server(
            url,
            model,
            api_key=os.environ.get(api_key_env),
            max_requests=max_requests,
            dollars_per_million_tokens=dollars_per_million_tokens,
        )
        scoring = "answer" if is_answer else "label"
        judge = LanguageModelJudge(
            dataset, server, scoring, least_mass=least_mass, cache=cache, seed=seed
        )
    else:
        from llm_oracle.language_model.local import LanguageModel

        model, _, adapter = name.partition("@")
        loaded = LanguageModel(
            model,
            adapter=None if adapter == "bare" else adapter or "shipped",
            quantization=quantization,
        )
        judge = LanguageModelJudge(dataset, loaded, least_mass=least_mass, cache=cache, seed=seed)
    if calibration is not None:
        calibration.apply(judge, dataset)
    return judge
