"""Sessions to look at: what the text, the picture and the terminal say of known sessions."""

import sys
import unicodedata

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import recsim_envs  # noqa: F401
from recsim_envs.envs import RecommenderEnv
from recsim_envs.render.picture import ACCENT, HEIGHT, MARGIN, WIDTH, picture
from recsim_envs.render.session import MAX_CHARS, Session, Step, one_line
from recsim_envs.render.terminal import as_text
from recsim_envs.sb3 import BatchedVecEnv
from recsim_envs.state import get_state, set_state
from recsim_envs.users.patience import Patience

IDS = ["recsim/LFM-v0", "recsim/Industry-v0", "recsim/Coat-v0"]
ids = pytest.mark.parametrize("env_id", IDS)
HOSTILE = "[bold]a[/bold]\x1b[2J\x07\r\nb\u202e\u200b c"


def patience(value):
    return Patience("patience", value, 1.0, 10.0)


def session(n, *, value=5.5, left=False, text="item {}", accepted=True):
    steps = [Step(i, text.format(i), 1.0, accepted, patience(value)) for i in range(1, n + 1)]
    ending = "The user left: bored." if left else ""
    return Session("shop, real", "", ["start"], steps, patience(value), 30, left, left, ending)


def test_patience_is_the_share_of_the_way_to_the_limit():
    shares = {10.0: 1.0, 5.5: 0.5, 1.0: 0.0, 0.99: 0.0, 12.0: 1.0, float("inf"): 1.0}
    assert {value: patience(value).share for value in shares} == shares
    # A patience that begins below its limit.
    assert Patience("patience", 0.5, 1.0, 0.5).share == 0.0
    assert str(patience(5.5)) == "patience 5.50, leaves below 1"


def test_text_of_a_known_session():
    lines = as_text(session(14)).splitlines()
    table = [line.split() for line in lines[1:16]]
    assert lines[0] == "shop, real"
    assert table[0] == ["recommended", "answer", "reward", "patience"]
    assert table[1:4] == [
        ["before", "start"],
        ["…", "2", "earlier"],
        ["3", "item", "3", "accepted", "1.00", "5.50"],
    ]
    assert table[-1] == ["14", "item", "14", "accepted", "1.00", "5.50"]
    assert lines[16:] == [
        "patience " + 15 * "█" + 15 * "░" + " 5.50, leaves below 1",
        "Return 14.00, Length 14 of 30",
    ]
    assert max(map(len, lines)) <= 120


def test_who_has_left_has_no_patience_but_a_reason():
    text = as_text(session(1, value=0.5, left=True, accepted=None))
    assert "█" not in text and "░" not in text and "answer" not in text
    assert text.endswith("The user left: bored.")


def test_the_picture_shows_the_patience_as_a_bar():
    blue = tuple(bytes.fromhex(ACCENT[1:]))
    for value, share in ((10.0, 1.0), (5.5, 0.5), (0.5, 0.0)):
        # Coat's answers are None: else they are as blue as the bar.
        frame = picture(session(3, value=value, accepted=None))
        assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
        widest = (frame == blue).all(axis=2).sum(axis=1).max()
        assert widest == pytest.approx(share * (WIDTH - 2 * MARGIN), abs=2)


def test_pictures_have_one_size_and_differ_by_what_they_show():
    frames = [
        picture(session(n, text=text)) for n, text in ((0, ""), (30, "item"), (30, "W" * 200))
    ]
    assert len({frame.shape for frame in frames}) == 1
    assert len({frame.tobytes() for frame in frames}) == 3
    # A title of any width stays left of the answer.
    assert (frames[2][:, 735:748] == frames[1][:, 735:748]).all()


def test_no_title_rules_a_terminal():
    line = one_line(HOSTILE)
    assert line == "[bold]a[/bold] [2J b c"
    assert one_line("5&quot; a&#27;b") == '5" ab'
    text = as_text(session(2, text=line))
    assert line in text
    assert not any(unicodedata.category(c)[0] == "C" for c in text.replace("\n", ""))
    assert len(one_line("word " * 9999)) <= MAX_CHARS


def test_gymnasium_finds_the_modes_right(capsys):
    check_env(gym.make("recsim/Coat-v0", disable_env_checker=True).unwrapped)


@ids
def test_human_prints_each_step_by_itself(env_id, capsys):
    env = gym.make(env_id, render_mode="human")
    env.reset(seed=0)
    first = capsys.readouterr().out
    assert "Length 0 of" in first and "REPLICA" in first
    env.step(11)
    second = capsys.readouterr().out
    assert env.unwrapped.dataset.items["text"][11] in second and "Length 1 of" in second
    assert env.render() is None
    assert capsys.readouterr().out == second


@ids
def test_a_session_says_why_the_user_left(env_id):
    env = gym.make(env_id, render_mode="ansi")
    _, info = env.reset(seed=0)
    assert env.unwrapped.session().ending == ""
    rewards, terminated = [], False
    while not terminated:
        _, reward, terminated, _, info = env.step(11)
        rewards.append(reward)
    text = env.render()
    value, limit = (info["nearest"], 6) if "nearest" in info else (info["patience"], 1)
    assert value < limit
    now = env.unwrapped.patience()
    assert (now.value, now.leaves_below, now.share) == (value, limit, 0.0)
    assert f"The user left: {now.name} {value:.2f} is below {limit}." in text
    assert f"Return {sum(rewards):.2f}, Length {len(rewards)} of" in text


def test_only_leaves_false_and_the_cap_are_told_apart_from_leaving():
    env = gym.make("recsim/Coat-v0", leaves=False, max_steps=3).unwrapped
    env.reset(seed=0)
    for _ in range(2):
        env.step(5)
    assert env.session().ending.startswith("Only leaves=False keeps the user: distance")
    env.step(5)
    assert env.session().ending.startswith("The session ended at its cap of 3 items")


def test_coat_names_its_shopper():
    env = gym.make("recsim/Coat-v0", render_mode="ansi")
    env.reset(options={"user": 7})
    assert f"user 7: {env.unwrapped.dataset.users['text'][7]}" in env.render()


def test_without_a_session_there_is_nothing_to_show():
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        gym.make("recsim/Coat-v0").unwrapped.session()


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    env = gym.make("recsim/Coat-v0", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(gym.error.DependencyNotInstalled, match="needs PIL.*recsim-ialp"):
        env.render()


# Many users


@pytest.mark.parametrize(
    ("env_id", "mode"),
    [(IDS[0], "Disabled"), (IDS[2], "Disabled"), (IDS[2], "NextStep"), (IDS[2], "SameStep")],
)
def test_a_vector_environment_shows_each_user_as_the_single_one_does(env_id, mode):
    single = gym.make(env_id, render_mode="ansi")
    users = gym.make_vec(env_id, num_envs=1, render_mode="ansi", autoreset_mode=mode)
    single.reset(seed=4)
    users.reset(seed=4)
    assert users.render() == (single.render(),)
    over = False
    while not over:
        *_, terminated, truncated, _ = single.step(11)
        users.step([11])
        over = terminated or truncated
        if mode != "SameStep" or not over:
            assert users.render() == (single.render(),)
    single.reset()
    if mode == "Disabled":
        users.reset()
    if mode == "NextStep":
        users.step([0])
    assert users.render() == (single.render(),)


def test_frames_are_those_of_gymnasiums_own_vector_environment():
    arguments = {"num_envs": 2, "render_mode": "rgb_array"}
    own = gym.make_vec("recsim/Coat-v0", **arguments)
    sync = gym.make_vec("recsim/Coat-v0", vectorization_mode="sync", **arguments)
    for env in (own, sync):
        env.reset(seed=0, options={"user": 3})
        env.step([5, 6])
    assert np.array_equal(own.render(), sync.render())
    assert gym.make_vec("recsim/Coat-v0", num_envs=2).render() is None


def test_a_vector_environment_continues_its_frames():
    users, again = (gym.make_vec(IDS[2], num_envs=2, render_mode="ansi") for _ in range(2))
    users.reset(seed=0)
    users.step([1, 2])
    state = get_state(users)
    again.reset(seed=1)
    set_state(again, state)
    for env in (users, again):
        env.step([3, 4])
    assert again.render() == users.render()
    blind = gym.make_vec(IDS[2], num_envs=2)
    blind.reset(seed=0)
    with pytest.raises(ValueError, match="renders=True.*renders=False"):
        set_state(blind, state)


def test_sb3_gets_images_of_all_users():
    env = BatchedVecEnv(gym.make_vec("recsim/Coat-v0", num_envs=2, render_mode="rgb_array"))
    env.reset()
    assert env.render_mode == "rgb_array"
    assert [image.shape for image in env.get_images()] == [(HEIGHT, WIDTH, 3)] * 2
    assert isinstance(env.render(), np.ndarray)


def test_no_mode_costs_no_log():
    users = gym.make_vec(IDS[2], num_envs=2)
    users.reset(seed=0)
    users.step([1, 2])
    assert users.get_state()["logs"] == []
    assert RecommenderEnv.metadata["render_modes"] == ["human", "ansi", "rgb_array"]
