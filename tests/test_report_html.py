"""The report: what it says, that nobody's title can change it, and that a browser shows it."""

import io
import json
import re
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import expect

from benchmarks import html_sessions
from benchmarks.html import write_report
from benchmarks.records import made_with
from benchmarks.tables import Table
from recsim_envs.errors import DataError

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
HASH = "00112233aabbccdd"


def point(steps, reward):
    return {"steps": steps, "reward": reward, "length": 5.0, "sessions": 100}


def session(items, patience=3.0):
    return {"start": [0], "steps": [[item, 1.5, patience - n] for n, item in enumerate(items)]}


def record(variant="dqn", agent="DQN", seed=0, label=None, start="random", judging=None, **more):
    settings = {
        "variant": {"id": variant, "agent": agent, "start": start},
        "seed": seed,
        "simulation": {"env": "recsim/Industry-v0", "data": "replica", "history": "shown"},
        "testing": {"sessions": 100},
        "judging": judging,
        "online": {"online_steps": 100, "epoch": 10},
    }
    made = {
        "variant": variant,
        "label": label or agent,
        "seed": seed,
        "cell": settings,
        "data": {"name": "industry-replica", "hash": HASH, "replica": True},
        "reward_hashes": ["feed", "beef"],
        **made_with(),
        "revision": "abc",
        "wall_s": 61.0,
        "made": "2026-01-02T03:04:05+00:00",
        "machine": "Linux x86_64, 2 CPUs",
        "points": [point(0, 2.0 + seed), point(50, 4.0 + 3 * seed), point(100, 9.0)],
        "episodes": {
            "steps": list(range(1, 61)),
            "return": [float(n % 7 + seed) for n in range(60)],
            "length": [n % 5 + 1 for n in range(60)],
        },
        "samples": {"before": [session([1, 2])], "after": [session([2, 1, 2])]},
    }
    return made | more


def references(seed=0):
    made = record("references", "references", seed)
    del made["points"], made["episodes"]
    made["cell"]["online"] = None
    played = {"popularity": point(0, 12.0), "myopic oracle": point(0, 99.0)}
    return made | {"references": played, "samples": {"popularity": [session([2])]}}


@pytest.fixture
def catalogue(monkeypatch):
    """The records' data set; tests change it."""
    dataset = SimpleNamespace(
        hash=HASH, items=pd.DataFrame({"text": ["hex bolt", HOSTILE, "limit switch"]})
    )
    users = SimpleNamespace(dataset=dataset)
    monkeypatch.setattr(html_sessions, "make_users", lambda *a, **k: users)
    return dataset


def written(folder, records, tables=(), cards=()):
    file = folder / "report.html"
    write_report(file, records, tables, "A sweep", "python -m x --a 'b'", dict(cards))
    page = file.read_text()
    # Plotly's own code aside, which names hosts of maps.
    start = page.index("plotly.js v")
    page = page[:start] + page[page.index("</script>", start) :]
    return page, json.loads(file.with_suffix(".json").read_text())


def a_sweep():
    agents = [("dqn", "DQN", "random"), ("a-ialp_ap", "A-iALP_ap", "judge")]
    learners = [record(v, a, seed, start=s) for v, a, s in agents for seed in range(3)]
    return [references(seed) for seed in range(3)] + learners


def test_report_says_what_was_measured_and_how(tmp_path, catalogue):
    table = Table("t", "Table 3", ("method", "R"), (("DQN", "9.0"),), ("a note",), ({"R": 9.0},))
    page, content = written(tmp_path, a_sweep(), [table], {"Judge card": "accuracy 0.4"})
    words = ("A sweep", "python -m x --a &#39;b&#39;", "REPLICA", HASH, "feed", "abc", "0:09:09")
    for word in (*words, "torch", "Table 3", "a note", "Judge card", "accuracy 0.4", "hex bolt"):
        assert word in page
    # What was measured with, and how to do it again, comes first.
    assert page.index("python -m x") < page.index("plotly-graph-div") < page.index("Table 3")
    assert content["provenance"]["seeds"] == [0, 1, 2]
    (environment,) = content["environments"]
    titles = [plot["title"] for plot in environment["plots"]]
    assert len(titles) == 4 and titles[0].startswith("Return while learning")
    dqn, trained = environment["plots"][1]["curves"]
    assert (dqn["label"], trained["label"], dqn["seeds"]) == ("DQN", "A-iALP_ap", 3)
    assert dqn["mean"] == [3.0, 7.0, 9.0]
    # Student's t of three seeds: 4.303 standard errors, here 1 / sqrt(3).
    assert dqn["high"][0] == pytest.approx(3 + 4.303 / 3**0.5, abs=1e-3)
    lines = {line["label"]: line for line in environment["plots"][1]["lines"]}
    assert lines["popularity"]["mean"] == 12.0 and lines["popularity"]["shown"]
    assert not lines["myopic oracle"]["shown"]
    assert content["tables"][0]["numbers"] == [{"R": 9.0}]


def test_the_same_user_meets_an_untrained_and_a_trained_agent(tmp_path, catalogue):
    _, content = written(tmp_path, a_sweep())
    ((untrained, trained),) = content["environments"][0]["sessions"]["users"]
    assert (untrained["player"], trained["player"]) == (
        "DQN, untrained, seed 0",
        "A-iALP_ap, trained, seed 0",
    )
    assert [step["text"] for step in trained["steps"]] == ["limit switch", HOSTILE, "limit switch"]
    assert [step["share"] for step in trained["steps"]] == pytest.approx([1, 2 / 3, 1 / 3])
    assert trained["return"] == 4.5


def test_a_hostile_title_is_text(tmp_path, catalogue):
    table = Table("t", HOSTILE, (HOSTILE,), ((HOSTILE,),), (HOSTILE,))
    records = [*a_sweep(), record("bad", "PG", label=HOSTILE)]
    page, _ = written(tmp_path, records, [table], {HOSTILE: HOSTILE})
    assert "<script>window" not in page and "<img" not in page
    assert page.count("&lt;script&gt;window.hacked") >= 6


def test_report_loads_nothing(tmp_path, catalogue):
    page, _ = written(tmp_path, a_sweep())
    assert not re.search(r"""<[^>]+\b(src|href)=(?!"#)|@import|url\(|fetch\(|https?://""", page)
    assert "default-src 'none'" in page


def test_what_has_no_place_in_a_plot_is_named(tmp_path, catalogue):
    records = [record(f"v{n}", "DQN", label=f"method {n}") for n in range(25)]
    page, content = written(tmp_path, records)
    plot = content["environments"][0]["plots"][0]
    assert len(plot["curves"]) == 20
    rest = "20 of 25 curves; left out: method 20; method 21; method 22; method 23; method 24."
    assert rest in plot["notes"] and rest in page


def test_settings_tell_namesakes_apart(tmp_path, catalogue):
    judges = [{"judge": "tfidf"}, {"judge": "smollm2"}]
    records = [record(judging=judge, seed=seed) for judge in judges for seed in (0, 1)]
    _, content = written(tmp_path, records)
    curves = content["environments"][0]["plots"][0]["curves"]
    assert [curve["label"] for curve in curves] == ["DQN, judge tfidf", "DQN, judge smollm2"]
    assert [curve["seeds"] for curve in curves] == [2, 2]


def test_a_setting_that_a_cell_has_not_is_not_in_its_label(tmp_path, catalogue):
    judges = [{"judge": "tfidf"}, {"judge": "smollm2", "least_mass": 0.3}]
    _, content = written(tmp_path, [record(judging=judge) for judge in judges])
    curves = content["environments"][0]["plots"][0]["curves"]
    labels = [curve["label"] for curve in curves]
    assert labels == ["DQN, judge tfidf", "DQN, judge smollm2, least_mass 0.3"]


def test_too_few_sessions_and_one_seed_are_no_error(tmp_path, catalogue):
    short = record(episodes={"steps": [1], "return": [1.0], "length": [1]})
    page, content = written(tmp_path, [short])
    assert "Too few sessions ended for a curve of DQN." in page
    # Of one seed nothing is known of others; JSON has no NaN.
    assert content["environments"][0]["plots"][1]["curves"][0]["low"] == [None] * 3


def test_old_records_are_called_old(tmp_path, catalogue):
    page, content = written(tmp_path, [record() | {"versions": {"torch": "1"}}])
    assert content["provenance"]["old"] == ["DQN, seed 0, recsim/Industry-v0"]
    assert "DQN (old)" in page


@pytest.mark.parametrize("gone", [True, False])
def test_no_texts_rather_than_wrong_ones(tmp_path, catalogue, monkeypatch, gone):
    def fail(*_, **__):
        raise DataError("not prepared")

    catalogue.hash = "another"
    if gone:
        monkeypatch.setattr(html_sessions, "make_users", fail)
    page, _ = written(tmp_path, a_sweep())
    assert ("cannot be loaded" if gone else "is another one now: another") in page
    assert "item 2" in page and "limit switch" not in page


def test_without_a_pair_no_session_is_shown(tmp_path, catalogue):
    page, _ = written(tmp_path, [record("a", "A-iALP_ap", seed=1, start="judge")])
    assert "No seed has both an untrained and a trained agent." in page


def colours(png):
    return len(Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_a_browser_shows_it(tmp_path, catalogue, browser, scheme, width):
    written(tmp_path, [*a_sweep(), record("bad", "PG", label=HOSTILE)])
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())

    # Nothing is wider than the window, but in a box of its own.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    plot = page.locator(".plotly-graph-div").first
    before = plot.screenshot()
    assert colours(before) > 100

    page.get_by_label("95% intervals").first.uncheck()
    band = "document.querySelector('.plotly-graph-div')._fullData.find(d => d.meta === 'band')"
    assert page.evaluate(f"{band}.fill") == "none"
    without = plot.screenshot()
    assert without != before

    plot.locator(".legendtoggle").first.click()
    expect(plot.locator(".legend .traces").first).to_have_css("opacity", "0.5")
    first = "document.querySelector('.plotly-graph-div')._fullData[0].visible"
    assert page.evaluate(first) == "legendonly"
    assert plot.screenshot() != without

    whole = page.screenshot(full_page=True)
    (tmp_path / "report.png").write_bytes(whole)
    assert colours(whole) > 100
    assert page.evaluate("window.hacked") is None
    assert said == []
    assert asked == [(tmp_path / "report.html").as_uri()]
