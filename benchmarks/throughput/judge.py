"""How fast the judge is, against what one would write first and against what the machine can do.

    python -m benchmarks.throughput.judge

All in one run on the same prompts and weights, in turns; the figures to quote are the ratios. In
one thread on a CPU the clock counts the process's own seconds, so that a busy machine does not tilt
them. What one would write first runs on the model as transformers loads it: with PyTorch's fused
attention and plain linear layers.

The bound is the time that a prompt's floating-point operations take at the rate of this model's
matrix products. The bound divided by the time of `generate()`, which the run prints, is therefore
the most that scoring in this precision can gain over it in one process: the model reads the whole
prompt either way, and only the tokens that `generate()` goes on to write can be saved. Products of
8-bit integers are timed beside it, for what a quantised model could reach at the very best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.language_model.adapters import Quantization
from llm_oracle.language_model.local import LanguageModel
from llm_oracle.scoring.likelihood import LikelihoodScoring
from llm_oracle.study.evaluate import Questions, next_item_questions
from llm_oracle.texts.questions import Question
from recsim_envs.data.store import load_data
from recsim_envs.notices import show_notices
from recsim_envs.provenance import git_revision, versions


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        data: a prepared name, or replica/lfm, replica/industry, replica/coat.
        model: "smollm2", a folder or a hub name.
        quantization: "nf4" or None.
        prompts: questions a round.
        rounds: each way takes its turn in each round; the median counts.
        new_tokens: how far `generate()` writes, enough for "b. <title>".
        threads: of the one process in which the ways are compared.
        workers: processes with one thread each, against one process with as many threads.
    """

    data: str = "replica/industry"
    model: str = "smollm2"
    quantization: Quantization | None = None
    prompts: int = 24
    rounds: int = 3
    new_tokens: int = 16
    threads: int = 1
    workers: int = 2


def main(settings: Settings) -> None:
    """Times everything and prints the ratios."""
    torch.set_num_threads(settings.threads)
    dataset = load_data(settings.data)
    model = LanguageModel(settings.model, quantization=settings.quantization, adapter=None)
    plain = as_it_comes(settings)
    by_label = LanguageModelJudge(dataset, model, "label", least_mass=0.0)
    by_likelihood = LanguageModelJudge(dataset, model, "likelihood")
    assert isinstance(by_likelihood.scoring, LikelihoodScoring)
    rows = next_item_questions(dataset, settings.prompts)
    prompts = by_label.questions(*rows[:3])
    by_likelihood.scoring.priors(rows.slates)  # once an item: not part of a verdict
    lengths = [len(model.tokens(question.prompt)) for question in prompts]
    print(
        f"{settings.model} ({model.describe()['dtype']}, {model.device}) on {dataset}, "
        f"{settings.threads} thread(s); {settings.prompts} label prompts of {np.mean(lengths):.0f} "
        f"tokens; revision {git_revision()}, torch {versions()['torch']}"
    )

    ways: dict[str, Callable[[], Any]] = {
        "label: our scoring": lambda: by_label.scores(*rows[:3]),
        "label: our scoring, PyTorch's fused attention": lambda: _with_sdpa(model, by_label, rows),
        "label: generate() one token, one at a time": lambda: _generate(plain, prompts, 1),
        f"label: generate() {settings.new_tokens} tokens, one at a time": lambda: _generate(
            plain, prompts, settings.new_tokens
        ),
        "likelihood: our scoring": lambda: by_likelihood.scores(*rows[:3]),
        "likelihood: one forward pass a candidate": lambda: _one_by_one(plain, by_likelihood, rows),
    }
    alone = settings.threads == 1 and model.device.type == "cpu"
    clock = time.process_time if alone else time.perf_counter
    seconds = _in_turns(ways, settings.rounds, clock)
    rate = matrix_rate(model, int(np.mean(lengths)), model.model.dtype, clock)
    floor = sum(flops(model, length) for length in lengths) / rate

    table = Table(title=f"median of {settings.rounds} rounds; prompts/s, and speed against ours")
    for column in ("way", "prompts/s", "relative"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, value in seconds.items():
        ours = seconds[f"{name.split(':')[0]}: our scoring"]
        table.add_row(name, f"{settings.prompts / value:.2f}", f"{ours / value:.3f}")
    table.add_row("label: the bound", f"{settings.prompts / floor:.2f}", "")
    Console().print(table)
    generated = seconds[f"label: generate() {settings.new_tokens} tokens, one at a time"]
    print(
        f"bound: {rate / 1e9:.0f} GFLOP/s measured on this model's matrix products; our label "
        f"scoring reaches {floor / seconds['label: our scoring']:.0%} of it, and is "
        f"{generated / seconds['label: our scoring']:.1f} x generate(); at the bound it would be "
        f"{generated / floor:.1f} x"
    )
    if model.device.type == "cpu":
        rate_8 = matrix_rate(model, int(np.mean(lengths)), torch.int8, clock)
        print(
            f"8-bit integer products: {rate_8 / 1e9:.0f} GOP/s; at that rate, with nothing else to "
            f"do, {generated / floor * rate_8 / rate:.1f} x generate()"
        )
    if settings.workers > 1 and model.device.type == "cpu":
        apart = in_processes(settings)
        together, generated = (_in_one_process(settings, way) for way in ("ours", "generate"))
        print(
            f"{settings.workers} processes with one thread each: {apart:.2f} label prompts/s, "
            f"{apart / together:.2f} x our scoring and {apart / generated:.2f} x generate() "
            f"({settings.new_tokens} tokens, one at a time) in one process with "
            f"{settings.workers} threads"
        )


def as_it_comes(settings: Settings) -> LanguageModel:
    """The model without what this package does to make it fast."""
    model = LanguageModel(settings.model, quantization=settings.quantization, trainable=True)
    model.model.set_attn_implementation("sdpa")
    return model


def flops(model: LanguageModel, length: int) -> float:
    """Floating-point operations of one label prompt: matrix products and causal attention.

    Args:
        model: whose layers count; its output layer only for the last position.
        length: tokens of the prompt.
    """
    config = model.model.config
    output = config.vocab_size * config.hidden_size
    linear = sum(
        layer.in_features * layer.out_features
        for layer in model.model.get_decoder().modules()
        if hasattr(layer, "in_features")
    )
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    attention = config.num_hidden_layers * 2 * 2 * width * length * (length + 1) / 2
    return float(2 * linear * length + 2 * output + attention)


def matrix_rate(
    model: LanguageModel, length: int, dtype: torch.dtype, clock: Callable[[], float]
) -> float:
    """The best measured rate of products of this model's shapes, in operations a second.

    Args:
        model: whose shapes.
        length: rows of a typical product.
        dtype: of the factors; torch.int8 for 8-bit integers, which sum in 32 bits.
        clock: in seconds.
    """
    config = model.model.config
    best = 0.0
    for rows in (length, 4 * length, 4096):
        for n_in, n_out in (
            (config.hidden_size, config.intermediate_size),
            (config.intermediate_size, config.hidden_size),
            (config.hidden_size, config.hidden_size),
        ):
            x = torch.randn(rows, n_in, device=model.device).to(dtype)
            weight = torch.randn(n_out, n_in, device=model.device).to(dtype)
            product = _in_turns({"": partial(_repeat, x, weight)}, 5, clock)[""] / 8
            best = max(best, 2 * rows * n_in * n_out / product)
    return best


def in_processes(settings: Settings) -> float:
    """Label prompts a second of several processes with one thread each."""
    with ProcessPoolExecutor(settings.workers, get_context("spawn")) as pool:
        jobs = [pool.submit(_worker, settings, 1, "ours", n) for n in range(settings.workers)]
        return sum(job.result() for job in jobs)


def _in_one_process(settings: Settings, way: Literal["ours", "generate"]) -> float:
    """Label prompts a second of one process with as many threads."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_worker, settings, settings.workers, way, 0).result()


def _worker(
    settings: Settings, n_threads: int, way: Literal["ours", "generate"], seed: int
) -> float:
    torch.set_num_threads(n_threads)
    dataset = load_data(settings.data)
    model = LanguageModel(settings.model, quantization=settings.quantization, adapter=None)
    judge = LanguageModelJudge(dataset, model, "label", least_mass=0.0)
    rows = next_item_questions(dataset, settings.prompts, seed=seed)
    run: Callable[[], Any] = partial(judge.scores, *rows[:3])
    if way == "generate":
        prompts = judge.questions(*rows[:3])
        run = partial(_generate, as_it_comes(settings), prompts, settings.new_tokens)
    return settings.prompts / _in_turns({way: run}, settings.rounds)[way]


def _in_turns(
    ways: dict[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Runs each way once unmeasured, then in turns; returns the median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


@torch.inference_mode()
def _repeat(x: torch.Tensor, weight: torch.Tensor) -> None:
    for _ in range(8):
        if x.dtype == torch.int8:
            torch._int_mm(x, weight.T)
        else:
            torch.nn.functional.linear(x, weight)


@torch.inference_mode()
def _generate(model: LanguageModel, prompts: Sequence[Question], new_tokens: int) -> None:
    for question in prompts:
        ids = torch.tensor([model.tokens(question.prompt)], device=model.device)
        model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )


@torch.inference_mode()
def _one_by_one(model: LanguageModel, judge: LanguageModelJudge, rows: Questions) -> None:
    """The likelihood of each candidate by a forward pass over everything before it and itself."""
    scoring = judge.scoring
    assert isinstance(scoring, LikelihoodScoring)
    for question in judge.questions(*rows[:3]):
        prompt, lines = scoring.tokens(question)
        for line in lines:
            ids = torch.tensor([[*scoring.example_tokens, *prompt, *line]], device=model.device)
            logits = model.model(ids, use_cache=False, logits_to_keep=len(line) + 1).logits
            logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, -len(line) :, None]).sum()


def _with_sdpa(model: LanguageModel, judge: LanguageModelJudge, rows: Questions) -> None:
    ours = model.model.config._attn_implementation
    model.model.set_attn_implementation("sdpa")
    judge.scores(*rows[:3])
    model.model.set_attn_implementation(ours)


if __name__ == "__main__":
    show_notices()
    main(tyro.cli(Settings))
