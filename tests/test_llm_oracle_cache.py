"""The verdict cache: several processes, kill -9, and a second run that asks nothing."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import local_judge

from llm_oracle.cache import (
    VerdictCache,
    cache_stats,
    prune_verdicts,
    question_key,
    read_verdicts,
)
from llm_oracle.calibration import Calibration
from llm_oracle.judge import JudgeError
from llm_oracle.language_model.passes import SharedPrefix
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame

JUDGE = {"model": "m", "weights": "1"}


def test_what_is_stored_is_found_again_by_its_judge_only(tmp_path):
    file = tmp_path / "new" / "verdicts.sqlite"
    scores = np.array([1.5, -2.0], dtype=np.float32)
    VerdictCache(file, JUDGE).put("q", scores)
    again = VerdictCache(file, dict(reversed(JUDGE.items())))
    assert again.get("q").tolist() == [1.5, -2.0]
    assert again.get("other") is None
    assert VerdictCache(file, JUDGE | {"weights": "2"}).get("q") is None


def test_the_first_answer_stands(tmp_path):
    file = tmp_path / "verdicts.sqlite"
    first, second = VerdictCache(file, JUDGE), VerdictCache(file, JUDGE)
    first.put("q", np.array([1.0]))
    assert second.put("q", np.array([2.0])).tolist() == [1.0]


def test_a_file_that_is_something_else_is_named(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("milk, eggs, " * 100)
    with pytest.raises(sqlite3.DatabaseError, match="notes.txt cannot be used"):
        VerdictCache(file, JUDGE)
    assert file.read_text().startswith("milk")
    with pytest.raises(FileNotFoundError, match=r"gone\.sqlite is no file"):
        cache_stats(tmp_path / "gone.sqlite")


def test_stats_export_and_prune(tmp_path):
    file = tmp_path / "verdicts.sqlite"
    old, new = VerdictCache(file, JUDGE), VerdictCache(file, {"model": "n"})
    for i in range(3):
        old.put(json.dumps(["prompt", str(i)]), np.array([i]))
    cut = time.time()
    new.put(json.dumps(["prompt", "x"]), np.array([0.5]))
    stats = cache_stats(file)
    assert [(row["judge"], row["verdicts"]) for row in stats] == [(JUDGE, 3), ({"model": "n"}, 1)]
    assert stats[0]["first"] <= stats[0]["last"] <= cut <= stats[1]["first"]
    exported = list(read_verdicts(file))
    assert [row["scores"] for row in exported] == [[0.0], [1.0], [2.0], [0.5]]
    assert exported[3]["question"] == ["prompt", "x"]
    assert exported[3]["judge"] == {"model": "n"}
    assert prune_verdicts(file, before=cut, model="n") == 0
    assert prune_verdicts(file, before=cut) == 3
    assert [row["verdicts"] for row in cache_stats(file)] == [1]
    assert prune_verdicts(file) == 1
    assert cache_stats(file) == []


def write_many(file, name):
    cache = VerdictCache(file, JUDGE)
    for i in range(200):
        cache.put(f"{name if i % 2 else 'shared'} {i}", np.array([i]))


def test_several_processes_share_a_file(tmp_path):
    file = tmp_path / "verdicts.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(file, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert cache_stats(file)[0]["verdicts"] == 100 + 2 * 100


def test_threads_that_make_a_file_at_once_wait_for_each_other(tmp_path):
    together = threading.Barrier(4)

    def open_new(file):
        together.wait()
        VerdictCache(file, JUDGE)

    with ThreadPoolExecutor(4) as pool:
        for i in range(40):
            list(pool.map(open_new, [tmp_path / f"{i}.sqlite"] * 4))


WRITER = """
import sys, numpy as np
from pathlib import Path
from llm_oracle.cache import VerdictCache
cache = VerdictCache(Path(sys.argv[1]), {"model": "m"})
i = 0
while True:
    stored = cache.put(f"question {i}", np.array([i]))
    print(int(stored[0]), flush=True)  # "used"
    i += 1
"""


@pytest.mark.parametrize("kill_after", [0.0, 0.2])
def test_a_killed_writer_leaves_what_it_used(tmp_path, kill_after):
    file = tmp_path / "verdicts.sqlite"
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "0\n"
        time.sleep(kill_after)
        os.kill(writer.pid, signal.SIGKILL)
        used = 1 + writer.stdout.read().count("\n")
    cache = VerdictCache(file, {"model": "m"})
    assert [int(cache.get(f"question {i}")[0]) for i in range(used)] == list(range(used))
    cache.put("afterwards", np.array([1.0]))
    check = sqlite3.connect(file)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


@pytest.fixture
def dataset():
    titles = [f"thing {i}" for i in range(30)]
    interactions = {"sequence_id": [0, 0], "item_id": [0, 1]}
    items = {"item_id": range(30), "title": titles}
    return from_frame("toy", interactions, items, text="title", reading=Reading(rows_in_order=True))


@pytest.mark.parametrize("scoring", ["label", "likelihood"])
def test_a_second_run_asks_the_model_nothing(dataset, tiny_llama, tmp_path, scoring, asked):
    rng = np.random.default_rng(0)
    histories = rng.integers(0, 30, (8, 4))
    slates = np.stack([rng.choice(30, 5, replace=False) for _ in histories])
    options = {"scoring": scoring, "cache": tmp_path / "verdicts.sqlite"}
    first = local_judge(dataset, tiny_llama, **options)
    scores = first.scores(histories, slates)
    without = local_judge(dataset, tiny_llama, scoring=scoring)
    assert scores == pytest.approx(without.scores(histories, slates), abs=0.05)

    # Verdicts of earlier versions are found by this; the label's prompt is another since.
    version = {"label": "2", "likelihood": "1"}[scoring]
    about = {"quantization": None, "adapter": None, "scoring": scoring, "template": version}
    assert about.items() <= first.cache.judge.items()
    assert first.cache.judge.keys() - about.keys() == {"model", "weights", "dtype"}
    asked.clear()
    second = local_judge(dataset, tiny_llama, calibration=Calibration(none=1.0), **options)
    assert np.array_equal(second.scores(histories, slates), scores)
    assert sum(asked) == 0
    slates[3] = slates[3][::-1]  # another question
    second.scores(histories, slates)
    assert sum(asked) == 1


@pytest.mark.parametrize("scoring", ["label", "likelihood"])
def test_verdicts_of_the_first_prompts(dataset, tiny_llama, tmp_path, scoring, asked):
    """Those of likelihoods are found, those of labels kept, listed and not taken for new ones."""
    judge = local_judge(dataset, tiny_llama, scoring=scoring, cache=tmp_path / "v.sqlite")
    old = VerdictCache(tmp_path / "v.sqlite", {**judge.cache.judge, "template": "1"})
    prompt = {
        "likelihood": f"{judge.scoring.example}Products that a customer bought, in order:\n"
        "- thing 3\n- thing 5\n-",
        "label": judge.questions(np.array([[3, 5]]), np.array([[7, 9]]))[0].prompt,
    }[scoring]
    options = {"likelihood": [" thing 7\n", " thing 9\n"], "label": ["a", "b", "c"]}[scoring]
    old.put(question_key(prompt, options), np.array([41.0, 42.0]))
    scores = judge.scores(np.array([[3, 5]]), np.array([[7, 9]]))
    assert (scores.tolist() == [[41.0, 42.0]]) == (scoring == "likelihood")
    assert sum(asked) == (scoring == "label")
    stats = {row["judge"]["template"]: row["verdicts"] for row in cache_stats(old.file)
             if row["judge"]["scoring"] == scoring}  # fmt: skip
    assert stats == ({"2": 1, "1": 1} if scoring == "label" else {"1": 1})
    exported = [row["judge"]["template"] for row in read_verdicts(old.file)]
    assert exported[0] == "1"


def test_a_stored_verdict_that_is_no_number_is_refused(dataset, tiny_llama, tmp_path):
    judge = local_judge(dataset, tiny_llama, scoring="label", cache=tmp_path / "v.sqlite")
    request = np.arange(4)[None], np.arange(10, 13)[None]
    (question,) = judge.questions(*request)
    judge.cache.put(question_key(question.prompt, question.options), np.array([0, np.nan, 1]))
    with pytest.raises(JudgeError, match=r"v\.sqlite answered \[0.0, nan, 1.0\]"):
        judge.choose(*request)


def test_the_prior_of_an_item_is_computed_once(dataset, tiny_llama, tmp_path, monkeypatch):
    options = {"scoring": "likelihood", "cache": tmp_path / "verdicts.sqlite"}
    items = np.arange(30).reshape(3, 10)
    first = local_judge(dataset, tiny_llama, **options)
    priors = first.scoring.priors(items[:2])
    computed = []
    compute = SharedPrefix.log_likelihoods_apart

    def count(self, prompt, continuations):
        computed.append(len(continuations))
        return compute(self, prompt, continuations)

    monkeypatch.setattr(SharedPrefix, "log_likelihoods_apart", count)
    second = local_judge(dataset, tiny_llama, **options)
    assert np.array_equal(second.scoring.priors(items)[:2], priors)
    assert computed == [10]
    assert [row["verdicts"] for row in cache_stats(options["cache"])] == [0, 30]


def test_verdicts_before_a_failure_are_kept(dataset, tiny_llama, tmp_path, monkeypatch):
    file = tmp_path / "verdicts.sqlite"
    judge = local_judge(dataset, tiny_llama, scoring="likelihood", cache=file)
    answer = judge.scoring.scores

    def fail_at_the_third(questions):
        for number, values in answer(questions):
            if number == 2:
                raise RuntimeError("power cut")
            yield number, values

    monkeypatch.setattr(judge.scoring, "scores", fail_at_the_third)
    with pytest.raises(RuntimeError, match="power cut"):
        judge.scores(np.arange(8).reshape(4, 2), np.arange(10, 22).reshape(4, 3))
    assert cache_stats(file)[0]["verdicts"] == 2
