"""Files from strangers: what is planted in any kind of file we load does not run, nor leads out."""

import gzip
import io
import json
import os
import pickle
import re
import sqlite3
import time
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_agents_learning import QUICK
from test_agents_toys import Clusters, vectorized
from test_faults import SMALL, rings, unfitted

import recsim_envs  # noqa: F401  (registers the ids)
from ialp_agents import IALP
from ialp_agents.saving.checkpoint import resume
from ialp_agents.saving.checkpoint import save as save_checkpoint
from ialp_agents.saving.pretrained import FILE, FORMAT, KINDS
from llm_oracle.cache import VerdictCache, cache_stats
from llm_oracle.language_model.adapters import AdapterCard, check_adapter
from llm_oracle.language_model.local import LanguageModel
from recsim_envs.data.account import Account
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import PLAIN, Reading
from recsim_envs.data.sources.formats import FORMATS
from recsim_envs.data.sources.lfm1b import read_events
from recsim_envs.data.sources.own import read_own
from recsim_envs.data.stored import read_card, write_about
from recsim_envs.data.tables import import_tables
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import ALWAYS_UNPACKED, read_json, unpack
from recsim_envs.rewards.prepare import prepare
from recsim_envs.trees import from_bytes, to_bytes


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def pickles(ran):
    """A payload as pickle, torch and numpy write it."""
    by_torch, by_numpy = io.BytesIO(), io.BytesIO()
    torch.save({"weight": Payload(ran)}, by_torch)
    np.save(by_numpy, np.array([Payload(ran)], dtype=object), allow_pickle=True)
    return [pickle.dumps(Payload(ran)), by_torch.getvalue(), by_numpy.getvalue()]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path))
    monkeypatch.setattr("recsim_envs.rewards.prepare.fit_reward_model", unfitted)
    prepare(rings(), tmp_path / "mine", **SMALL)
    return tmp_path / "mine"


def sign(folder):
    about = json.loads((folder / "dataset.json").read_text())
    write_about(folder, {k: v for k, v in about.items() if k not in ("format", "files", "check")})


def test_the_payload_would_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir(), "or the other tests would show nothing"


def test_a_payload_in_any_file_of_a_data_set(mine, tmp_path):
    ran = tmp_path / "ran"
    for name in ("dataset.json", "card.json", "items.csv.gz", "interactions.csv.gz",
                 "train.safetensors"):  # fmt: skip
        original = (mine / name).read_bytes()
        for content in [*pickles(ran), *(gzip.compress(content) for content in pickles(ran))]:
            (mine / name).write_bytes(content)
            if name != "dataset.json":
                sign(mine)
            with pytest.raises(DataError, match=name):
                read_card(mine)
                gym.make("recsim/Industry-v0", data="mine")
        (mine / name).write_bytes(original)
        sign(mine)
    gym.make("recsim/Industry-v0", data="mine")
    assert not ran.exists()


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_payload_in_a_users_files(form, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "home"))
    ran = tmp_path / "ran"
    names = [usual for _, usual in (form.needed | form.also).values()]
    reading = Reading(max_users=2) if form.name == "LFM-1b" else PLAIN
    for number, content in enumerate(pickles(ran)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(folder))):
            import_tables(folder, "x", text=("title",), reading=reading)
    assert not ran.exists()


def test_a_payload_in_a_parquet_file_or_in_the_progress_of_an_import(tmp_path):
    ran, listens = tmp_path / "ran", tmp_path / "LFM-1b_LEs.txt"
    listens.write_text("1\t7\t70\t1\t1300000000\n")
    read_events(listens, 1, tmp_path / "cache")
    progress = next((tmp_path / "cache").glob("*/*.npz"))
    for content in pickles(ran):
        progress.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(progress))):
            read_events(listens, 1, tmp_path / "cache")
        for name in ("items.parquet", "interactions.parquet"):
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"items\.parquet"):
            read_own({"items": tmp_path / "items.parquet"}, Account())
    assert not ran.exists()


def test_a_payload_in_an_agents_files(tmp_path, caplog):
    ran, env = tmp_path / "ran", vectorized(Clusters, k=4)
    env.reset()
    model = IALP("SASRecPolicy", env, **QUICK)
    save_checkpoint(model, tmp_path / "run")
    checkpoint = next((tmp_path / "run").iterdir())
    for content in pickles(ran):
        (tmp_path / "policy.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=r"policy\.safetensors"):
            IALP.from_pretrained(tmp_path, env)
        (tmp_path / "agent.zip").write_bytes(content)  # torch's is a zip
        with pytest.raises(ValueError, match=r"agent\.zip"):
            IALP.load(tmp_path / "agent.zip", env)
        checkpoint.write_bytes(content)
        caplog.clear()
        with pytest.raises(ValueError, match="run"):
            resume(model, tmp_path / "run")
        assert "is damaged" in caplog.text
    assert not ran.exists()


def test_a_payload_in_a_judges_files(tmp_path):
    ran = tmp_path / "ran"
    card = AdapterCard("m", "label", 6, {}, {}, {}, "2")
    config = {"peft_type": "LORA", "r": 2}
    for content in pickles(ran):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        (tmp_path / "adapter_model.bin").write_bytes(content)  # peft would load it
        with pytest.raises(DataError, match=r"adapter_model\.safetensors is missing"):
            check_adapter(tmp_path)
        (tmp_path / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=r"adapter_model\.safetensors"):
            check_adapter(tmp_path)
        card.save(tmp_path)
        (tmp_path / "adapter_config.json").write_bytes(content)
        for read in (check_adapter, lambda folder: AdapterCard.load(folder, "m")):
            with pytest.raises(DataError, match=r"adapter_config\.json"):
                read(tmp_path)
        (tmp_path / "judge.json").write_bytes(content)
        with pytest.raises(DataError, match=r"judge\.json"):
            AdapterCard.load(tmp_path, "m")
        (tmp_path / "verdicts.sqlite").write_bytes(content)
        with pytest.raises(sqlite3.DatabaseError, match=r"verdicts\.sqlite"):
            cache_stats(tmp_path / "verdicts.sqlite")
        (tmp_path / "adapter_model.safetensors").unlink()
    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("auto_mapping", {"parent_library": "antigravity"}), ("megatron_config", {"a": 1}),
     ("modules_to_save", ["lm_head"]), ("r", 10**9), ("peft_type", "PREFIX_TUNING")],
)  # fmt: skip
def test_an_adapters_settings_name_no_code_and_no_memory(tmp_path, name, value):
    config = {"peft_type": "LORA", "r": 2, name: value}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"adapter_config\.json"):
        check_adapter(tmp_path)


def test_a_models_own_code_is_not_run_nor_asked_about(tiny_llama, tmp_path):
    folder, ran = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "strange.py").write_text(f"import os\nos.mkdir({str(ran)!r})\n")
    with pytest.raises(ValueError, match="trust_remote_code|custom code"):
        LanguageModel(folder, device="cpu")
    assert not ran.exists()


def test_pickled_weights_of_a_model_are_not_read(tiny_llama, tmp_path):
    folder, ran = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.save({"weight": Payload(ran)}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        LanguageModel(folder, device="cpu")
    assert not ran.exists()


def test_a_trigger_in_a_cache_is_refused(tmp_path):
    file = tmp_path / "verdicts.sqlite"
    VerdictCache(file, {"model": "m"}).close()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON judges BEGIN DELETE FROM verdicts; END")
    database.close()
    with pytest.raises(sqlite3.DatabaseError, match=r"verdicts\.sqlite .*'t', a view or a trigger"):
        VerdictCache(file, {"model": "m"})


def test_a_cache_of_the_last_version_is_taken_over(tmp_path):
    file = tmp_path / "verdicts.sqlite"
    cache = VerdictCache(file, {"model": "m"})
    cache.put("[1]", np.array([1.0, 2.0]))
    cache._database.executescript(
        "ALTER TABLE verdicts DROP COLUMN digest; PRAGMA user_version = 0"
    )
    cache.close()
    assert VerdictCache(file, {"model": "m"}).get("[1]").tolist() == [1.0, 2.0]


def test_links_do_not_lead_out_of_a_folder(mine, tmp_path):
    for name in ("items.csv.gz", "train.safetensors"):
        (mine / name).rename(tmp_path / name)
        (mine / name).symlink_to(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name} is a link to .*copy the file"):
            gym.make("recsim/Industry-v0", data="mine")
        (mine / name).unlink()
        (tmp_path / name).rename(mine / name)


def test_sizes_are_bounded(mine, tmp_path):
    """Files that unpack to gigabytes, and JSON without an end."""
    start = time.process_time()
    bomb = gzip.compress(b"0" * (ALWAYS_UNPACKED + (1 << 20)), compresslevel=9)
    with pytest.raises(DamagedFileError, match="unpacks to more than"):
        unpack(bomb, "bomb.gz")
    (mine / "items.csv.gz").write_bytes(bomb)
    sign(mine)
    with pytest.raises(DataError, match=r"items\.csv\.gz unpacks to more than"):
        Dataset.load(mine)
    with zipfile.ZipFile(tmp_path / "agent.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("agent.safetensors", b"0" * (ALWAYS_UNPACKED + 1))
    with pytest.raises(DataError, match=r"agent\.zip says that it unpacks to"):
        IALP.load(tmp_path / "agent.zip", vectorized(Clusters))
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"long\.json has 1099511627776 bytes"):
        read_json(tmp_path / "long.json")
    for text in ("[" * 10**6, '{"a":' * 10**6, '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": 1e999}'):
        (tmp_path / "deep.json").write_text(text)
        with pytest.raises(DataError, match=r"deep\.json"):
            read_json(tmp_path / "deep.json")
    assert time.process_time() - start < 10


@pytest.mark.parametrize("size", [{"embedding_dim": 60_000}, {"n_layers": 10**9}])
def test_an_agent_is_not_built_larger_than_its_weights(tmp_path, size):
    env, start = vectorized(Clusters), time.process_time()
    IALP("SASRecPolicy", env, **QUICK).save_pretrained(tmp_path)
    file = tmp_path / FILE
    tree = from_bytes(file.read_bytes(), file, FORMAT, KINDS)
    wide = {"wide": np.zeros((1, 60_000), dtype=np.float32)}  # a cheap way to a large bound
    tree["weights"] = {**tree["weights"], **wide}
    tree["policy_kwargs"]["features_extractor_kwargs"] |= size
    file.write_bytes(to_bytes(tree))
    with pytest.raises(ValueError, match=rf"{FILE} (has|holds)"):
        IALP.from_pretrained(tmp_path, env)
    assert time.process_time() - start < 10
