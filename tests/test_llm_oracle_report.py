"""Judge cards with known answers, and the commands around judges."""

import json
import re
import sys

import numpy as np
import pytest
from scipy.special import log_softmax

from llm_oracle import PopularityJudge, cli
from llm_oracle.cache import cache_stats
from llm_oracle.calibration import Calibration
from llm_oracle.judges.build import build_judge
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.language_model.evidence import LabelAnswer
from llm_oracle.language_model.local import LanguageModel
from llm_oracle.language_model.server import Server
from llm_oracle.study.evaluate import next_item_questions
from llm_oracle.study.report import compare_judges, print_report
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame
from recsim_envs.errors import DataError

N, K = 400, 5


class FirstJudge:
    """Takes whatever stands first: all position bias."""

    name = "first"

    def __init__(self, n_items):
        self.n_items = n_items

    def choose(self, histories, slates, users=None):
        return np.zeros(len(slates), dtype=np.int64)


class Knowing:
    """A model that likes the ring's next item by ``nats``."""

    card, item_length, user_length, prompt_length = None, 100, 100, 10_000

    def __init__(self, nats):
        self.label, self.nats = f"knowing {nats}", nats

    def cut(self, texts, length):
        return texts

    def length(self, prompt):
        return len(prompt)

    def spent(self):
        return ""

    def scoring_name(self, asked):
        return "label"

    def beginning(self, prompts):
        return None

    def label_answers(self, prompts, labels, least_mass, beginning):
        for number, prompt in enumerate(prompts):
            *_, last, options = np.split(items_in(prompt), [-len(labels), 1 - len(labels)])
            following = 5 * (last[-1] // 5) + (last[-1] + 1) % 5
            utilities = np.append(self.nats * (options == following), 0.0)  # none of them: 0
            yield number, LabelAnswer(log_softmax(utilities).astype(np.float32), 1.0)


def items_in(prompt):
    return np.array([int(item) for item in re.findall(r"item (\d+) of ring", prompt)])


@pytest.fixture(scope="module")
def report(chains):
    sure = Calibration(scale=1.0, none=3.0)
    judges = [
        FirstJudge(20),
        PopularityJudge(chains),
        LanguageModelJudge(chains, Knowing(6.0), calibration=sure),
        LanguageModelJudge(chains, Knowing(1.0), calibration=sure),
    ]
    return compare_judges(judges, chains, N, K, dollars_per_hour=2.0)


def test_accuracy_none_and_position_bias(report):
    first, popular, knowing, weak = report.cards
    assert first.position_bias == pytest.approx(1 - 1 / K)
    assert first.flips == pytest.approx(1 - 1 / K, abs=0.08)
    low, high = first.interval
    assert low < 1 / K < high
    assert (first.none_rate, first.none_rate_without) == (0.0, 0.0)
    assert first.calibration_error is None
    assert popular.flips < 0.2  # ties only
    assert knowing.accuracy == 1.0
    assert knowing.flips == 0.0
    assert knowing.position_bias < 0.1
    assert (knowing.none_rate, knowing.none_rate_without) == (0.0, 1.0)
    assert weak.none_rate == 1.0
    assert report.agreement[2][3] == 0.0
    assert report.agreement[2][2] == 1.0
    assert report.agreement[0][2] == first.accuracy


def test_calibration_error_is_what_confidence_and_accuracy_differ_by(report):
    _, _, knowing, weak = report.cards
    for card, nats in ((knowing, 6.0), (weak, 1.0)):
        confidence = np.exp(nats) / (np.exp(nats) + K - 1)
        assert card.calibration_error == pytest.approx(1 - confidence, abs=1e-5)


def test_speed_and_cost(report, chains, capsys):
    for card in report.cards:
        assert card.minutes_per_1000 == pytest.approx(1000 / card.prompts_per_second / 60)
        assert card.dollars_per_1000 == pytest.approx(card.minutes_per_1000 / 60 * 2.0)
    print_report(report)
    table = capsys.readouterr().out
    assert "REPLICA" in table and "chance 20%" in table and "knowing" in table


def test_speed_is_not_reported_from_a_cache(chains, tiny_llama, tmp_path):
    model, file = LanguageModel(tiny_llama), tmp_path / "v.sqlite"
    judges = [LanguageModelJudge(chains, model, least_mass=0.0, cache=file) for _ in range(2)]
    cards = [compare_judges([judge], chains, 4, 3).cards[0] for judge in judges]
    assert 0 < cards[0].label_mass < 1
    assert cards[1].label_mass is None
    assert cards[0].prompts_per_second > 0
    assert cards[1].prompts_per_second is None
    assert cards[1].accuracy == cards[0].accuracy


def test_judges_are_built_by_name(chains, tiny_llama):
    assert build_judge("tfidf", chains).name == "tfidf"
    assert build_judge(f"{tiny_llama}@bare", chains).name == f"{tiny_llama.name}/label"
    server = build_judge("http://localhost:1/v1#some/model", chains)
    assert isinstance(server.model, Server)
    assert server.model.url == "http://localhost:1/v1/completions"
    assert (server.model.model, server.name) == ("some/model", "model/server/label")
    chat = build_judge("http://localhost:1/v1/chat/completions#a@1@answer", chains)
    assert chat.model.url == "http://localhost:1/v1/chat/completions"
    assert (chat.model.model, chat.name) == ("a@1", "a@1/server/answer")
    with pytest.raises(DataError, match="names no model: write"):
        build_judge("http://localhost:1/v1", chains)
    popular = build_judge("popularity", chains)
    assert popular.counts.sum() == 8 * len(chains.train)  # training sequences only


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["recsim", *map(str, arguments)])
    cli.main()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_the_commands_tune_report_and_look_after_the_cache(
    tiny_llama, tmp_path, monkeypatch, capsys
):
    small = "--questions 8 --k 3 --calibration-questions 8 --test-questions 4 --rank 2".split()
    adapter = tmp_path / "adapter"
    run(monkeypatch, "tune-judge", adapter, "--data", "replica/coat", "--model", tiny_llama,
        "--device", "cpu", *small)  # fmt: skip
    out = capsys.readouterr().out
    assert f"{tiny_llama.name}/likelihood/tuned" in out and "chance" in out

    cache = tmp_path / "verdicts.sqlite"
    judges = ("popularity", "tfidf", f"{tiny_llama}@{adapter}")
    run(monkeypatch, "judge-report", "replica/coat", "--judges", *judges, "--n", 6, "--k", 3,
        "--cache", cache, "--output", tmp_path / "report")  # fmt: skip
    out = capsys.readouterr().out
    assert "REPLICA" in out and "tfidf" in out
    saved = json.loads((tmp_path / "report" / "replica-coat.json").read_text())
    assert [card["judge"] for card in saved["cards"]][0] == "popularity"
    assert saved["data_hash"] and saved["revision"] and saved["versions"]["peft"]
    assert (tmp_path / "report" / "replica-coat.png").stat().st_size > 10_000

    run(monkeypatch, "cache", "stats", cache)
    assert " verdicts " in capsys.readouterr().out
    n = sum(row["verdicts"] for row in cache_stats(cache))  # and priors
    run(monkeypatch, "cache", "export", cache, tmp_path / "verdicts.jsonl")
    lines = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert len(lines) == n > 0
    assert set(json.loads(lines[0])) == {"judge", "question", "scores", "time"}
    with pytest.raises(SystemExit):
        run(monkeypatch, "cache", "prune", cache)
    assert "nothing chosen" in capsys.readouterr().err
    run(monkeypatch, "cache", "prune", cache, "--older-than-days", 1)
    assert "0 verdicts deleted" in capsys.readouterr().out
    run(monkeypatch, "cache", "prune", cache, "--all")
    assert f"{n} verdicts deleted" in capsys.readouterr().out
    for wrong in (("cache", "stats", tmp_path / "none"), ("judge-report", "replica/shoes")):
        with pytest.raises(SystemExit, match="^recsim: "):
            run(monkeypatch, *wrong)


def test_questions_that_cannot_be_asked_are_refused():
    lonely = from_frame(
        "lonely",
        {"sequence_id": [0, 1], "item_id": [0, 1]},
        {"item_id": [0, 1], "t": ["a", "b"]},
        text="t",
        reading=Reading(min_length=1, rows_in_order=True),
    )
    with pytest.raises(DataError, match="holds two choices"):
        next_item_questions(lonely, 1)
