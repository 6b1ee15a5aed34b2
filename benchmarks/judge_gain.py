"""What does a language model know of real choices, beyond popularity and text?

    python -m benchmarks.judge_gain --data my-shop --judge smollm2 --questions 300

Each question is a user's history and k candidates, one of which the user really took next; the
nested models of :mod:`llm_oracle.study.nested` predict which one.

The other candidates are drawn in two ways. Uniformly, as where a judge's accuracy is measured: most
are then things that hardly anyone takes, and popularity alone explains much. And by popularity: the
true choice is no more popular than the others then, and no model gains by telling hits from the
rest; what is left to know is what *this* user takes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from benchmarks.records import data_label, description_of, made_with
from benchmarks.tables import Estimate, Table, write_tables
from llm_oracle.judge import JudgeError
from llm_oracle.judges.build import build_judge
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.language_model.adapters import Quantization
from llm_oracle.language_model.evidence import LEAST_MASS
from llm_oracle.study.evaluate import Questions, choices_of, scores_of, users_of
from llm_oracle.study.nested import FOLDS, known_features, nested_models
from recsim_envs.arrays import FloatArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.store import load_data
from recsim_envs.errors import DataError
from recsim_envs.files import write_whole
from recsim_envs.notices import show_notices
from recsim_envs.provenance import git_revision

HISTORY = 12
"""Choices that TF-IDF sees; a language model may be shown fewer."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        data: a prepared name, or replica/lfm, replica/industry, replica/coat.
        judge: a language model, as `llm_oracle.judges.build.build_judge` names it: "smollm2",
            "smollm2@bare", a folder or a hub name, or a server's URL#MODEL.
        quantization: "nf4" keeps the weights of a model in this process in 4 bits.
        questions: from held-out sequences, for each way to draw the other candidates.
        k: candidates a question.
        folds: parts of the sequences; each is predicted by a fit on the others.
        seed: of the questions and of the judge's prompts.
        least_mass: total probability that the model must give the labels.
    """

    data: str = "replica/industry"
    judge: str = "smollm2"
    quantization: Quantization | None = None
    questions: int = 300
    k: int = 10
    folds: int = FOLDS
    seed: int = 0
    least_mass: float = LEAST_MASS


def main(
    settings: Settings,
    cache: Path = Path("runs/verdicts.sqlite"),
    output: Path = Path("runs/judge_gain"),
    api_key_env: str = "OPENAI_API_KEY",
    max_requests: int | None = None,
    threads: int = 1,
) -> None:
    """Measures, prints and writes the gains.

    Args:
        settings: what is measured.
        cache: file of stored verdicts; a second run of the same asks the language model nothing.
        output: folder for the table (Markdown and CSV) and the record (JSON).
        api_key_env: environment variable with a server's key; unset, none is sent.
        max_requests: how many requests may be sent to a server in all.
        threads: for a model in this process.

    Raises:
        DataError: if the judge has no scores.
    """
    torch.set_num_threads(threads)
    dataset = load_data(settings.data)
    judge = build_judge(
        settings.judge,
        dataset,
        quantization=settings.quantization,
        cache=cache,
        seed=settings.seed,
        api_key_env=api_key_env,
        max_requests=max_requests,
        least_mass=settings.least_mass,
    )
    if not isinstance(judge, LanguageModelJudge):
        raise DataError(
            f"judge {judge.name!r}: popularity and TF-IDF are in the table anyway: name a language "
            "model, such as smollm2"
        )
    table = gain_table(dataset, judge, settings)
    table.print()
    write_tables([table], output, table.name)
    record = {
        "settings": asdict(settings),
        "data": description_of(dataset),
        "judge": {"name": judge.name, "scoring": judge.scoring.name, **judge.model.describe()},
        **made_with(),
        "revision": git_revision(),
        "numbers": table.numbers,
    }
    write_whole(output / f"{table.name}.json", (json.dumps(record, indent=1) + "\n").encode())
    print(f"table and record in {output}")


def gain_table(dataset: Dataset, judge: LanguageModelJudge, settings: Settings) -> Table:
    """Asks the judge and compares the nested models, once a way to draw the other candidates."""
    # One more of each, or an item that nobody took could only be the true one.
    ways = {
        "any item": np.ones(dataset.n_items),
        "by popularity": dataset.popularity.astype(np.float64) + 1,
    }
    rows: list[tuple[str, ...]] = []
    numbers, n_sequences = [], 0
    for way, weights in ways.items():
        questions = draw_questions(dataset, weights, settings.questions, settings.k, settings.seed)
        n_sequences = len(np.unique(questions.sequences))
        known, scores = known_features(dataset, questions), scores_of(judge, questions)
        rows.append((way, "chance", f"{-np.log(settings.k):.3f}", f"{1 / settings.k:.3f}", ""))
        for found in nested_models(known, [(judge.name, scores)], questions, settings.folds):
            cells = []
            for measure, figure in (
                ("log-likelihood", found.log_likelihood),
                ("accuracy", found.accuracy),
                ("gain", found.gain),
            ):
                mean = Estimate(*figure, n=n_sequences)
                cells.append(mean.printed(3, sign=measure == "gain"))
                about = {"candidates": way, "model": found.model, "measure": measure}
                numbers.append({"data": dataset.name, **about, **asdict(mean)})
            rows.append(("", found.model, *cells))
    versions = made_with()["versions"]
    notes = (
        f"{settings.questions} questions of {n_sequences} held-out sequences, {settings.k} "
        "candidates; log-likelihood in nats a question; gain: over the row above",
        f"{settings.folds} parts of the sequences, each predicted by a fit on the others; a "
        f"feature that tells nothing costs about {0.5 / settings.questions:.4f} nats",
        "[..] 95% interval from resampling the sequences, with the fits as they are",
        f"data: {data_label(description_of(dataset))}; judge {judge.name}; seed {settings.seed}",
        f"revision {git_revision()}; {', '.join(f'{name} {versions[name]}' for name in versions)}",
    )
    return Table(
        name=f"judge_gain_{dataset.name}_{judge.name}".replace("/", "-"),
        title=f"What {judge.name} adds as a judge, {data_label(description_of(dataset))}",
        columns=("other candidates", "model", "log-likelihood", "accuracy", "gain"),
        rows=tuple(rows),
        notes=notes,
        numbers=tuple(numbers),
    )


def draw_questions(dataset: Dataset, weights: FloatArray, n: int, k: int, seed: int) -> Questions:
    """Draws as :func:`llm_oracle.study.evaluate.next_item_questions` does, but with weights.

    The same seed draws the same histories and true choices, whatever the weights; so the others
    have a stream of random numbers of their own, and the two functions draw other questions.

    Args:
        dataset: whose held-out sequences are asked about.
        weights: (n_items,) above 0, of an item among the other candidates.
        n: number of questions; sequences are drawn with replacement.
        k: candidates a question.
        seed: of all draws.

    Raises:
        DataError: if no held-out sequence has two choices, or the catalogue is too small for k.
    """
    choices = choices_of(dataset)
    usable = [number for number in dataset.held_out if len(choices[number]) > 1]
    if not usable:
        raise DataError("none of the held-out sequences holds two choices: take other data")
    points, others = np.random.default_rng(seed).spawn(2)
    sequences = points.choice(usable, n)
    histories = np.full((n, HISTORY), dataset.n_items, dtype=np.int64)
    slates = np.empty((n, k), dtype=np.int64)
    answers = points.integers(k, size=n)
    for row, sequence in enumerate(sequences):
        items = choices[sequence]
        now = points.integers(1, len(items))
        past = items[max(0, now - HISTORY) : now]
        histories[row, HISTORY - len(past) :] = past
        new = np.setdiff1d(np.arange(dataset.n_items), items)
        if len(new) < k - 1:
            raise DataError(f"k={k}, but only {len(new)} items are new to a user: lower k")
        drawn = others.choice(new, k - 1, replace=False, p=weights[new] / weights[new].sum())
        slates[row] = np.insert(drawn, answers[row], items[now])
    return Questions(histories, slates, users_of(dataset, sequences), answers, sequences)


if __name__ == "__main__":
    show_notices()
    try:
        tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
    except (DataError, JudgeError) as error:
        sys.exit(f"benchmarks.judge_gain: {error}")
