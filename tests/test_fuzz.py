"""Damaged and odd files: each is read as what it was, or refused by an error that names it.

300 cases, in CI; `make fuzz` draws 10,000.
"""

import collections
import contextlib
import json
import os
import resource
import shutil
import sqlite3
import time
import warnings
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import damaged
from safetensors.numpy import save
from test_agents_learning import QUICK, weights
from test_agents_toys import Clusters, vectorized
from test_faults import SMALL, rings, unfitted

import recsim_envs  # noqa: F401  (registers the ids)
from ialp_agents import IALP
from ialp_agents.saving.checkpoint import resume
from ialp_agents.saving.checkpoint import save as save_checkpoint
from llm_oracle.cache import VerdictCache, cache_stats, prune_verdicts, read_verdicts
from llm_oracle.judges.language import Calibration
from llm_oracle.language_model.adapters import AdapterCard, check_adapter
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import Reading
from recsim_envs.data.stored import ABOUT, read_card
from recsim_envs.data.tables import from_frame, import_tables
from recsim_envs.errors import DataError
from recsim_envs.files import content_hash, signed
from recsim_envs.rewards.prepare import prepare

CASES = int(os.environ.get("RECSIM_FUZZ", "300"))
SECONDS = 5.0
"""Of the processor, for one file; most take a hundredth."""
MEMORY = 1 << 30
"""Bytes that reading small files may add to the process."""
COUNTS: collections.Counter[tuple[str, str]] = collections.Counter()

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]


def cases(share):
    return settings(
        max_examples=max(1, round(CASES * share)),
        deadline=None,  # of the wall, and other processes' time is none of ours
        derandomize=CASES == 300,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def report():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(*(f"\n{kind}: {n} {what}" for (kind, what), n in sorted(COUNTS.items())))
    assert grown < MEMORY


@contextlib.contextmanager
def outcome(kind, names, *errors):
    """Lets pass what names one of ``names``, within the time."""
    start, what = time.process_time(), "read"
    try:
        yield
    except errors as error:
        what = "refused"
        assert any(str(name) in str(error) for name in names), f"unnamed: {error}"
    COUNTS[kind, what] += 1
    assert time.process_time() - start < SECONDS


def fresh(base, files):
    """A folder with the files; None is none."""
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    for name, content in files.items():
        if content is not None:
            (base / name).parent.mkdir(exist_ok=True)
            (base / name).write_bytes(content)
    return base


def contents(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


# Tables of users.

OWN = {
    "items.csv": b"item_id,title,brand\n"
    + b"".join(b"%d,red bolt %d,brand %d\n" % (i, i, i % 3) for i in range(14)),
    "interactions.csv": b"user_id,item_id,time,rating\n"
    + b"".join(b"%d,%d,%d,%d\n" % (i % 6, i * 5 % 14, 1.6e9 + 7 * i, 1 + i % 5) for i in range(40)),
    "users.csv": b"user_id,town\n" + b"".join(b"%d,Bonn\n" % i for i in range(6)),
}
ITEM_MAP = b"gender:men\ngender:women\njackettype:parkas\ncolor:red\ncolor:blue\nonfrontpage:yes\n"
USER_MAP = b"gender:men\ngender:women\nage:20-30\nlocation:rural\nfashioninterest:very\n"
COAT = {
    "train.ascii": b"\n".join(b"5 0 3 0 1 0 2 0 4 0 0 0" for _ in range(5)) + b"\n",
    "test.ascii": b"\n".join(b"0 2 0 4 0 1 0 0 0 0 5 0" for _ in range(5)) + b"\n",
    "user_item_features/item_features.ascii": b"\n".join([b"1 0 1 1 0 1", b"0 1 1 0 1 1"] * 6),
    "user_item_features/item_features_map.txt": ITEM_MAP,
    "user_item_features/user_features.ascii": b"\n".join([b"1 0 1 1 1"] * 5),
    "user_item_features/user_features_map.txt": USER_MAP,
}
READINGS = [Reading(), Reading(min_length=1, liked=1), Reading(all_ratings=True)]


@cases(0.25)
@given(change=damaged(OWN), reading=st.sampled_from(READINGS))
def test_own_tables(tmp_path_factory, change, reading):
    folder = fresh(tmp_path_factory.getbasetemp() / "own", {**OWN, change[0]: change[1]})
    with outcome("own tables", [folder], DataError):
        assert import_tables(folder, "own", text=("title",), reading=reading).hash


@cases(0.15)
@given(change=damaged(COAT))
def test_coats_files(tmp_path_factory, change):
    folder = fresh(tmp_path_factory.getbasetemp() / "coat", {**COAT, change[0]: change[1]})
    with outcome("Coat's files", [folder], DataError):
        assert import_tables(folder, "coat").hash


VALUES = st.one_of(
    st.integers(-2, 15), st.sampled_from([2**70, -(2**63)]), st.floats(), st.text(max_size=3),
    st.none(), st.booleans(), st.binary(max_size=2), st.dates(), st.just([1]), st.just({"a": 1}),
    st.sampled_from(["7", "007", "\ud800", "a\0", np.float32(3), np.int8(3), np.nan, 1.6e9]),
)  # fmt: skip


@cases(0.1)
@given(
    table=st.sampled_from(["interactions", "items"]),
    name=st.sampled_from(["item_id", "user_id", "sequence_id", "time", "rating", "position", "a"]),
    values=st.lists(VALUES, min_size=14, max_size=14),
    whole=st.booleans(),
)
def test_frames(table, name, values, whole):
    frames = {
        "interactions": {"user_id": [i % 3 for i in range(14)], "item_id": list(range(14))},
        "items": {"item_id": list(range(14)), "title": [f"bolt {i}" for i in range(14)]},
    }
    column = frames[table].get(name, values)
    frames[table][name] = values if whole else [*column[:7], values[0], *column[8:]]
    with outcome("frames", ["interactions", "items"], DataError):
        assert from_frame("f", **frames, text="title").hash


# What recsim wrote.


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One of each kind of stored file."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsim_envs.rewards.prepare.fit_reward_model", unfitted)
        prepare(rings(), base / "sequences", **SMALL)
        coat = import_tables(fresh(base / "coat", COAT), "ratings")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepare(coat, base / "ratings")
    model = IALP("SASRecPolicy", vectorized(Clusters, k=4), **QUICK).learn(32)
    model.save_pretrained(base / "pretrained")
    model.save(base / "zip" / "agent.zip")
    save_checkpoint(model, base / "checkpoint")
    cache = VerdictCache(base / "cache" / "verdicts.sqlite", {"model": "m"})
    for i in range(40):
        cache.put(json.dumps([f"question {i}"]), np.array([i, -i], np.float32))
    cache._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cache.close()
    (base / "adapter").mkdir()
    tensors = {"lora_A": np.ones((2, 3), np.float32), "lora_B": np.ones((3, 2), np.float32)}
    (base / "adapter" / "adapter_model.safetensors").write_bytes(save(tensors))
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "auto_mapping": None}
    (base / "adapter" / "adapter_config.json").write_text(json.dumps(config, indent=1))
    rule = {"music": Calibration()}
    AdapterCard("m", "label", 6, rule, {"d": "ab"}, {"k": 3}, "2").save(base / "adapter")
    model.env = None
    return base, {"weights": weights(model)}


def changed(kept, kind, data, folder):
    files = contents(kept[0] / kind)
    name, content = data.draw(damaged(files))
    if name.endswith((".csv.gz", "card.json", ".safetensors", ABOUT)) and data.draw(st.booleans()):
        return fresh(folder, {**files, name: content}), name, True
    return fresh(folder, {**files, name: content}), name, False


def sign(folder, name):
    """What somebody who knows how would do: make the hashes right again."""
    file = folder / ABOUT
    with contextlib.suppress(ValueError, RecursionError, OSError, AttributeError, TypeError):
        about = json.loads(file.read_bytes())
        if name != ABOUT:
            about["files"][name] = content_hash((folder / name).read_bytes())
        file.write_text(json.dumps(signed(about)))


@pytest.mark.parametrize("kind", ["sequences", "ratings"])
@cases(0.11)
@given(data=st.data())
def test_prepared_data(kept, tmp_path_factory, kind, data):
    home = tmp_path_factory.getbasetemp() / "home"
    folder, name, resigned = changed(kept, kind, data, home / kind)
    if resigned:
        sign(folder, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSIM_DATA", str(home))
        with outcome(f"data, {kind}", [folder, "is not prepared"], DataError):
            read_card(folder)
            id_ = "recsim/Industry-v0" if kind == "sequences" else "recsim/Coat-v0"
            for split in ("train", "test"):
                env = gym.make(id_, data=kind, split=split)
                env.action_space.seed(0)
                env.reset(seed=0)
                assert np.isfinite(env.step(env.action_space.sample())[1])
            if not resigned:
                original = Dataset.load(kept[0] / kind)
                assert env.unwrapped.dataset.hash == original.hash
                assert repr(env.unwrapped.dataset) == repr(original)


@cases(0.06)
@given(data=st.data())
def test_pretrained_policies(kept, tmp_path_factory, data):
    folder, _, _ = changed(kept, "pretrained", data, tmp_path_factory.getbasetemp() / "pre")
    env = vectorized(Clusters)
    with outcome("agent, pretrained", [folder], ValueError, FileNotFoundError):
        again = weights(IALP.from_pretrained(folder, env))
        assert all(torch.equal(a, b) for a, b in zip(again, kept[1]["weights"], strict=True))


@cases(0.06)
@given(data=st.data())
def test_zips(kept, tmp_path_factory, data):
    folder, _, _ = changed(kept, "zip", data, tmp_path_factory.getbasetemp() / "zipped")
    env = vectorized(Clusters)
    with outcome("agent, zip", [folder], ValueError, FileNotFoundError):
        again = weights(IALP.load(folder / "agent.zip", env))
        assert all(torch.equal(a, b) for a, b in zip(again, kept[1]["weights"], strict=True))


@cases(0.04)
@given(data=st.data())
def test_checkpoints(kept, tmp_path_factory, data):
    folder, _, _ = changed(kept, "checkpoint", data, tmp_path_factory.getbasetemp() / "check")
    model = IALP("SASRecPolicy", vectorized(Clusters, k=4), **QUICK)
    with outcome("agent, checkpoint", [folder], ValueError, FileNotFoundError):
        resume(model, folder)
        assert all(
            torch.equal(a, b) for a, b in zip(weights(model), kept[1]["weights"], strict=True)
        )


@cases(0.07)
@given(data=st.data())
def test_verdict_caches(kept, tmp_path_factory, data):
    folder, _, _ = changed(kept, "cache", data, tmp_path_factory.getbasetemp() / "cached")
    file = folder / "verdicts.sqlite"
    errors = (sqlite3.DatabaseError, FileNotFoundError)
    for use in (partial(ask, file), partial(export, file), partial(prune_verdicts, file, 0.0)):
        with outcome("cache", [file], *errors):
            use()


def ask(file):
    cache = VerdictCache(file, {"model": "m"})
    with contextlib.closing(cache):
        for i in range(40):
            found = cache.get(json.dumps([f"question {i}"]))
            assert found is None or found.tolist() == [i, -i]
        cache.put(json.dumps(["new"]), np.array([1.0]))


def export(file):
    cache_stats(file)
    for verdict in read_verdicts(file):
        if verdict["question"] != ["new"]:
            i = int(verdict["question"][0].split()[1])
            assert verdict["scores"] == [i, -i]


@cases(0.05)
@given(data=st.data())
def test_adapters(kept, tmp_path_factory, data):
    folder, _, _ = changed(kept, "adapter", data, tmp_path_factory.getbasetemp() / "adapted")
    with outcome("adapter", [folder], DataError, FileNotFoundError):
        card = AdapterCard.load(folder, "m")
        check_adapter(folder)
        assert card == AdapterCard.load(Path(kept[0] / "adapter"), "m")


def test_undamaged_files_are_read(kept, tmp_path):
    """Or all of the above would show nothing."""
    for reading in READINGS:
        assert import_tables(fresh(tmp_path / "o", OWN), "o", text=("title",), reading=reading)
    assert import_tables(fresh(tmp_path / "c", COAT), "c").n_users == 5
    cache = fresh(tmp_path / "cache", contents(kept[0] / "cache")) / "verdicts.sqlite"
    for use in (ask, export, partial(prune_verdicts, before=0.0)):
        use(cache)
    AdapterCard.load(kept[0] / "adapter", "m")
    assert IALP.load(kept[0] / "zip" / "agent.zip", vectorized(Clusters))
