"""The command ``recsim``: data sets, judges, their verdicts and what was recorded of them."""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from llm_oracle.cache import cache_stats, prune_verdicts, read_verdicts
from llm_oracle.judge import JudgeError
from llm_oracle.language_model.adapters import Quantization, TuneSettings
from llm_oracle.language_model.evidence import LEAST_MASS
from recsim_envs.cli import (
    download_command,
    env_report_command,
    list_command,
    play_command,
    prepare_command,
)
from recsim_envs.data.store import load_data
from recsim_envs.doctor import doctor_command
from recsim_envs.errors import DataError
from recsim_envs.notices import show_notices

DAY = 24 * 3600
COMPLAINTS = (
    DataError,
    JudgeError,
    ModuleNotFoundError,
    OSError,
    sqlite3.DatabaseError,
)
"""What a user can mend: it ends a command in one line."""


def tune_judge_command(
    output: tyro.conf.Positional[Path],
    data: tuple[str, ...],
    settings: Annotated[TuneSettings, tyro.conf.arg(name="")] = TuneSettings(),  # noqa: B008
    device: str | None = None,
) -> None:
    """Tunes a language-model judge with LoRA on real choices; an interrupted run continues.

    Afterwards `LanguageModel(MODEL, adapter=OUTPUT)` uses it.

    Args:
        output: folder for the adapter, its card and the checkpoints.
        data: prepared names, or replica/lfm, replica/industry, replica/coat.
        settings: how it is tuned.
        device: where the model runs; default CUDA where there is one, else the CPU.
    """
    from llm_oracle.study.tune import tune_judge

    card = tune_judge([load_data(name) for name in data], output, settings, device)
    for name, rows in card.figures.items():
        for row in rows:
            print(
                f"{name}: {row['judge']:<30} accuracy {row['accuracy']:.1%}, None "
                f"{row['none_rate']:.0%} with and {row['none_rate_without']:.0%} without the item"
            )
        print(f"{name}: chance{'':<25} accuracy {1 / settings.k:.1%}")
    print(f"adapter and card in {output}")


@dataclass(frozen=True)
class JudgeOptions:
    """How judges are built.

    Attributes:
        quantization: nf4 keeps the weights of models in this process in 4 bits.
        api_key_env: environment variable with a server's key; unset, none is sent.
        max_requests: how many requests may be sent to each server.
        dollars_per_million_tokens: price of a server's tokens, to show what is spent.
        least_mass: total probability that a model must give the labels, or its answer is an error.
    """

    quantization: Quantization | None = None
    api_key_env: str = "OPENAI_API_KEY"
    max_requests: int | None = None
    dollars_per_million_tokens: float | None = None
    least_mass: float = LEAST_MASS


Options = Annotated[JudgeOptions, tyro.conf.arg(name="")]
DEFAULT = JudgeOptions()


def calibrate_judge_command(
    data: tyro.conf.Positional[str],
    judge: str,
    output: Path,
    n: int = 300,
    k: int = 10,
    none_share: float = 0.1,
    seed: int = 0,
    options: Options = DEFAULT,
    cache: Path | None = None,
) -> None:
    """Fits how a judge's scores and popularity weigh, on choices of one data set, without tuning.

    Afterwards `--calibration OUTPUT` uses it. One half of the held-out sequences fits it, the other
    measures what it brings.

    Args:
        data: a prepared name, or replica/lfm, replica/industry, replica/coat.
        judge: as for `recsim judge-report`; popularity and tfidf too.
        output: the JSON file to write.
        n: questions of each half.
        k: candidates a question.
        none_share: share of the questions whose answer is "None of them".
        seed: of the questions.
        options: how the judge is built.
        cache: file of stored verdicts; with one, an interrupted run continues.
    """
    from llm_oracle.judges.build import build_judge
    from llm_oracle.study.calibrate import calibrate_judge, print_calibration

    dataset = load_data(data)
    built = build_judge(judge, dataset, cache=cache, **asdict(options))
    card = calibrate_judge(built, dataset, n, k, none_share, seed)
    print_calibration(card, built.name)
    card.save(output)
    print(f"calibration in {output}")


def judge_report_command(
    data: tyro.conf.Positional[str],
    judges: tuple[str, ...] = ("popularity", "tfidf", "smollm2"),
    n: int = 300,
    k: int = 10,
    seed: int = 0,
    options: Options = DEFAULT,
    calibration: tuple[Path, ...] = (),
    dollars_per_hour: float | None = None,
    cache: Path | None = None,
    output: Path = Path("runs/judges"),
) -> None:
    """Compares judges on the held-out sequences of one data set.

    Args:
        data: a prepared name, or replica/lfm, replica/industry, replica/coat.
        judges: popularity, tfidf, smollm2, a folder or hub name (with @FOLDER for an adapter,
            @bare for none), or a server's URL#MODEL: http://localhost:8000/v1#MODEL, ending in
            /v1/chat/completions#MODEL for a chat, in #MODEL@answer for one without
            log-probabilities.
        n: questions with the true next item, and as many without it.
        k: candidates a question.
        seed: of the questions.
        options: how judges are built.
        calibration: files of `recsim calibrate-judge`, each for the judge that it was fitted for.
            With one, all questions are of the half of the sequences that fitted none.
        dollars_per_hour: price of this machine, for the cost of 1,000 verdicts.
        cache: file of stored verdicts; speeds are reported only for what was not in it. Default one
            that is deleted afterwards.
        output: folder for the JSON record and the plot.
    """
    from llm_oracle.judges.build import build_judge
    from llm_oracle.judges.calibrated import CalibrationCard, apply_all
    from llm_oracle.study.calibrate import halves
    from llm_oracle.study.report import compare_judges, plot_report, print_report

    dataset = load_data(data)
    cards = {file: CalibrationCard.load(file) for file in calibration}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # Some figures ask a question again.
        file = cache or Path(scratch) / "verdicts.sqlite"
        built = [build_judge(name, dataset, cache=file, **asdict(options)) for name in judges]
        apply_all(cards, built, dataset)
        sequences = halves(dataset)[1] if cards else None
        report = compare_judges(built, dataset, n, k, seed, dollars_per_hour, sequences)
    print_report(report)
    stem = data.replace("/", "-")
    report.save(output / f"{stem}.json")
    plot_report(report, output / f"{stem}.png")
    print(f"record and plot in {output}")


def export_minari_command(
    file: tyro.conf.Positional[Path], name: tyro.conf.Positional[str]
) -> None:
    """Writes recorded interactions as a Minari data set; see docs/offline-data.md.

    The model is not asked, nor even loaded. An existing data set is not touched.

    Args:
        file: what `RecordInteractions.save` or a benchmark's pre-training wrote.
        name: the data set's Minari id, such as my-shop/smollm2-v0.
    """
    from llm_oracle.interactions import Interactions
    from llm_oracle.minari_export import export_minari

    interactions = Interactions.load(file)
    folder = export_minari(interactions, name)
    begins = interactions.steps["begins"]
    print(f"{begins.sum()} sessions of {begins.size} interactions written to {folder}")


def cache_stats_command(file: tyro.conf.Positional[Path]) -> None:
    """Shows what a verdict cache holds.

    Args:
        file: the cache.
    """
    for row in cache_stats(file):
        first, last = (_when(row[key]) for key in ("first", "last"))
        print(f"{row['verdicts']:>8} verdicts  {first} .. {last}  {json.dumps(row['judge'])}")
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def cache_export_command(
    file: tyro.conf.Positional[Path], output: tyro.conf.Positional[Path]
) -> None:
    """Writes every verdict as a line of JSON: judge, question, scores in nats, time.

    Args:
        file: the cache.
        output: the JSON Lines file to write.
    """
    n = 0
    with output.open("w") as stream:
        for verdict in read_verdicts(file):
            stream.write(json.dumps(verdict, ensure_ascii=False) + "\n")
            n += 1
    print(f"{n} verdicts written to {output}")


def cache_prune_command(
    file: tyro.conf.Positional[Path],
    older_than_days: float | None = None,
    model: str | None = None,
    all: bool = False,
) -> None:
    """Deletes verdicts.

    Args:
        file: the cache.
        older_than_days: delete only what is older.
        model: delete only the verdicts of judges on this model.
        all: delete everything.
    """
    if not all and older_than_days is None and model is None:
        raise DataError("nothing chosen: give --older-than-days, --model, or --all")
    before = None if older_than_days is None else time.time() - older_than_days * DAY
    print(f"{prune_verdicts(file, before, model)} verdicts deleted from {file}")


def cache_command(
    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Any, tyro.conf.subcommand("stats", constructor=cache_stats_command)]
        | Annotated[Any, tyro.conf.subcommand("export", constructor=cache_export_command)]
        | Annotated[Any, tyro.conf.subcommand("prune", constructor=cache_prune_command)]
    ],
) -> None:
    """Looks after a file of stored verdicts."""


def _when(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds).isoformat(" ", "minutes")


def main() -> None:
    """Runs the command line; bad input ends with one line that says what is wrong."""
    commands: dict[str, Callable[..., Any]] = {
        "download": download_command,
        "prepare": prepare_command,
        "list": list_command,
        "env-report": env_report_command,
        "tune-judge": tune_judge_command,
        "calibrate-judge": calibrate_judge_command,
        "judge-report": judge_report_command,
        "cache": cache_command,
        "export-minari": export_minari_command,
        "play": play_command,
        "doctor": doctor_command,
    }
    show_notices()
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="recsim")
    except COMPLAINTS as error:
        sys.exit(f"recsim: {error}")
