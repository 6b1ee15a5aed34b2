"""Shared fixtures: where the real data is, and small data sets made here."""

import os
import shutil

# Before torch is loaded: without it, MKL's products of some CPUs round a row by its batch, and the
# tests of "to the bit" in float32 would be MKL's.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

# ruff: noqa: E402
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from recsim_envs.data.dataset import Dataset
from recsim_envs.data.tables import from_frame

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def sb3_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """SB3 makes a folder for each ``learn``, empty or not: all the same one, not each in /tmp."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RECSIM_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}: set RECSIM_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def real_ratings(real_data: Path) -> np.ndarray:
    matrix = np.loadtxt(real_data / "raw" / "coat" / "coat_pseudoGT_ratingM.ascii")
    return matrix.astype(np.float32)


@pytest.fixture(scope="session")
def chains() -> Dataset:
    """20 items in 4 rings of 5: the next item is always the ring's next, so it can be learned."""
    rng = np.random.default_rng(0)
    rows = []
    for sequence in range(200):
        ring, first = rng.integers(4), rng.integers(5)
        rows += [(sequence, 5 * ring + (first + i) % 5, i) for i in range(8)]
    sequence_id, item_id, position = zip(*rows, strict=True)
    interactions = {"sequence_id": sequence_id, "item_id": item_id, "position": position}
    items = {"item_id": range(20), "title": [f"item {i} of ring {i // 5}" for i in range(20)]}
    return from_frame("chains", interactions, items, text="title", replica=True)


WORDS = "red blue green steel bolt nut tea jazz rock song".split()


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama and a byte-level tokenizer."""
    return save_tiny(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def tiny_mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a Mistral, of the architecture that the paper's judge has."""
    return save_tiny(tmp_path_factory.mktemp("mistral"), "mistral")


def save_tiny(folder: Path, family: str, **config: int) -> Path:
    """Writes a random two-layer model of a family that transformers knows, and a tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [f"The user will select {a} {b}" for a in "abcdefghijk" for b in WORDS]
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    settings = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,  # far from uniform predictions
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(settings | config)))
    model.save_pretrained(folder)
    return folder


def local_judge(
    dataset, model="smollm2", *, device=None, dtype=None, adapter="shipped", quantization=None, **of
):
    """A judge on a model in this process; random weights give labels hardly any probability."""
    from llm_oracle.judges.language import LanguageModelJudge
    from llm_oracle.language_model.local import LanguageModel

    if not isinstance(model, LanguageModel):
        model = LanguageModel(
            model, device=device, dtype=dtype, adapter=adapter, quantization=quantization
        )
    return LanguageModelJudge(dataset, model, **{"least_mass": 0.0, **of})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions each call put to a model in this process, in order."""
    from llm_oracle.scoring.label import LabelScoring
    from llm_oracle.scoring.likelihood import LikelihoodScoring

    sizes: list[int] = []

    def counted(score):
        def count(self, questions):
            sizes.append(len(questions))
            return score(self, questions)

        return count

    for scoring in (LabelScoring, LikelihoodScoring):
        monkeypatch.setattr(scoring, "scores", counted(scoring.scores))
    return sizes


@pytest.fixture
def browser():
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as driver:
        # Root, as on CI's machines, has no sandbox.
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for a module's tests, whatever the tests before it left."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
