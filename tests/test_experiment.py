"""A cell: computed once, recorded with all that it was made with, found again by content."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sweeps import AP, COAT, SMALL

from benchmarks import experiment, records
from benchmarks.agents import FROM_A_POLICY, FROM_SCRATCH, SEARCHED
from benchmarks.cells import (
    Evaluation,
    Judging,
    Online,
    Pretraining,
    Settings,
    Simulation,
    Variant,
    cell_of,
    ialp_of,
    pretraining_of,
    read_cell,
)
from benchmarks.experiment import run_cell
from benchmarks.records import Place, cell_of_record, is_old, read_record
from benchmarks.search import GRID, settings_of, variants_of
from benchmarks.variants import (
    explorations,
    llm_online,
    main_variants,
    online_variants,
    pretraining_variants,
)
from llm_oracle import JudgeError, TfidfJudge
from llm_oracle.interactions import Interactions
from llm_oracle.study.calibrate import calibrate_judge
from recsim_envs.data.store import load_data
from recsim_envs.errors import DataError

INDUSTRY = "recsim/Industry-v0"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """A folder that the module's cells share, so that they pre-train once."""
    folder = tmp_path_factory.mktemp("sweep")
    return Place(folder, folder / "verdicts.sqlite")


def variants() -> list[Variant]:
    found = [*main_variants(COAT), *llm_online(COAT), *explorations()]
    found += [*online_variants(), *pretraining_variants(COAT)]
    return list({variant.id: variant for variant in found}.values())


def test_ids_are_one_variant_each() -> None:
    for env in (COAT, INDUSTRY):
        everything = [*main_variants(env), *llm_online(env), *explorations(), *online_variants()]
        everything += pretraining_variants(env)
        everything += [v for name in GRID for v in variants_of(name, "text")]
        by_id: dict[str, Variant] = {}
        for variant in everything:
            known = by_id.setdefault(variant.id, variant)
            assert replace(known, label="") == replace(variant, label="")


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.id)
def test_every_variant_runs_and_is_what_it_says(place, monkeypatch, variant) -> None:
    agents = []
    for make in ("make_ialp", "make_from_scratch", "make_from_policy"):
        original = getattr(experiment, make)

        def keep(*args, original=original, **kwargs):
            agents.append(original(*args, **kwargs))
            return agents[-1]

        monkeypatch.setattr(experiment, make, keep)
    cell = cell_of(SMALL, variant, 0)
    record = run_cell(cell, place)
    assert record["variant"] == variant.id and record["data"]["replica"]
    assert all(record["reward_hashes"]) and record["versions"]["torch"] and record["revision"]
    if variant.agent == "references":
        assert {"random", "popularity", "myopic oracle"} <= set(record["references"])
        return
    total = 16 if variant.is_pretraining else 128
    assert [record["points"][n]["steps"] for n in (0, -1)] == [0, total]
    assert record["points"][-1]["sessions"] == 8
    assert record["samples"]["before"][0]["steps"]
    for name, value in variant.changes.items():
        if name != "beta_init":
            assert getattr(agents[-1], name) == value
    for name, value in variant.policy.items():
        assert getattr(agents[-1].policy, name) == value
    if variant.is_pretraining:
        encoder = agents[-1].policy.features_extractor
        assert encoder.starts_from_features == (variant.start == "text")
    else:
        assert record["episodes"]["steps"] and record["learning_s"] > 0


def test_only_settings_that_count_are_in_a_cell() -> None:
    """What a judge is asked changes nothing for an agent that has none."""
    dqn = Variant("dqn", "DQN", "DQN")
    other = replace(SMALL, judging=Judging("popularity"), pretraining=Pretraining(99))
    assert cell_of(SMALL, dqn, 0) == cell_of(other, dqn, 0)
    assert cell_of(SMALL, AP, 0) != cell_of(other, AP, 0)
    longer = replace(SMALL, online=Online(999))
    assert cell_of(SMALL, ialp_of(COAT), 0) == cell_of(longer, ialp_of(COAT), 0)
    assert cell_of(SMALL, dqn, 0) != cell_of(longer, dqn, 0)
    relabelled = replace(dqn, label="another word")
    assert cell_of(SMALL, relabelled, 0).what() == cell_of(SMALL, dqn, 0).what()


@pytest.mark.parametrize(
    ("judging", "key"),
    [
        (Judging("tfidf"), "6d657922ae"),
        (Judging("popularity"), "52a7c7b004"),
        (Judging(), "a2eff3505e"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_records_of_before_a_setting_was_there_are_found(judging, key) -> None:
    """The keys that revision cc8e2a9, which knew no calibration, gave `benchmarks.paper`'s iALP."""
    cell = cell_of(Settings(Simulation(COAT), judging), ialp_of(COAT), 0)
    text = json.dumps(cell.what(), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:10] == key
    other = replace(judging, judge="smollm2", least_mass=0.3)
    assert cell_of(Settings(Simulation(COAT), other), ialp_of(COAT), 0).what() != cell.what()


def test_a_mass_that_no_judge_reads_is_refused() -> None:
    with pytest.raises(DataError, match="least_mass=0.3, but the judge 'tfidf' reads no labels"):
        Judging("tfidf", least_mass=0.3)


def test_a_calibration_reaches_the_judge_and_the_record(place) -> None:
    coat = load_data("replica/coat")
    card = calibrate_judge(TfidfJudge(coat), coat, n=20, k=4)
    settings = replace(SMALL, judging=Judging("tfidf", k=4, calibration=card))
    cell = cell_of(settings, ialp_of(COAT), 0)
    assert read_cell(json.loads(json.dumps(asdict(cell)))) == cell
    assert cell.what()["judging"]["calibration"] == asdict(card.calibration)
    users = experiment.users_of(cell, 2, split="train")
    judge = experiment.judge_of(cell, place, users)
    assert (judge.name, judge.calibration) == ("tfidf/calibrated", card.calibration)
    record = run_cell(cell, place)
    assert record["calibration"] == asdict(card) and record["judge"] == "tfidf/calibrated"
    assert cell_of_record(read_record(place.file(cell))) == cell
    assert place.file(cell) != place.file(cell_of(SMALL, ialp_of(COAT), 0))
    other = replace(settings, judging=replace(settings.judging, judge="popularity"))
    with pytest.raises(DataError, match="of model 'tfidf', not 'popularity'"):
        run_cell(cell_of(other, ialp_of(COAT), 0), place)


def test_a_least_mass_reaches_the_judge(place, tiny_llama) -> None:
    settings = replace(SMALL, judging=Judging(str(tiny_llama), k=4, least_mass=0.7))
    cell = cell_of(settings, ialp_of(COAT), 0)
    with pytest.raises(JudgeError, match="less than least_mass=0.7"):
        run_cell(cell, place)


@pytest.mark.parametrize("variant", [AP, ialp_of(COAT)], ids=lambda v: v.id)
def test_a_cell_is_data(variant) -> None:
    cell = cell_of(SMALL, variant, 3)
    assert read_cell(json.loads(json.dumps(asdict(cell)))) == cell


def test_a_cell_is_computed_once_and_from_its_own_pretraining(place, monkeypatch) -> None:
    cell = cell_of(SMALL, AP, 0)
    first = run_cell(cell, place)
    needed = pretraining_of(cell)
    assert needed is not None
    taught = read_record(place.file(needed))
    assert taught is not None and first["pretrained"] == taught["policy"]
    assert first["points"][0]["reward"] == taught["points"][-1]["reward"], "the same policy"

    monkeypatch.setattr(experiment, "learn", lambda *a, **k: pytest.fail("computed twice"))
    assert run_cell(cell, place) == first
    with pytest.raises(pytest.fail.Exception, match="computed twice"):
        run_cell(cell_of(SMALL, AP, 1), place)
    with pytest.raises(pytest.fail.Exception, match="computed twice"):
        run_cell(cell_of(replace(SMALL, testing=Evaluation(9)), AP, 0), place)


def test_a_policy_that_is_gone_or_changed_is_trained_again(tmp_path) -> None:
    place = Place(tmp_path, tmp_path / "verdicts.sqlite")
    cell = cell_of(SMALL, ialp_of(COAT), 0)
    record = run_cell(cell, place)
    judged = Interactions.load(place.policy(cell) / experiment.INTERACTIONS).steps["rewards"]
    assert judged.size == SMALL.pretraining.verdicts
    assert judged.mean() == pytest.approx(record["picked"])
    weights = place.policy(cell) / records.POLICY_FILE
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert read_record(place.file(cell)) is None
    again = run_cell(cell, place)
    assert again["points"] == record["points"] and again["policy"] == record["policy"]


def test_records_of_other_code_are_old(place, monkeypatch) -> None:
    record = run_cell(cell_of(SMALL, ialp_of(COAT), 0), place)
    assert not is_old(record)
    assert is_old({**record, "code": "another"})
    assert is_old({**record, "versions": record["versions"] | {"torch": "0"}})


def test_fresh_computes_what_is_old_once(place, monkeypatch) -> None:
    """The pre-training too; what was computed again is not old any more."""
    cell = cell_of(SMALL, AP, 2)
    needed = pretraining_of(cell)
    assert needed is not None
    run_cell(cell, place)
    for each in (cell, needed):
        file = place.file(each)
        old = json.loads(file.read_text()) | {"code": "older"}
        file.write_text(json.dumps(old))
    computed = []
    learn = experiment.learn

    def watched(cell, *args, **kwargs):
        computed.append(cell.variant.id)
        return learn(cell, *args, **kwargs)

    monkeypatch.setattr(experiment, "learn", watched)
    assert run_cell(cell, place)["code"] == "older"
    run_cell(cell, place, fresh=True)
    run_cell(cell, place, fresh=True)
    assert computed == ["ialp", "a-ialp_ap"]


def test_another_data_set_of_the_same_name_is_another_record(place, monkeypatch) -> None:
    cell = cell_of(SMALL, AP, 0)
    file = place.file(cell)
    changed = records.data_of(cell.simulation) | {"reward_hashes": ["a", "b"]}
    monkeypatch.setattr(records, "data_of", lambda users: changed)
    assert place.file(cell) != file


def test_accepted_history_reaches_the_users(place) -> None:
    settings = replace(SMALL, simulation=Simulation(INDUSTRY, history="accepted", users=4))
    users = experiment.users_of(cell_of(settings, AP, 0), 2, split="test")
    assert set(users.single_observation_space.spaces) == {"history", "shown"}


def test_a_second_pretraining_asks_the_language_model_nothing(
    tmp_path, tiny_llama, asked, monkeypatch
) -> None:
    # Random weights give labels hardly any probability.
    monkeypatch.setattr("llm_oracle.language_model.local.check_answer", lambda *answer: None)
    settings = replace(SMALL, judging=Judging(str(tiny_llama), k=4))
    cell = cell_of(settings, ialp_of(COAT), 0)
    points = []
    for folder in ("a", "b"):
        before = sum(asked)
        points.append(run_cell(cell, Place(tmp_path / folder, tmp_path / "verdicts"))["points"])
        assert (sum(asked) > before) == (folder == "a")
    assert points[0] == points[1]


def test_what_was_searched_is_of_the_grid() -> None:
    starts = [(name, start) for name in FROM_SCRATCH for start in ("random", "text")]
    assert set(SEARCHED) == {*starts, *((name, "text") for name in FROM_A_POLICY)}
    for (name, _), found in SEARCHED.items():
        assert found in list(settings_of(name))


def test_the_search_plays_with_training_users(place, monkeypatch) -> None:
    splits = []
    make_users = experiment.make_users

    def watched(*args, **kwargs):
        splits.append(kwargs.get("split"))
        return make_users(*args, **kwargs)

    monkeypatch.setattr(experiment, "make_users", watched)
    settings = replace(SMALL, testing=Evaluation(8, curve_points=1, split="train"))
    variant = variants_of("A2C", "random")[0]
    record = run_cell(cell_of(settings, variant, 100), place)
    assert set(splits) == {"train"}
    assert np.isfinite(record["points"][-1]["reward"])


def test_keys_are_in_no_file(place, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    run_cell(cell_of(SMALL, ialp_of(COAT), 1), place)
    for file in Path(place.output).rglob("*"):
        assert not file.is_file() or b"sk-very-secret" not in file.read_bytes()


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="a user, a password") as refusal:
        Judging("https://me:hunter2@judge.example/v1#model")
    assert "hunter2" not in str(refusal.value)
