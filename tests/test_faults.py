"""Killed, crossed, full, read-only, old: data is one whole version, or an error with a fix."""

import errno
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import recsim_envs  # noqa: F401  (registers the ids)
from recsim_envs.data import replace as replacement
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.replace import replacing
from recsim_envs.data.store import REPLICAS, data_folder, data_home, prepared_names
from recsim_envs.data.stored import ABOUT, aside, read_card, read_stored, write_about
from recsim_envs.data.tables import from_frame
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import read_whole
from recsim_envs.rewards.prepare import prepare
from recsim_envs.rewards.reward_model import SequenceRewardModel
from recsim_envs.users.sessions import load_session_simulator

SMALL = {"embedding_dim": 8, "similarity_dim": 8, "max_epochs": 1}
needs_fork = pytest.mark.skipif(os.name != "posix", reason="needs fork and kill -9")


def rings(split_seed=0):
    rows = [(s, 5 * (s % 4) + (s + i) % 5, i) for s in range(30) for i in range(5)]
    sequence, item, position = zip(*rows, strict=True)
    events = {"sequence_id": sequence, "item_id": item, "position": position}
    items = {"item_id": range(20), "title": [f"ring {i // 5}, item {i}" for i in range(20)]}
    return from_frame("mine", events, items, text="title", split_seed=split_seed)


def unfitted(sequences, n_items, *, seed, history_length, embedding_dim, similarity_dim, **_):
    """A reward model in no time, another for each seed."""
    torch.manual_seed(seed)
    return SequenceRewardModel(n_items, history_length, embedding_dim, similarity_dim).eval()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "home"))
    monkeypatch.setattr("recsim_envs.rewards.prepare.fit_reward_model", unfitted)
    return tmp_path / "home"


def version_there(name="mine"):
    """What gym.make finds: the hashes of data and rewards, which must be of one prepare."""
    env = gym.make("recsim/Industry-v0", data=name)
    env.reset(seed=0)
    assert np.isfinite(env.step(0)[1])
    users = env.unwrapped.simulator
    return users.dataset.hash, users.reward_hash


KILLS = """
import os, signal, sys
from pathlib import Path
import recsim_envs.rewards.prepare as rewards
from recsim_envs.data.store import data_home, prepared_names
from recsim_envs.data.stored import read_stored
from recsim_envs.users.sessions import load_session_simulator
sys.path.insert(0, sys.argv[1])
from test_faults import SMALL, found, rings, unfitted
rewards.fit_reward_model = unfitted
# Only what is written matters here, and not what it says.
rewards.calibrate_repeats = lambda stored, *_: stored.repeat_bias
rewards.reward_model_figures = rewards.repeat_rates = rewards.baseline_figures = lambda *_: {}
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}

def run(seed, at):
    "Prepares in a child, which is killed at its at-th change of the data's home."
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = [at]
    def count(event, arguments):
        if event in EVENTS and str(data_home()) in str(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    rewards.prepare(rings(seed), data_home() / "mine", seed=seed, **SMALL)
    os._exit(0)

whole = []
for seed in (0, 1):
    assert run(seed, -1) == 0
    whole.append(found())
assert whole[0] != whole[1]
kills = changed = 0
while True:
    seed = whole.index(found()) ^ 1  # the other one, so that old and new differ
    if run(seed, kills + 1) == 0:
        break
    kills += 1
    assert prepared_names() == ["mine"], prepared_names()
    now = found()
    assert now in whole, (kills, now)
    changed += now == whole[seed]
assert found() == whole[seed]
print(kills, changed, sorted(os.listdir(data_home())))
"""


def found():
    stored = read_stored(data_folder("mine", ""), "train.safetensors", "test.safetensors")
    simulators = [
        load_session_simulator(
            1, "industry", "products", data="mine", split=split, test_model="all",
            user_model="reconstruction", history=None, patience=None, max_steps=12, leaves=True,
            repeats="allow",
        )
        for split in ("train", "test")
    ]  # fmt: skip
    hashes = [simulator.reward_hash for simulator in simulators]
    assert hashes == [stored.about["files"][f"{split}.safetensors"] for split in ("train", "test")]
    return simulators[0].dataset.hash, *hashes


@needs_fork
def test_killed_at_any_moment_leaves_the_old_or_the_new_data(tmp_path):
    """Kills a prepare before each of its changes of the disk, one after the other."""
    env = {**os.environ, "RECSIM_DATA": str(tmp_path / "home")}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLS, str(Path(__file__).parent)],
        env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    kills, changed, names = ran.stdout.splitlines()[-1].split(maxsplit=2)
    assert int(kills) > 30, "files, folders and both renames"
    assert 1 <= int(changed) < int(kills), "some kills were after the new data had its place"
    assert names == "['mine']", "what the killed ones left was removed by the last"


def test_a_second_prepare_of_a_name_is_refused_at_once(home):
    prepare(rings(), home / "mine", **SMALL)
    before = version_there()
    with replacing(home / "mine"):
        with pytest.raises(DataError, match=r"another process is preparing .*mine: wait for it"):
            prepare(rings(1), home / "mine", **SMALL)
        prepare(rings(1), home / "other", **SMALL)  # another name may
        assert version_there() == before
    assert read_stored(REPLICAS / "coat"), "the with-block above built nothing"


def test_an_empty_build_is_no_data(home):
    with replacing(home / "mine"):
        pass
    assert prepared_names() == []
    with pytest.raises(DataError, match="'mine' is not prepared"):
        gym.make("recsim/Industry-v0", data="mine")


def test_a_reader_gets_one_version_while_data_is_replaced(home, tmp_path):
    versions = {}
    for seed in (0, 1):
        prepare(rings(seed), tmp_path / f"v{seed}", seed=seed, **SMALL)
        prepare(rings(seed), home / "mine", seed=seed, **SMALL)
        versions[version_there()] = seed
    contents = [
        {file.name: file.read_bytes() for file in (tmp_path / f"v{seed}").iterdir()}
        for seed in (0, 1)
    ]
    stop = threading.Event()

    def swap():
        n = 0
        while not stop.is_set():
            n += 1
            with replacing(home / "mine") as build:
                for name, content in contents[n % 2].items():
                    (build / name).write_bytes(content)
            stop.wait(0.002)

    writer = threading.Thread(target=swap)
    writer.start()
    try:
        seen = {versions[version_there()] for _ in range(60)}
    finally:
        stop.set()
        writer.join()
    assert seen == {0, 1}


def test_a_file_that_goes_away_while_it_is_read_is_named(tmp_path, monkeypatch):
    file = tmp_path / "items.csv.gz"
    file.write_bytes(b"x")

    def too_late(self):
        self.unlink()
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_bytes", too_late)
    with pytest.raises(DamagedFileError, match="items.csv.gz was removed while it was read"):
        read_whole(file)


def test_between_the_two_renames_the_old_data_is_found(home, monkeypatch):
    prepare(rings(), home / "mine", **SMALL)
    before = version_there()
    aside(home / "mine").mkdir()
    (home / "mine").rename(aside(home / "mine") / "old")  # as a kill there leaves it
    assert prepared_names() == ["mine"]
    assert version_there() == before
    assert read_card(home / "mine")["data_hash"] == before[0]
    prepare(rings(1), home / "mine", **SMALL)
    assert os.listdir(home) == ["mine"]
    assert version_there() != before


def test_a_swap_that_fails_puts_the_old_data_back(home, monkeypatch):
    prepare(rings(), home / "mine", **SMALL)
    before = version_there()

    def half(folder, build, old):
        folder.rename(old)
        raise PermissionError(errno.EACCES, "in use", str(folder))

    monkeypatch.setattr(replacement, "_swap", half)
    with pytest.raises(DataError, match="mine cannot be written .*in use.* RECSIM_DATA"):
        prepare(rings(1), home / "mine", **SMALL)
    assert version_there() == before
    assert os.listdir(home) == ["mine"]


@needs_fork
@pytest.mark.parametrize("bytes_left", [0, 200, 3000])
def test_a_full_disk_leaves_what_was_there(home, bytes_left):
    """The kernel's own limit of a file's size stands in for the disk's end."""
    import resource
    import signal

    prepare(rings(), home / "mine", **SMALL)
    before = version_there()
    old, limits = (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot be written .*free space there.*RECSIM_DATA"):
            prepare(rings(1), home / "mine", **SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert version_there() == before
    assert os.listdir(home) == ["mine"]


@needs_fork
def test_a_read_only_home_is_named_and_can_be_read(home, monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # not in pytest's, which others cannot enter
        os.chmod(folder, 0o755)
        home = Path(folder) / "home"
        monkeypatch.setenv("RECSIM_DATA", str(home))
        prepare(rings(), home / "mine", **SMALL)
        before = version_there()
        home.chmod(0o555)
        if os.getuid() == 0:
            os.seteuid(65534)  # root may write anywhere
        try:
            assert version_there() == before
            for name in ("mine", "other"):
                with pytest.raises(DataError, match=rf"home.{name} cannot be written .*RECSIM_DAT"):
                    prepare(rings(1), home / name, **SMALL)
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            home.chmod(0o755)
        assert version_there() == before


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("smile")
    (tmp_path / "file").write_text("me, too")
    for name in ("photos", "file"):
        with pytest.raises(DataError, match=f"{name} exists and is no prepared data"):
            prepare(rings(), tmp_path / name, **SMALL)
    assert (tmp_path / "photos" / "one.jpg").read_text() == "smile"


def test_what_stands_beside_the_data_is_left_alone(home):
    """A user's own hidden folder may have the name of the data."""
    (home / ".mine" / "old").mkdir(parents=True)
    prepare(rings(), home / "mine", **SMALL)
    assert (home / ".mine" / "old").is_dir()


@pytest.mark.parametrize("version", [1, 2, 4])
def test_data_of_another_version_names_file_and_fix(home, version):
    prepare(rings(), home / "mine", **SMALL)
    about = json.loads((home / "mine" / ABOUT).read_text())
    about["format"] = version
    (home / "mine" / ABOUT).write_text(json.dumps(about))
    with pytest.raises(DataError, match=rf"{ABOUT} is of format {version}.*`recsim prepare mine"):
        gym.make("recsim/Industry-v0", data="mine")


def test_a_mix_of_two_versions_is_refused(home):
    """The same tables, fitted with two seeds: only the hashes of the files tell."""
    prepare(rings(), home / "mine", seed=0, **SMALL)
    other = (home / "mine" / "train.safetensors").read_bytes()
    prepare(rings(), home / "mine", seed=1, **SMALL)
    (home / "mine" / "train.safetensors").write_bytes(other)
    with pytest.raises(DataError, match=r"train.safetensors was changed.*recsim prepare mine"):
        gym.make("recsim/Industry-v0", data="mine")
    assert Dataset.load(home / "mine"), "its tables are whole"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(home, value):
    from safetensors.numpy import load, save

    prepare(rings(), home / "mine", **SMALL)
    file = home / "mine" / "train.safetensors"
    weights = load(file.read_bytes())
    weights["lag_weight"][2] = value
    file.write_bytes(save(weights))
    Dataset.load(home / "mine").save_about(home / "mine")  # somebody who knows how
    with pytest.raises(DataError, match="train.safetensors: lag_weight holds NaN or inf"):
        gym.make("recsim/Industry-v0", data="mine")


@pytest.mark.parametrize("name", ["lag_weight", "encoder.norm.bias", "item_bias.weight"])
def test_weights_of_other_shapes_are_refused(home, name):
    from safetensors.numpy import load, save

    prepare(rings(), home / "mine", **SMALL)
    file = home / "mine" / "train.safetensors"
    weights = load(file.read_bytes())
    weights[name] = weights[name][1:]
    file.write_bytes(save(weights))
    Dataset.load(home / "mine").save_about(home / "mine")
    with pytest.raises(DataError, match=r"train.safetensors .*damaged"):
        gym.make("recsim/Industry-v0", data="mine")


@pytest.mark.parametrize("cell", ["1e300", "-1", "20", "", "x", "1.5", "nan"])
def test_items_that_are_none_are_refused(home, cell):
    prepare(rings(), home / "mine", **SMALL)
    file = home / "mine" / "interactions.csv.gz"
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")
    lines[3] = f"0,{cell}"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    about = json.loads((home / "mine" / ABOUT).read_text())
    own = {k: v for k, v in about.items() if k not in ("format", "files", "check")}
    write_about(home / "mine", own)
    with pytest.raises(DataError, match=r"mine.* is damaged"):
        Dataset.load(home / "mine")


def test_any_field_of_dataset_json_is_guarded(home):
    prepare(rings(), home / "mine", **SMALL)
    file = home / "mine" / ABOUT
    about = json.loads(file.read_text())
    for name, value in {**about, "replica": True, "name": "other"}.items():
        changed = {**about, name: f"{value}0" if value == about[name] else value}
        file.write_text(json.dumps(changed))
        with pytest.raises(DataError, match=rf"{ABOUT}"):
            Dataset.load(home / "mine")


def test_data_is_found_by_its_name_alone(home, tmp_path):
    prepare(rings(), tmp_path / "elsewhere", **SMALL)
    prepare(rings(), home / "mine", **SMALL)
    names = [
        "../elsewhere",
        str(tmp_path / "elsewhere"),
        "~",
        "mine/",
        ".",
        "..",
        "",
        "a\0b",
        "x" * 101,
    ]
    names += ["mine/../mine", ".mine", "..\\elsewhere", "C:elsewhere", "a\nb", "x" * 10_000]
    for name in names:
        with pytest.raises(DataError, match="cannot be used: choose another") as error:
            gym.make("recsim/Industry-v0", data=name)
        assert len(str(error.value)) < 400
    assert data_home() == home
    assert data_folder("mine", "") == home / "mine"


def test_signing_is_of_what_is_there(tmp_path):
    rings().save(tmp_path)
    first = (tmp_path / ABOUT).read_bytes()
    rings().save(tmp_path)
    assert (tmp_path / ABOUT).read_bytes() == first
    about = {k: v for k, v in json.loads(first).items() if k not in ("format", "files", "check")}
    write_about(tmp_path, about)
    assert (tmp_path / ABOUT).read_bytes() == first
    assert replace(rings(), name="a").hash == Dataset.load(tmp_path).hash
