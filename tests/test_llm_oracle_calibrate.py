"""Calibration without tuning: known weights come back, and a file is for its judge alone."""

import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from llm_oracle import PopularityJudge, TfidfJudge, cli
from llm_oracle.calibration import Calibration
from llm_oracle.judges.build import build_judge
from llm_oracle.judges.calibrated import CalibrationCard, apply_all
from llm_oracle.study import calibrate
from llm_oracle.study.calibrate import calibrate_judge, halves
from llm_oracle.study.choice_model import fit_calibration
from recsim_envs.data.reading import Reading
from recsim_envs.data.store import load_data
from recsim_envs.data.tables import from_frame
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import signed

N_ITEMS = 40
SCALE = 2.0

pytestmark = pytest.mark.usefixtures("one_thread")


class Scores:
    """A judge with a table of scores, of each item after each."""

    name = "scores"

    def __init__(self, dataset, table):
        self.n_items, self.table, self.calibration = dataset.n_items, table, None
        self.counts = dataset.popularity

    def scores(self, histories, slates, users=None):
        return self.table[histories[:, -1:], slates]

    def describe(self):
        return {"model": "scores"}


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).standard_normal((N_ITEMS, N_ITEMS))


@pytest.fixture(scope="module")
def shop(table):
    """Who took item i takes the next one by a conditional logit of SCALE times row i.

    Chosen among the whole catalogue, and so, given any few of it drawn evenly, among these
    (McFadden, 1978).
    """
    rng = np.random.default_rng(1)
    first = rng.integers(N_ITEMS, size=4000)
    utilities = SCALE * table[first] + rng.gumbel(size=(4000, N_ITEMS))
    utilities[np.arange(4000), first] = -np.inf
    taken = np.stack([first, utilities.argmax(axis=1)], axis=1)
    events = {"sequence_id": np.arange(4000).repeat(2), "item_id": taken.ravel()}
    items = {"item_id": range(N_ITEMS), "title": [f"thing {i}" for i in range(N_ITEMS)]}
    return from_frame("shop", events, items, text="title", reading=Reading(rows_in_order=True))


def test_the_calibration_is_that_of_the_choices():
    """Choices drawn from a known conditional logit model give its weights back."""
    rng = np.random.default_rng(0)
    scores, log_counts = rng.normal(0, 10, (20_000, 6)), rng.exponential(1, (20_000, 6))
    true = Calibration(scale=0.2, popularity=0.7, none=3.0)
    utilities = true.scale * scores + true.popularity * log_counts
    utilities = np.hstack([utilities, np.full((len(scores), 1), true.none)])
    answers = (utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1)
    answers = np.where(answers == 6, -1, answers)
    found = fit_calibration(scores, log_counts, answers)
    assert found.scale == pytest.approx(0.2, abs=0.01)
    assert found.popularity == pytest.approx(0.7, abs=0.05)
    assert found.none == pytest.approx(3.0, abs=0.1)
    # In other units, the same choices.
    tiny = fit_calibration(scores / 1e4, log_counts, answers)
    assert tiny.scale == pytest.approx(1e4 * found.scale, rel=1e-3)
    without = fit_calibration(scores, log_counts, answers, popularity=False)
    assert without.popularity == 0
    assert without.none < 2.7


def test_a_judge_that_knows_gets_the_choices_own_scale(shop, table):
    card = calibrate_judge(Scores(shop, table), shop, n=600)
    assert card.calibration.scale == pytest.approx(SCALE, abs=0.35)
    assert abs(card.calibration.popularity) < 1.0  # the scores say it all; 2 standard errors
    before, after = card.figures["before"], card.figures["after"]
    gain, low, _ = card.figures["gain"]
    assert gain == pytest.approx(after["log_likelihood"][0] - before["log_likelihood"][0])
    assert low > 0
    assert after["best_candidate"][0] > 0.5 and before["best_candidate"][0] > 0.5
    # A second calibration has nothing to add to the first.
    judge = Scores(shop, table)
    card.apply(judge, shop)
    assert judge.name == "scores/calibrated"
    _, low, high = calibrate_judge(judge, shop, n=600, seed=1).figures["gain"]
    assert low < 0.01 and high > -0.01 and high - low < 0.1


class Guesses(Scores):
    """Has another score for each question."""

    def __init__(self, dataset):
        super().__init__(dataset, None)
        self.rng = np.random.default_rng(5)

    def scores(self, histories, slates, users=None):
        return self.rng.standard_normal(slates.shape)


def test_a_judge_that_guesses_gets_no_weight_and_gains_nothing(shop):
    card = calibrate_judge(Guesses(shop), shop, n=600)
    assert abs(card.calibration.scale) < 0.15  # 3 standard errors
    # Beside the same popularity alone.
    judge = Guesses(shop)
    judge.calibration = replace(card.calibration, scale=0.0)
    gain, low, high = calibrate_judge(judge, shop, n=600).figures["gain"]
    assert low <= 0 <= high
    assert abs(gain) < 0.01


def test_one_half_fits_and_the_other_measures(shop, table, monkeypatch):
    fitted_on, measured_on = halves(shop)
    assert sorted([*fitted_on, *measured_on]) == sorted(shop.held_out)
    asked = []

    def scores_of(judge, questions):
        asked.append(questions)
        return judge.scores(questions.histories, questions.slates)

    monkeypatch.setattr(calibrate, "scores_of", scores_of)
    card = calibrate_judge(Scores(shop, table), shop, n=50, none_share=0.2)
    assert set(asked[0].sequences) <= set(fitted_on)
    assert set(asked[1].sequences) <= set(measured_on)
    assert [(questions.answers < 0).sum() for questions in asked] == [10, 10]
    for questions in asked:
        for sequence, slate, answer in zip(
            questions.sequences, questions.slates, questions.answers, strict=True
        ):
            assert answer < 0 or slate[answer] == shop.sequences[sequence][1]
    assert card == calibrate_judge(Scores(shop, table), shop, n=50, none_share=0.2)


def test_what_cannot_be_fitted_is_refused(shop, table):
    for wrong in ({"n": 0}, {"none_share": 1.0}, {"none_share": -0.1}):
        with pytest.raises(DataError, match="ask at least one question"):
            calibrate_judge(Scores(shop, table), shop, **wrong)


TEXTS = ["red bolt", "red nut", "green tea", "red screw", "blue pan", "black pot", "white cup"]


@pytest.fixture(scope="module")
def few():
    events = {"sequence_id": [0, 0, 0, 1, 1], "item_id": [0, 1, 1, 2, 3]}
    items = {"item_id": range(len(TEXTS)), "title": TEXTS}
    reading = Reading(min_length=1, rows_in_order=True)
    return from_frame("few", events, items, text="title", reading=reading)


def test_a_calibrated_tfidf_judge_weighs_likeness_and_popularity(few):
    counts = [0, 1, 3, 9, 0, 0, 0]
    history, slates = np.array([[0]]), np.array([[1, 2, 3]])
    (likeness,) = TfidfJudge(few).scores(history, slates)
    assert likeness[0] == likeness[2] > 0 == likeness[1]
    assert TfidfJudge(few).choose(history, slates) == [0]  # the first of two alike

    def pick(**rule):
        return TfidfJudge(few, counts, calibration=Calibration(**rule)).choose(history, slates)[0]

    assert pick(scale=1.0, popularity=0.1) == 2
    assert pick(scale=-9.0, none=-1.0) == 1
    assert pick(scale=1.0, popularity=1.0, none=np.log(10) + likeness[2] + 0.01) == -1
    assert pick(scale=1.0, popularity=1.0, none=np.log(10) + likeness[2] - 0.01) == 2
    with pytest.raises(ValueError, match=r"counts has shape \(2,\)"):
        TfidfJudge(few, [1, 2])


def test_without_a_calibration_the_simple_judges_pick_as_the_papers_form_does():
    industry = load_data("replica/industry")
    rng = np.random.default_rng(0)
    histories = rng.integers(industry.n_items, size=(100, 3))
    slates = rng.integers(industry.n_items, size=(100, 10))
    for judge in (PopularityJudge, TfidfJudge):
        plain, as_paper = judge(industry), judge(industry, calibration=Calibration())
        np.testing.assert_array_equal(
            plain.choose(histories, slates), as_paper.choose(histories, slates)
        )


def test_popularity_has_one_weight(shop):
    rule = calibrate_judge(PopularityJudge(shop), shop, n=50).calibration
    assert rule.popularity == 0 and rule.scale != 0


@pytest.fixture
def card(few):
    return CalibrationCard(
        judge={"model": "tfidf"},
        data={"name": "few", "hash": few.hash, "replica": False},
        calibration=Calibration(3.0, 0.5, 2.0),
        settings={"n": 1, "k": 10, "none_share": 0.1, "seed": 0},
        figures={},
        versions={},
        revision="r",
    )


def test_a_file_is_for_its_judge_and_tells_other_data(few, chains, card, tmp_path, caplog):
    file = tmp_path / "new" / "card.json"
    card.save(file)
    assert CalibrationCard.load(file) == card
    judge = build_judge("tfidf", few, calibration=CalibrationCard.load(file))
    assert (judge.name, judge.calibration) == ("tfidf/calibrated", card.calibration)
    with pytest.raises(DataError, match="of model 'tfidf', not 'popularity'"):
        build_judge("popularity", few, calibration=card)
    build_judge("tfidf", chains, calibration=card)
    assert f"'few', hash {few.hash}" in caplog.text
    assert f"'chains', hash {chains.hash}" in caplog.text


def test_of_several_judges_each_gets_its_own(few, card):
    judges = [PopularityJudge(few), TfidfJudge(few)]
    apply_all({"a.json": card}, judges, few)
    assert [judge.calibration for judge in judges] == [None, card.calibration]
    with pytest.raises(DataError, match="a.json is of none of the judges"):
        apply_all({"a.json": card}, judges[:1], few)
    with pytest.raises(DataError, match="a.json and b.json both calibrate"):
        apply_all({"a.json": card, "b.json": card}, [TfidfJudge(few)], few)


def test_a_local_models_calibration_is_for_its_weights_scoring_and_prompts(chains, tiny_llama):
    judge = build_judge(f"{tiny_llama}@bare", chains, least_mass=0.0)
    about = judge.describe()
    assert about["scoring"] == "label" and about["weights"] and about["template"]
    assert "dtype" not in about and str(tiny_llama.parent) not in json.dumps(about)
    found = calibrate_judge(judge, chains, n=6, k=3)
    assert found.judge == json.loads(json.dumps(about))
    for name, value in (("weights", "0"), ("scoring", "likelihood"), ("template", "0")):
        other = replace(found, judge=found.judge | {name: value})
        with pytest.raises(DataError, match=f"of {name} '{value}', not"):
            other.apply(judge, chains)
    found.apply(judge, chains)
    assert judge.calibration == found.calibration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": {"scale": 1.0, "popularity": 0.0}}, "'none' is 'None', not of type"),
        ({"calibration": {"scale": 10**400, "popularity": 0.0, "none": 1}}, "'scale' is 1000"),
        ({"calibration": {"scale": True, "popularity": 0.0, "none": 1}}, "'scale' is 'True'"),
        ({"judge": "tfidf"}, "'judge' is 'tfidf', not of type dict"),
        ({"data": {"name": "few"}}, "'hash' is 'None', not of type"),
    ],
)
def test_odd_files_are_refused_by_name(card, tmp_path, change, message):
    file = tmp_path / "card.json"
    file.write_text(json.dumps(signed(asdict(card) | change)))
    with pytest.raises(DamagedFileError, match="card.json.*" + message):
        CalibrationCard.load(file)


def test_damaged_files_are_refused_by_name(card, tmp_path):
    file = tmp_path / "card.json"
    card.save(file)
    whole = file.read_text()
    for damaged, message in (
        (whole.replace("3.0", "3.5"), "was changed"),
        (whole.replace("3.0", "NaN"), "no finite number"),
        (whole.replace("3.0", "1e999"), "no finite number"),
        (whole[:-9], "no JSON of recsim, or damaged"),
        ("[]", "holds a list"),
    ):
        file.write_text(damaged)
        with pytest.raises(DamagedFileError, match=f"card.json.*{message}"):
            CalibrationCard.load(file)
    with pytest.raises(DamagedFileError, match="none.json is missing"):
        CalibrationCard.load(tmp_path / "none.json")


def test_the_commands(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["recsim", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    file = tmp_path / "tfidf.json"
    out = run("calibrate-judge", "replica/coat", "--judge", "tfidf", "--output", file, "--n", 40)
    assert "REPLICA" in out and "gain" in out and "scale" in out
    seen = []
    compare = "llm_oracle.study.report.next_item_questions"
    from llm_oracle.study.evaluate import next_item_questions

    def drawn(*args, **kwargs):
        seen.append(next_item_questions(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(compare, drawn)
    report = ("judge-report", "replica/coat", "--n", 20, "--calibration", file)
    out = run(*report, "--judges", "popularity", "tfidf", "--output", tmp_path)
    assert "tfidf/calibrated" in out and "scores add to popularity and text" in out
    saved = json.loads((tmp_path / "replica-coat.json").read_text())
    assert [model["model"] for model in saved["nested"]] == ["popularity", "+ TF-IDF"]
    _, measured_on = halves(load_data("replica/coat"))
    assert all(set(questions.sequences) <= set(measured_on) for questions in seen)
    with pytest.raises(SystemExit, match="is of none of the judges"):
        run(*report, "--judges", "popularity", "--output", tmp_path)
