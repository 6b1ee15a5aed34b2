"""The watched sessions: what is played, who may ask, and that a browser shows it."""

import http.client
import io
import json
import re
import sys
import threading
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import expect
from stable_baselines3 import DQN

from ialp_agents import AIALP, IALP, PG, SASRecActorCriticPolicy, SASRecQPolicy
from ialp_agents.watch import __main__ as command
from ialp_agents.watch.server import WatchServer
from ialp_agents.watch.stage import RANDOM, TRAINED, Stage, load_policy
from recsim_envs.report.play import make_users
from recsim_envs.report.policies import ORACLE
from recsim_envs.sb3 import BatchedVecEnv

HOSTILE = "</td><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
SMALL = {"features_extractor_kwargs": {"embedding_dim": 8, "n_layers": 1}}


def coat():
    return make_users("recsim/Coat-v0", 1, split="test")


@pytest.fixture(scope="module")
def served():
    """A server on which everything is called HOSTILE, at work in a thread."""
    users = coat()
    users.dataset.items["text"] = HOSTILE
    with WatchServer(Stage("recsim/Coat-v0, test users", users, None), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_all_players_meet_the_same_user():
    stage = Stage("coat", coat(), None)
    played = {name: stage.session(name, 5) for name in stage.players}
    assert len({session["user"] for session in played.values()}) == 1
    assert played[RANDOM]["user"] != stage.session(RANDOM, 6)["user"]
    assert stage.session(RANDOM, 5) == played[RANDOM]
    returns = {
        name: sum(step["reward"] for step in session["steps"]) for name, session in played.items()
    }
    assert max(returns, key=returns.get) == ORACLE
    assert played[ORACLE]["start"]["share"] == 1.0
    assert json.dumps(played, allow_nan=False)


def test_a_policy_is_greedy_whatever_file_it_comes_from(tmp_path):
    env = BatchedVecEnv(coat())
    arguments = {"policy_kwargs": SMALL, "seed": 0, "device": "cpu"}
    ialp = IALP("SASRecPolicy", env, buffer_size=10, **arguments)
    ialp.save_pretrained(tmp_path / "folder")
    agents = [ialp, AIALP.from_pretrained(ialp, env, scheme="ap", buffer_size=10)]
    agents.append(PG(SASRecActorCriticPolicy, env, **arguments))
    sources = [tmp_path / "folder"]
    for agent in agents:
        sources.append(tmp_path / f"{type(agent).__name__}.zip")
        agent.save(sources[-1])
    for source, agent in zip(sources, [ialp, *agents], strict=True):
        users = coat()
        session = Stage("coat", users, load_policy(source, users)).session(TRAINED, 3)
        observation, _ = users.reset(seed=3)
        first = int(agent.predict(observation, deterministic=True)[0][0])
        assert session["steps"][0]["text"] == users.dataset.items["text"][first]


def test_other_files_are_refused(tmp_path):
    users = coat()
    DQN(SASRecQPolicy, BatchedVecEnv(users), buffer_size=10, policy_kwargs=SMALL).save(
        tmp_path / "dqn.zip"
    )
    with pytest.raises(ValueError, match="pickles"):
        load_policy(tmp_path / "dqn.zip", users)
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        load_policy(tmp_path, users)
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path / "none.zip", users)
    other = SimpleNamespace(name="other", hash="0", n_items=300)
    ialp = IALP("SASRecPolicy", BatchedVecEnv(users), buffer_size=10, policy_kwargs=SMALL)
    ialp.env.env.simulator.dataset = other
    ialp.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'other'.*coat"):
        load_policy(tmp_path, coat())


def test_the_command_serves_until_it_is_interrupted(monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(WatchServer, "serve_forever", interrupt)
    command.watch("recsim/Coat-v0", port=0)
    assert capsys.readouterr().out.startswith("watch at http://127.0.0.1:")
    with pytest.raises(ValueError, match="--history accepted"):
        command.watch("recsim/Coat-v0", history="accepted")


def test_a_taken_port_is_named(served):
    with pytest.raises(OSError, match=r"--port \d+ of 127.0.0.1.*give another"):
        WatchServer(served.stage, served.server_address[1])


def test_only_this_machine_asks(served):
    assert served.server_address[0] == "127.0.0.1"
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        answer, content = ask(served, "/session?player=random&seed=0", host)
        assert answer.status == 403 and b"steps" not in content
    for host in ("localhost:1234", "127.0.0.1", None):
        assert ask(served, "/about", host)[0].status == 200


def test_what_is_asked_is_checked(served):
    for query, word in (
        ("player=nobody&seed=0", "nobody"),
        ("player=random&seed=-1", "'-1'"),
        ("player=random&seed=1.5", "'1.5'"),
        ("player=random&seed=9999999999", "9999999999 is out of range"),
        ("player=random", "''"),
    ):
        answer, content = ask(served, f"/session?{query}")
        assert answer.status == 400 and word in json.loads(content)["error"]
    for path in ("/../stage.py", "/stage.py", "//etc/passwd", "/x"):
        assert ask(served, path)[0].status == 404


def test_the_browser_is_told_to_run_nothing_else(served):
    for path in ("/", "/page.js", "/page.css", "/look.css", "/about", "/x"):
        answer, _ = ask(served, path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_a_browser_steps_through_two_sessions(served, browser, tmp_path, scheme, width):
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.url)
    left, right = page.locator(".side").all()
    place = page.locator("#place")

    oracle = served.stage.session(ORACLE, 0)
    expect(place).to_have_text("step 0 of 30")
    assert "REPLICA" in page.inner_text("header")
    assert page.inner_text("#user") == oracle["user"]
    expect(right.locator(".player")).to_have_value(ORACLE)
    expect(right.locator("tbody tr")).to_have_count(0)

    page.get_by_role("button", name="next", exact=True).click()
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text("step 2 of 30")
    expect(right.locator("tbody tr")).to_have_count(2)
    earned = sum(step["reward"] for step in oracle["steps"][:2])
    assert right.locator(".sum").inner_text() == f"Return {earned:.2f}, Length 2"
    assert right.locator("tbody tr").last.locator("td").nth(1).inner_text() == HOSTILE
    page.get_by_role("button", name="back").click()
    expect(place).to_have_text("step 1 of 30")

    page.get_by_role("button", name="play").click()
    expect(place).to_have_text(re.compile("step ([3-9]|1.) of 30"))
    page.get_by_role("button", name="pause").click()
    expect(page.get_by_role("button", name="play")).to_be_visible()

    page.fill("#seed", "7")
    page.press("#seed", "Enter")
    expect(page.locator("#user")).to_have_text(served.stage.session(RANDOM, 7)["user"])
    page.get_by_role("button", name="next user").click()
    expect(page.locator("#seed")).to_have_value("8")
    session = served.stage.session(RANDOM, 8)
    expect(page.locator("#user")).to_have_text(session["user"])
    expect(place).to_have_text("step 0 of 30")
    for _ in session["steps"]:
        page.get_by_role("button", name="next", exact=True).click()
    expect(left.locator(".ending")).to_have_text(session["ending"])

    whole = page.screenshot(full_page=True)
    (tmp_path / "watch.png").write_bytes(whole)
    assert len(Image.open(io.BytesIO(whole)).convert("RGB").getcolors(1 << 24)) > 100
    # Nothing is wider than the window, but in a box of its own.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("window.hacked") is None
    assert said == []
    assert all(url.startswith((served.url, "data:")) for url in asked)


def test_a_wrong_seed_is_said_on_the_page(served, browser):
    page = browser.new_page()
    page.goto(served.url)
    expect(page.locator("#place")).to_have_text("step 0 of 30")
    page.fill("#seed", "-3")
    page.press("#seed", "Enter")
    expect(page.locator("#error")).to_have_text(
        "The seed must be a whole number from 0 to 4294967295."
    )


def test_main_says_what_is_wrong_in_one_line(monkeypatch, tmp_path):
    import runpy

    arguments = ["watch", "--env", "recsim/Coat-v0", "--policy", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.delitem(sys.modules, "ialp_agents.watch.__main__")
    with pytest.raises(SystemExit, match=r"^ialp_agents.watch: .*policy.safetensors is missing"):
        runpy.run_module("ialp_agents.watch", run_name="__main__")
