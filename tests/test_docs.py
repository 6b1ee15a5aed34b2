"""What README and docs say is so: their Python runs, their commands and options exist."""

import contextlib
import functools
import importlib.util
import inspect
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import torch
import tyro
from stable_baselines3.common import evaluation
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from test_examples import shop

import ialp_agents
import recsim_envs.rewards.prepare as fitting
from llm_oracle import TfidfJudge
from llm_oracle.calibration import Calibration
from llm_oracle.cli import main as recsim
from llm_oracle.judges.calibrated import CalibrationCard
from recsim_envs.data.store import load_data
from recsim_envs.data.text import text_features
from recsim_envs.sb3 import BatchedVecEnv

TOP = Path(__file__).parents[1]
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")])
BLOCK = re.compile(r"(?P<before>[^\n]*)\n+```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
"""Before a block: why no test runs it."""
PROGRAMS = {"pip", "vllm"}
"""Other people's, whose arguments are theirs."""
OTHERS = {"--no-deps", "--array", "--cpus-per-task", "--strict"}
"""Options of other people's programs."""
ELSEWHERE = {"offline_cql"}
"""Examples whose libraries are installed beside the tests of other people's."""
STEPS = 32
"""Environment steps that an agent learns for, at most."""
SESSIONS = 16
"""Sessions that an agent is evaluated on, at most."""


def name(page):
    return str(page.relative_to(TOP))


def blocks(page, language):
    """The fenced blocks of a page that are not marked as not to be run."""
    for block in BLOCK.finditer("\n" + page.read_text()):
        if block["language"] == language and not NOT_RUN.fullmatch(block["before"]):
            yield block["text"]


def pages_with(language):
    found = [page for page in PAGES if any(blocks(page, language))]
    assert found
    return [pytest.param(page, id=name(page)) for page in found]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """An empty folder and home; a budget that a test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "home"))
    for algorithm in (OffPolicyAlgorithm, OnPolicyAlgorithm):
        learn = algorithm.learn
        monkeypatch.setattr(
            algorithm,
            "learn",
            lambda self, total_timesteps, learn=learn, **of: learn(
                self, total_timesteps=min(total_timesteps, STEPS), **of
            ),
        )
    evaluate = evaluation.evaluate_policy
    monkeypatch.setattr(
        evaluation,
        "evaluate_policy",
        lambda agent, env, n_eval_episodes=10: evaluate(
            agent, env, n_eval_episodes=min(n_eval_episodes, SESSIONS)
        ),
    )
    fit = fitting.fit_reward_model
    quick = {"max_epochs": 1}
    monkeypatch.setattr(fitting, "fit_reward_model", lambda *a, **k: fit(*a, **(k | quick)))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def given(page):
    """What the text of a page says is there already."""
    if page == "docs/own-data.md":
        interactions, items = shop()
        return {"interactions": interactions, "items": items}
    if page == "docs/agents.md":
        users = gym.make_vec("recsim/Coat-v0", num_envs=4)
        names = {"IALP": ialp_agents.IALP, "text_features": text_features}
        return names | {"users": users, "env": BatchedVecEnv(users)}
    if page == "docs/offline-data.md":
        users = gym.make_vec("recsim/Coat-v0", num_envs=4, leaves=False)
        names = {"IALP": ialp_agents.IALP, "BatchedVecEnv": BatchedVecEnv}
        return names | {"users": users, "judge": TfidfJudge(users.dataset)}
    if page == "docs/judge.md":
        dataset, card = replica_and_card()
        card.save(Path("tfidf.json"))
        return {"shop": dataset}
    return {}


@functools.cache
def replica_and_card():
    """A replica, and its TF-IDF judge's card as `recsim calibrate-judge` writes it."""
    dataset = load_data("replica/industry")
    data = {"name": dataset.name, "hash": dataset.hash, "replica": dataset.replica}
    judge = TfidfJudge(dataset).describe()
    return dataset, CalibrationCard(judge, data, Calibration(), {}, {}, {}, "none")


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs(page, small, capsys):
    """All blocks of a page, one after the other, as they stand there but for the budget."""
    names = given(name(page))
    for text in blocks(page, "python"):
        exec(compile(text, name(page), "exec"), names)
    printed = capsys.readouterr().out
    if name(page) == "README.md":
        (shown,) = [text for text in blocks(page, "text") if text.startswith("item")]
        assert printed.startswith(shown)
    if name(page) == "docs/own-data.md":
        hit_rate, played = printed.splitlines()[-2:]
        assert 0 <= float(hit_rate) <= 1
        return_, deviation = map(float, re.findall(r"\d+\.\d+", played))
        assert 0 < return_ < 30 and deviation > 0


def commands(text):
    """The commands of a shell block, without comments and with continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if ">" in words:
            words = words[: words.index(">")]
        if words:
            yield words


class Parsed(Exception):
    """A command line was accepted."""


def parse(words, monkeypatch):
    """Parses a command of this project without running it; SystemExit says what is wrong."""
    cli, subcommands = tyro.cli, tyro.extras.subcommand_cli_from_dict

    def parse_only(function, **of):
        nothing = functools.wraps(function)(lambda *a, **k: None)
        cli(function if inspect.isclass(function) else nothing, **of)
        raise Parsed

    def parse_one_of(functions, **of):
        nothing = {
            key: functools.wraps(each)(lambda *a, **k: None) for key, each in functions.items()
        }
        subcommands(nothing, **of)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(tyro, "cli", parse_only)
        patch.setattr(tyro.extras, "subcommand_cli_from_dict", parse_one_of)
        patch.setattr(sys, "argv", [words[0], *words[1:]])
        if words[0] == "recsim":
            recsim()
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def check(words, monkeypatch):
    if words[0] in PROGRAMS:
        return
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"make knows {targets}"
        return
    if words[:2] == ["python", "-m"]:
        words = words[2:]
        found = importlib.util.find_spec(words[0])
        assert found is not None, f"{words[0]} is no module"
        if found.submodule_search_locations:
            found = importlib.util.find_spec(f"{words[0]}.__main__")
        if not takes_arguments(Path(found.origin)):
            assert len(words) == 1, f"{words[0]} takes no arguments"
            return
    else:
        assert words[0] == "recsim", f"{words[0]} is neither ours nor one of {PROGRAMS}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            parse(words, monkeypatch)
    except Parsed:
        return
    except SystemExit as error:
        # 2 is the parser's; a text is of a command that was understood, and misses its file here.
        assert error.code != 2, f"{shlex.join(words)}:\n{said.getvalue()}"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replica_and_card()[1].save(Path("smollm2.json"))  # parsing reads it
    for text in blocks(page, "sh"):
        for words in commands(text):
            check(words, monkeypatch)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(
    "wrong",
    [
        "recsim prepare shop FOLDER --texts title",
        "recsim env-reports shop",
        "python -m benchmarks.paper --tables 6",
        "python -m benchmarks.papers",
        "python -m examples.ppo --steps 3",
        "make tests",
        "curl http://localhost",
    ],
)
def test_a_wrong_command_is_found(wrong, monkeypatch):
    with pytest.raises(AssertionError):
        check(shlex.split(wrong), monkeypatch)


def takes_arguments(path):
    return "tyro.cli(" in path.read_text()


def understood():
    """The beginnings of all command lines."""
    modules = [
        ".".join(path.relative_to(TOP).with_suffix("").parts)
        for folder in ("benchmarks", "examples", "ialp_agents")
        for path in (TOP / folder).rglob("*.py")
        if takes_arguments(path) and path.stem not in ELSEWHERE
    ]
    cache = [["recsim", "cache", action] for action in ("stats", "export", "prune")]
    subcommands = (
        "download prepare list env-report play tune-judge calibrate-judge judge-report "
        "export-minari doctor"
    ).split()
    return [[module] for module in modules] + [["recsim", each] for each in subcommands] + cache


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_options_in_the_text_exist(tmp_path, monkeypatch):
    """Those of no program are misspelt, or were renamed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    said = io.StringIO()
    for words in understood():
        with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
            parse([*words, "--help"], monkeypatch)
    options = set(re.findall(r"--[a-z][a-z0-9-]+", said.getvalue()))
    for page in PAGES:
        wrong = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text())) - options - OTHERS
        assert not wrong, f"{name(page)}: {wrong}"


def test_the_ten_lines_on_own_data_are_ten():
    (text,) = blocks(TOP / "docs" / "own-data.md", "python")
    assert len([line for line in text.splitlines() if not re.match("import|from|$", line)]) <= 10
