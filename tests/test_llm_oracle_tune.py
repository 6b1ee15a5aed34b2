"""Tuning: a small judge learns what it is shown, resumes to the bit, and NF4 keeps its promises."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import local_judge
from safetensors.torch import load_file

from llm_oracle.language_model.adapters import AdapterCard
from llm_oracle.language_model.local import LanguageModel
from llm_oracle.study import tune
from llm_oracle.study.tune import TuneSettings, draw_questions, tune_judge
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame
from recsim_envs.errors import DamagedFileError

N_ITEMS = 40
SMALL = {
    "k": 3,
    "questions": 24,
    "batch_size": 4,
    "calibration_questions": 12,
    "test_questions": 4,
    "rank": 2,
    "none_share": 0.25,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def make_dataset():
    """Two kinds of things; a sequence stays with one kind, so its text tells what comes next."""
    titles = [f"{'red tea' if i % 2 else 'steel bolt'} {i // 2}" for i in range(N_ITEMS)]
    rng = np.random.default_rng(0)
    rows = [(s, 2 * rng.integers(N_ITEMS // 2) + s % 2) for s in range(60) for _ in range(6)]
    sequence, item = zip(*rows, strict=True)
    interactions = {"sequence_id": sequence, "item_id": [int(i) for i in item]}
    items = {"item_id": range(N_ITEMS), "title": titles}
    return from_frame(
        "kinds", interactions, items, text="title", reading=Reading(rows_in_order=True)
    )


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


def settings(model, **changes):
    return TuneSettings(model=str(model), **{**SMALL, **changes})


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_a_tuned_judge_does_what_it_was_shown(dataset, tiny_llama, tmp_path):
    tuning = settings(
        tiny_llama,
        questions=200,
        epochs=4,
        learning_rate=1e-2,
        calibration_questions=60,
        test_questions=60,
        rank=8,
    )
    card = tune_judge([dataset], tmp_path / "a", tuning, device="cpu")
    popularity, tfidf, bare, tuned = card.figures["kinds"]
    names = [row["judge"] for row in (popularity, tfidf, bare, tuned)]
    llama = f"{tiny_llama.name}/likelihood"
    assert names == ["popularity", "tfidf", llama, f"{llama}/tuned"]
    assert tuned["accuracy"] > bare["accuracy"] + 0.1
    assert tuned["accuracy"] > popularity["accuracy"] + 0.1

    judge = local_judge(dataset, tiny_llama, adapter=tmp_path / "a", device="cpu")
    assert judge.scoring.name == "likelihood"  # the adapter's
    assert judge.calibration == card.calibrations["products"]
    histories, slates = np.array([[0, 2, 4], [1, 3, 5]]), np.array([[7, 8, 9], [7, 8, 10]])
    untuned = local_judge(dataset, tiny_llama, scoring="likelihood", device="cpu")
    assert np.abs(judge.scores(histories, slates) - untuned.scores(histories, slates)).max() > 0.1
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_llama.name
    saved = json.loads((tmp_path / "a" / "judge.json").read_text())
    assert saved["data"] == {"kinds": dataset.hash}
    assert saved["figures"]["kinds"][3] == tuned


def test_labels_are_learned(dataset, tiny_llama, tmp_path):
    """A tiny model cannot bind labels to options, but it can learn sixteen answers by heart."""
    tuning = settings(
        tiny_llama, scoring="label", questions=16, epochs=60, learning_rate=1e-2, rank=16
    )
    model = LanguageModel(tiny_llama, device="cpu", dtype=torch.float32)
    judge = tune.make_judge(dataset, model, tuning, tmp_path)
    examples = tune.draw_examples([judge], [dataset], tuning)

    def loss():
        with torch.no_grad():
            found = [tune.utilities(model, e).log_softmax(0)[e.answer] for e in examples]
            return -float(torch.stack(found).mean())

    with torch.no_grad():
        by_judge = judge.scores(np.array([[0, 2]]), np.array([[7, 8, 9]]))[0]
        (question,) = judge.questions(np.array([[0, 2]]), np.array([[7, 8, 9]]))
        by_tuning = tune.utilities(model, tune.Example(judge, question, np.zeros(3), 0))
    assert by_tuning[:-1].numpy() == pytest.approx(by_judge, abs=1e-3)
    before = loss()
    tune.train_lora(model, [judge], [dataset], tmp_path, tuning)
    assert loss() < 0.25 * before


@pytest.mark.parametrize("scoring", ["likelihood", "label"])
def test_a_tiny_mistral_in_nf4_tunes_saves_loads_and_scores(
    dataset, tiny_mistral, tmp_path, scoring
):
    pytest.importorskip("bitsandbytes")
    tuning = settings(tiny_mistral, scoring=scoring, quantization="nf4")
    tune_judge([dataset], tmp_path, tuning, device="cpu")
    assert max(float(w.abs().max()) for n, w in weights(tmp_path).items() if "lora_B" in n) > 0
    rng = np.random.default_rng(1)
    histories = rng.integers(0, N_ITEMS, (6, 4))
    slates = np.stack([rng.choice(N_ITEMS, 3, replace=False) for _ in histories])
    options = {"scoring": scoring, "device": "cpu"}
    tuned = local_judge(dataset, tiny_mistral, adapter=tmp_path, quantization="nf4", **options)
    again = local_judge(dataset, tiny_mistral, adapter=tmp_path, quantization="nf4", **options)
    scores = tuned.scores(histories, slates)
    assert np.array_equal(again.scores(histories, slates), scores)
    with tuned.model.bare():
        bare = LanguageModel(tiny_mistral, quantization="nf4", device="cpu")
        ids = torch.tensor([[5, 6, 7, 8]])
        difference = tuned.model.model(ids).logits - bare.model(ids).logits
        assert difference.abs().max() == 0


def test_nf4_stays_near_full_precision(tiny_mistral):
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.nn import Linear4bit

    quantized = LanguageModel(tiny_mistral, quantization="nf4", device="cpu").model
    full = LanguageModel(tiny_mistral, device="cpu", dtype=torch.float32).model
    generator = torch.Generator().manual_seed(0)
    layers = {n: m for n, m in quantized.named_modules() if isinstance(m, Linear4bit)}
    assert len(layers) == 2 * 7
    with torch.inference_mode():
        for name, layer in layers.items():
            x = torch.randn(256, layer.in_features, generator=generator)
            exact = full.get_submodule(name)(x)
            error = (layer(x.bfloat16()).float() - exact).norm() / exact.norm()
            # The rounding error of 4-bit NormalFloat on normal weights, in blocks of 64.
            assert 0.06 < error < 0.12
        # Two layers of random weights average no error out: the worst case for what comes after.
        ids = torch.randint(0, 300, (16, 24), generator=generator)
        p, q = (m(ids).logits.float().log_softmax(-1).flatten() for m in (full, quantized))
        assert torch.corrcoef(torch.stack([p, q]))[0, 1] > 0.75


def test_gradients_survive_an_eval_forward_in_nf4(dataset, tiny_mistral):
    pytest.importorskip("bitsandbytes")
    from peft import LoraConfig

    model = LanguageModel(tiny_mistral, quantization="nf4", device="cpu").model
    model.add_adapter(LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    ids = torch.arange(10)[None]
    model.eval()
    with torch.no_grad():
        model(ids)
    model.train()
    model(ids).logits.logsumexp(-1).sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert len(gradients) == 2 * 2 * 7  # A and B of 7 linear maps in each of 2 layers
    assert all(g is not None and g.abs().max() > 0 for g in gradients.values())


TUNE = """
import sys, torch
from pathlib import Path
from llm_oracle.study.tune import tune_judge
sys.path.insert(0, sys.argv[3])
from test_llm_oracle_tune import make_dataset, settings
torch.set_num_threads(1)
tune_judge([make_dataset()], Path(sys.argv[2]), settings(sys.argv[1], questions=240), device="cpu")
"""


def test_a_killed_tuning_continues_to_the_same_adapter(dataset, tiny_llama, tmp_path):
    command = [sys.executable, "-c", TUNE, str(tiny_llama), str(tmp_path / "killed")]
    with subprocess.Popen(
        [*command, str(Path(__file__).parent)], stderr=subprocess.DEVNULL
    ) as process:
        while not (tmp_path / "killed" / tune.CHECKPOINT).is_file():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed" / "adapter_model.safetensors").is_file()
    tuning = settings(tiny_llama, questions=240)
    resumed = tune_judge([dataset], tmp_path / "killed", tuning, device="cpu")
    unbroken = tune_judge([dataset], tmp_path / "unbroken", tuning, device="cpu")
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "unbroken")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.calibrations == unbroken.calibrations
    with pytest.raises(ValueError, match="tuning with other settings or data"):
        tune_judge([dataset], tmp_path / "killed", settings(tiny_llama, questions=8))


def test_an_adapter_of_another_model_or_template_is_refused(dataset, tiny_llama, tmp_path):
    with pytest.raises(FileNotFoundError, match="recsim tune-judge"):
        local_judge(dataset, tiny_llama, adapter=tmp_path)
    AdapterCard("some/model", "label", 6, {}, {}, {}, "2").save(tmp_path)
    with pytest.raises(ValueError, match="adapts the model 'some/model', not"):
        local_judge(dataset, tiny_llama, adapter=tmp_path)
    # The prompt of labels has changed since version 1, that of likelihoods has not.
    AdapterCard(str(tiny_llama), "label", 6, {}, {}, {}, "1").save(tmp_path)
    with pytest.raises(ValueError, match=r"version 1 of the prompt of scoring by label.*version 2"):
        local_judge(dataset, tiny_llama, adapter=tmp_path)
    AdapterCard(str(tiny_llama), "likelihood", 6, {}, {}, {}, "1").save(tmp_path)
    with pytest.raises(DamagedFileError, match=r"adapter_config\.json is missing"):
        AdapterCard.load(tmp_path, str(tiny_llama))


def test_training_questions_come_from_training_sequences(dataset):
    drawn, log_counts = draw_questions(dataset, 40, settings("m"), seed=5)
    assert (drawn.answers < 0).sum() == 10
    counts = dataset.popularity
    assert counts.sum() == 6 * len(dataset.train)
    assert log_counts.shape == drawn.slates.shape
    for slate, row, answer in zip(drawn.slates, log_counts, drawn.answers, strict=True):
        for place, (item, value) in enumerate(zip(slate, row, strict=True)):
            assert np.expm1(value) == pytest.approx(counts[item] - (place == answer))
