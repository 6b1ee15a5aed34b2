"""Tunes a judge with LoRA on real choices, as in section 5.4 of the paper: `recsim tune-judge`.

1. Questions are drawn from the training sequences: the true next item among sampled ones, and a
   share without it, whose answer is "None of them".
2. The bare judge's calibration is fitted, and the bare judge measured on held-out sequences.
3. LoRA weights are trained by cross-entropy on the k + 1 choice probabilities.
4. The tuned judge's calibration is fitted on other training questions, and it is measured.

Everything is seeded, and an interrupted run continues: verdicts are in a cache, and the training
has checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig
from torch import Tensor
from tqdm.auto import trange

from llm_oracle.judge import Judge
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.judges.simple import PopularityJudge, TfidfJudge
from llm_oracle.language_model.adapters import AdapterCard, TuneSettings
from llm_oracle.language_model.local import LanguageModel
from llm_oracle.scoring.label import LabelScoring
from llm_oracle.scoring.likelihood import LikelihoodScoring
from llm_oracle.study.choice_model import fit_calibration
from llm_oracle.study.evaluate import Questions, mixed_questions, next_item_accuracy, scores_of
from llm_oracle.texts.prompts import TEMPLATE_VERSIONS
from llm_oracle.texts.questions import Question
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import read_json, read_whole, write_whole
from recsim_envs.trees import from_bytes, to_bytes

CHECKPOINT = "checkpoint.safetensors"
FORMAT = 1
KINDS = {"step": int, "weights": dict, "moments": dict, "schedule": dict}
CHECKPOINT_EVERY = 10
LEAST_SCALE = 0.1
"""In training. A judge that knows nothing yet is calibrated to a scale near 0, which would also
scale away the gradient from which it is to learn."""


class Example(NamedTuple):
    """A question to train on: which judge asks it, and the right one of its k + 1 answers."""

    judge: LanguageModelJudge
    question: Question
    log_counts: NDArray[np.float64]  # (k,)
    answer: int


def tune_judge(
    datasets: Sequence[Dataset], folder: Path, settings: TuneSettings, device: str | None = None
) -> AdapterCard:
    """Tunes a judge on ``datasets`` and writes the adapter and its card into ``folder``.

    Returns:
        The card, with the accuracies before and after on the held-out sequences of each data set.

    Raises:
        DataError: if ``folder`` holds an unfinished tuning with other settings or data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, {**asdict(settings), "data": {data.name: data.hash for data in datasets}})
    figures: dict[str, list[dict[str, Any]]] = {}
    bare = LanguageModel(
        settings.model,
        quantization=settings.quantization,
        adapter=None,
        device=device,
        trainable=True,
    )
    judges = [make_judge(data, bare, settings, folder) for data in datasets]
    for data, judge in zip(datasets, judges, strict=True):
        calibrate(judge, data, settings, seed=settings.seed + 1)
        baselines: list[Judge] = [PopularityJudge(data, judge.counts), TfidfJudge(data)]
        figures[data.name] = [measure(each, data, settings) for each in [*baselines, judge]]

    train_lora(bare, judges, datasets, folder, settings)

    card = AdapterCard(
        model=settings.model,
        scoring=settings.scoring,
        max_history=settings.max_history,
        calibrations={judge.scenario: judge.calibration for judge in judges},
        data={data.name: data.hash for data in datasets},
        settings=asdict(settings),
        template=TEMPLATE_VERSIONS[settings.scoring],
    )
    card.save(folder)  # a model reads it with the weights
    tuned = LanguageModel(
        settings.model, quantization=settings.quantization, adapter=folder, device=device
    )
    for data in datasets:
        judge = make_judge(data, tuned, settings, folder)
        calibrate(judge, data, settings, seed=settings.seed + 2)
        card.calibrations[judge.scenario] = judge.calibration
        figures[data.name].append(measure(judge, data, settings))
    card = replace(card, figures=figures)
    card.save(folder)
    return card


def make_judge(
    data: Dataset, model: LanguageModel, settings: TuneSettings, folder: Path
) -> LanguageModelJudge:
    """A judge on the loaded ``model`` that knows popularity from the training sequences only."""
    return LanguageModelJudge(
        data,
        model,
        settings.scoring,
        max_history=settings.max_history,
        least_mass=0.0,  # tuning is what teaches a model to write labels
        seed=settings.seed,
        cache=folder / "verdicts.sqlite",
    )


def measure(judge: Judge, data: Dataset, settings: TuneSettings) -> dict[str, Any]:
    """Accuracy on held-out sequences, see :func:`llm_oracle.study.evaluate.next_item_accuracy`."""
    found = next_item_accuracy(judge, data, settings.test_questions, settings.k)
    return asdict(found)


def draw_questions(
    data: Dataset, n: int, settings: TuneSettings, seed: int
) -> tuple[Questions, NDArray[np.float64]]:
    """Draws questions from training sequences, and each candidate's log popularity.

    The true item does not count itself: to know that somebody took it is the question. Where the
    question has no true item, its answer is -1.
    """
    drawn = mixed_questions(data, n, settings.k, settings.none_share, seed, data.train)
    counts = data.popularity[drawn.slates].astype(float)  # (n, k)
    rows = np.flatnonzero(drawn.answers >= 0)
    counts[rows, drawn.answers[rows]] -= 1
    return drawn, np.log1p(counts)


def calibrate(judge: LanguageModelJudge, data: Dataset, settings: TuneSettings, seed: int) -> None:
    """Fits the judge's calibration on training questions, by maximum likelihood."""
    n = settings.calibration_questions
    drawn, log_counts = draw_questions(data, n, settings, seed)
    scores = scores_of(judge, drawn)
    judge.calibration = fit_calibration(scores, log_counts, drawn.answers, settings.popularity)


def train_lora(
    model: LanguageModel,
    judges: Sequence[LanguageModelJudge],
    datasets: Sequence[Dataset],
    folder: Path,
    settings: TuneSettings,
) -> None:
    """Trains LoRA weights and writes them into ``folder``, with checkpoints on the way."""
    examples = draw_examples(judges, datasets, settings)
    torch.manual_seed(settings.seed)
    network = model.model
    rank = settings.rank
    network.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=settings.learning_rate, weight_decay=0.0)
    steps = settings.epochs * len(examples) // settings.batch_size
    warm_up = max(1, steps // 20)

    def rate(step: int) -> float:
        return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    start = _resume(folder, weights, optimizer, schedule)
    orders = [
        np.random.default_rng([settings.seed, e]).permutation(len(examples))
        for e in range(settings.epochs)
    ]
    order = np.concatenate(orders)
    network.train()
    progress = trange(start, steps, initial=start, total=steps, desc="tuning", unit="step")
    for step in progress:
        first = step * settings.batch_size
        batch = [examples[i] for i in order[first : first + settings.batch_size]]
        total = 0.0
        for example in batch:
            loss = -utilities(model, example).log_softmax(dim=0)[example.answer] / len(batch)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{total:.3f}")
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            _checkpoint(folder, step + 1, weights, optimizer, schedule)
    network.eval()
    for weight in weights.values():  # half the file; peft loads it into float32 again
        weight.data = weight.data.bfloat16()
    network.save_pretrained(folder)
    # A folder of this machine would mean nothing to whoever gets the adapter.
    config = read_json(folder / "adapter_config.json")
    config["base_model_name_or_path"] = Path(settings.model).name
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


def utilities(model: LanguageModel, example: Example) -> Tensor:
    """The k + 1 utilities of a question's answers, with gradients to the adapter.

    For "label" they are the labels' own log-probabilities up to a constant, as in the paper, and
    what the calibration knows of popularity.
    """
    scoring, rule = example.judge.scoring, example.judge.calibration
    assert isinstance(scoring, LabelScoring | LikelihoodScoring)
    scores = scoring.training_scores(model, example.question)
    scale = 1.0 if scoring.name == "label" else max(rule.scale, LEAST_SCALE)
    log_counts = torch.from_numpy(example.log_counts).to(scores)
    chosen = scale * scores + rule.popularity * log_counts
    return torch.cat([chosen, chosen.new_tensor([rule.none])])


def draw_examples(
    judges: Sequence[LanguageModelJudge], datasets: Sequence[Dataset], settings: TuneSettings
) -> list[Example]:
    """Draws the questions to train on; see :func:`draw_questions`."""
    examples = []
    for judge, data in zip(judges, datasets, strict=True):
        drawn, log_counts = draw_questions(data, settings.questions, settings, settings.seed + 3)
        questions = judge.questions(drawn.histories, drawn.slates, drawn.users)
        if isinstance(judge.scoring, LikelihoodScoring):
            judge.scoring.priors(drawn.slates)  # all at once, in full batches
        answers = np.where(drawn.answers < 0, settings.k, drawn.answers)
        examples += [
            Example(judge, question, row, int(answer))
            for question, row, answer in zip(questions, log_counts, answers, strict=True)
        ]
    return examples


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Notes what a folder is used for; refuses one that is used for something else."""
    file = folder / "settings.json"
    text = json.dumps(settings, indent=1) + "\n"
    if file.is_file() and file.read_text() != text:
        raise DataError(
            f"{folder} holds a tuning with other settings or data, see {file}: use another folder"
        )
    file.write_text(text)


def _checkpoint(
    folder: Path, step: int, weights: dict[str, Tensor], optimizer: Any, schedule: Any
) -> None:
    state = {
        "format": FORMAT,
        "step": step,
        # NumPy has no bfloat16, and float32 holds each of its values.
        "weights": {name: weight.float() for name, weight in weights.items()},
        # The rest of the optimizer follows from the settings.
        "moments": {
            i: {name: value.float() for name, value in of_weight.items()}
            for i, of_weight in optimizer.state_dict()["state"].items()
        },
        "schedule": {k: v for k, v in schedule.state_dict().items() if k != "lr_lambdas"},
    }
    write_whole(folder / CHECKPOINT, to_bytes(state))


@torch.no_grad()
def _resume(folder: Path, weights: dict[str, Tensor], optimizer: Any, schedule: Any) -> int:
    file = folder / CHECKPOINT
    if not file.is_file():
        return 0
    state = from_bytes(read_whole(file), file, FORMAT, KINDS)
    try:
        for name, weight in weights.items():
            weight.copy_(torch.from_numpy(state["weights"][name]))
        moments = {
            int(i): {name: torch.tensor(value) for name, value in of_weight.items()}
            for i, of_weight in state["moments"].items()
        }
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        schedule.load_state_dict({**state["schedule"], "lr_lambdas": [None]})
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = rate
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedFileError(
            f"{file} is not of this tuning ({error}): delete it to start from the beginning"
        ) from error
    return int(state["step"])
