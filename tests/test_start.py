"""What a start loads and prints, in processes of their own."""

import logging
import subprocess
import sys

import pytest

HEAVY = set(
    "torch sklearn pandas scipy transformers peft bitsandbytes stable_baselines3 matplotlib".split()
)
COMMAND = """
import sys
from llm_oracle.cli import main
sys.argv = ["recsim", {}]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
"""
MAKE_COAT = """
import gymnasium, recsim_envs
env = gymnasium.make("recsim/Coat-v0")
env.reset(seed=0)
"""


def loaded(code: str) -> set[str]:
    """The top-level modules of a fresh process after ``code``."""
    listed = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code + listed], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import recsim_envs",
        "import llm_oracle",
        COMMAND.format("'--help'"),
        COMMAND.format("'prepare', '--help'"),
        COMMAND.format("'tune-judge', '--help'"),
    ],
)
def test_nothing_heavy_is_loaded(code):
    assert not loaded(code) & HEAVY


def test_coat_is_made_without_torch():
    assert "gymnasium" in (found := loaded(MAKE_COAT))
    assert not found & (HEAVY - {"pandas"})


def test_building_a_judge_prints_nothing():
    """Neither bars nor lines of other libraries, which load the model and its adapter."""
    smollm2 = pytest.importorskip("llm_oracle.language_model.smollm2")
    try:
        smollm2.smollm2_folder()  # expanding it, once a machine, has a bar
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    code = """
from llm_oracle.judges.build import build_judge
from recsim_envs.data.store import load_data
build_judge("smollm2", load_data("replica/coat"))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_of_bitsandbytes_one_warning_is_dropped(caplog):
    from llm_oracle.language_model.quiet import ignore_missing_kernel

    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    ignore_missing_kernel()
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "why")
    logger.warning("anything else")
    assert [record.getMessage() for record in caplog.records] == ["anything else"]


def test_importing_sets_up_no_logging_and_a_warning_reaches_who_set_up_none():
    code = """
import logging, ialp_agents, llm_oracle
from recsim_envs.notices import logger
assert not logging.root.handlers and not logger.handlers
logger.info("a detail")
logger.warning("a warning")
{}
logger.info("another detail")
logging.getLogger("recsim").setLevel(logging.ERROR)
logger.warning("not wanted")
"""
    for more, shown in (
        ("", "a warning\n"),
        (
            "from recsim_envs.notices import show_notices; show_notices(); show_notices()",
            "a warning\nrecsim: another detail\n",
        ),
    ):
        result = subprocess.run(
            [sys.executable, "-c", code.format(more)], capture_output=True, text=True
        )
        assert (result.stdout, result.stderr) == ("", shown)
