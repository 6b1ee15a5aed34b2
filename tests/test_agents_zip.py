"""Files from strangers: what is planted in a zip or a folder of weights never runs."""

from __future__ import annotations

import base64
import inspect
import io
import json
import os
import pickle
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from test_agents_learning import POLICY, QUICK, SMALL, equal, one_thread, weights
from test_agents_pretrained import Catalogued
from test_agents_toys import Clusters, Tastes, vectorized

from ialp_agents import AIALP, IALP, PG, MixturePolicy
from ialp_agents.saving.zip import PlainZip

__all__ = ["one_thread"]

SETTINGS: dict[Any, Any] = {
    IALP: dict(QUICK, train_freq=(2, "step"), exploration="epsilon", stats_window_size=7),
    AIALP: dict(QUICK, alpha_initial=0.3, gamma=0.5),
    PG: dict(policy_kwargs=POLICY, seed=0, n_steps=8, normalize_returns=True),
}
AGENTS = [(IALP, "SASRecPolicy"), (AIALP, "MixturePolicy"), (AIALP, "SASRecPolicy"),
          (PG, "SASRecPolicy")]  # fmt: skip


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def change(path: Path, name: str, content: bytes) -> None:
    """Replaces or adds one file of a zip."""
    with zipfile.ZipFile(path) as archive:
        files = {file: archive.read(file) for file in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for file, old in {**files, name: content}.items():
            archive.writestr(file, content if file == name else old)


def read_data(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        data: dict[str, Any] = json.loads(archive.read("data"))
    return data


def change_data(path: Path, **entries: Any) -> None:
    change(path, "data", json.dumps({**read_data(path), **entries}).encode())


def change_weights(path: Path, name: str, edit: Any) -> None:
    with zipfile.ZipFile(path) as archive:
        state = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    edit(state)
    content = io.BytesIO()
    torch.save(state, content)
    change(path, name, content.getvalue())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = IALP("SASRecPolicy", vectorized(Clusters), **SETTINGS[IALP]).learn(64)
    model.save(tmp_path / "model")
    return tmp_path / "model.zip"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The folder that exists once a payload has run."""
    return tmp_path / "ran"


def planted(file: Path) -> dict[str, str]:
    pickled = base64.b64encode(pickle.dumps(Payload(file))).decode()
    return {":type:": "<class 'float'>", ":serialized:": pickled}


def test_the_payload_is_live(saved: Path, ran: Path) -> None:
    """What the other tests plant does run where SB3's own load reads it."""
    change_data(saved, gamma=planted(ran))
    with pytest.raises(KeyError):
        super(PlainZip, IALP).load(saved)
    assert ran.exists()


@pytest.mark.parametrize(("agent", "policy"), AGENTS)
def test_a_zip_holds_no_pickles_and_all_settings(agent: Any, policy: str, tmp_path: Path) -> None:
    model = agent(policy, vectorized(Tastes), **SETTINGS[agent]).learn(256)
    model.save(tmp_path / "model")
    assert ":serialized:" not in json.dumps(read_data(tmp_path / "model.zip"))
    loaded = agent.load(tmp_path / "model.zip", vectorized(Tastes, n=3))
    assert type(loaded.policy) is type(model.policy)
    assert equal(weights(model), weights(loaded))
    moments = [list(m.policy.optimizer.state_dict()["state"].values()) for m in (model, loaded)]
    assert len(moments[0]) and str(moments[0]) == str(moments[1])
    names = set(inspect.signature(agent).parameters) & vars(model).keys()
    names |= {"num_timesteps", "_n_updates", "_stats_window_size"}
    for name in names - {"policy", "env", "device"}:
        assert getattr(loaded, name) == getattr(model, name), name
    if agent is not PG:
        lagging = [list(m.policy_target.parameters()) for m in (model, loaded)]
        assert equal(*lagging)
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.num_timesteps >= model.num_timesteps + 64


@pytest.mark.parametrize(
    "name", ["gamma", "policy", "policy_kwargs", "learning_rate", "seed", "train_freq"]
)
def test_a_pickle_in_place_of_an_argument_is_asked_for(saved: Path, ran: Path, name: str) -> None:
    change_data(saved, **{name: planted(ran)})
    with pytest.raises(ValueError, match=rf"no plain value of \['{name}'\].*pass {name}=\.\.\. to"):
        IALP.load(saved, vectorized(Clusters))
    values = {**SETTINGS[IALP], "policy": "SASRecPolicy", "gamma": 0.9, "learning_rate": 1e-3}
    loaded = IALP.load(saved, vectorized(Clusters), **{name: values[name]})
    assert loaded.num_timesteps == 64
    assert not ran.exists()


@pytest.mark.parametrize("name", ["lr_schedule", "observation_space", "_last_obs", "env", "new"])
def test_a_pickle_elsewhere_is_ignored(saved: Path, ran: Path, name: str) -> None:
    change_data(saved, **{name: planted(ran)})
    env = vectorized(Clusters)
    loaded = IALP.load(saved, env)
    assert loaded.get_env() is env and loaded.observation_space == env.observation_space
    loaded.learn(16)
    assert not ran.exists() and not hasattr(loaded, "new")


@pytest.mark.parametrize("name", ["policy.pth", "policy.optimizer.pth", "policy_target.pth",
                                  "pytorch_variables.pth", "new.pth"])  # fmt: skip
@pytest.mark.parametrize("write", [torch.save, partial(pickle.dump, protocol=2)])
def test_a_pickle_among_the_weights_is_refused(
    saved: Path, ran: Path, name: str, write: Any
) -> None:
    content = io.BytesIO()
    write({"weight": Payload(ran)}, content)
    change(saved, name, content.getvalue())
    with pytest.raises(ValueError, match="holds other things than tensors where weights belong"):
        IALP.load(saved, vectorized(Clusters))
    assert not ran.exists()


def test_plain_values_of_a_stranger_name_no_code(saved: Path) -> None:
    change_data(saved, policy="os.system")
    with pytest.raises(ValueError, match=r"os.system unknown"):
        IALP.load(saved, vectorized(Clusters))
    change_data(saved, policy="SASRecPolicy", tensorboard_log="/nowhere")
    assert IALP.load(saved, vectorized(Clusters)).tensorboard_log is None
    change_data(saved, catalogue={"size": 3})
    with pytest.raises(ValueError, match=r"\{'size': 3\} is no catalogue"):
        IALP.load(saved, vectorized(Clusters))


def test_damaged_zips_are_named(saved: Path, tmp_path: Path) -> None:
    change_weights(saved, "policy.pth", lambda state: state.popitem())
    with pytest.raises(ValueError, match=r"model.zip: policy.state_value.bias has shape None, but"):
        IALP.load(saved, vectorized(Clusters))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match="text.zip'> wasn't a zip-file"):
        IALP.load(tmp_path / "text.zip", vectorized(Clusters))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(ValueError, match="empty.zip holds no JSON file 'data'"):
        IALP.load(tmp_path / "empty.zip", vectorized(Clusters))
    for content in (b"not JSON", b"[]"):
        change(saved, "data", content)
        with pytest.raises(ValueError, match="model.zip.*(no JSON file|not a JSON object)"):
            IALP.load(saved, vectorized(Clusters))
    change(saved, "policy.pth", b"")
    with pytest.raises(ValueError, match="model.zip holds other things than tensors"):
        IALP.load(saved, vectorized(Clusters))


def test_moments_of_other_shapes_never_reach_the_optimiser(saved: Path) -> None:
    def shrink(state: dict[str, Any]) -> None:
        state["state"][0]["exp_avg"] = torch.zeros(1, 1)

    change_weights(saved, "policy.optimizer.pth", shrink)
    with pytest.raises(ValueError, match=r"optimiser's exp_avg has shape \(1, 1\) for"):
        IALP.load(saved, vectorized(Clusters))


class Fewer(Clusters):
    """The same form with a smaller catalogue."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 20, (6,), np.int32)
        self.action_space = spaces.Discrete(20)


def test_weights_of_another_catalogue_name_both(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_items=50.*but the environment has.*n_items=20"):
        IALP.load(saved, vectorized(Fewer))
    pg = PG("SASRecPolicy", vectorized(Catalogued), policy_kwargs=POLICY)
    pg.save(tmp_path / "pg")
    with pytest.raises(ValueError, match="'toys', hash='aaaa'.*'other', hash='bbbb'"):
        PG.load(tmp_path / "pg", vectorized(Catalogued, name="other", hash="bbbb"))
    # Of a zip that does not say, the weights' sizes do.
    data = read_data(saved)
    del data["catalogue"]
    change(saved, "data", json.dumps(data).encode())
    with pytest.raises(ValueError, match=r"has shape \(51, 16\), but .* make it \(21, 16\)"):
        IALP.load(saved, vectorized(Fewer))
    with pytest.raises(ValueError, match=r"holds \['policy', 'policy.optimizer', .*but PG has"):
        PG.load(saved, vectorized(Clusters), **SETTINGS[PG], ent_coef=0)


def test_what_is_no_plain_json_is_given_again(tmp_path: Path) -> None:
    extractor = dict(SMALL, item_features=np.eye(50))
    model = IALP(
        "SASRecPolicy", vectorized(Clusters), learning_rate=lambda progress: 1e-3 * progress,
        policy_kwargs=dict(features_extractor_kwargs=extractor),
    )  # fmt: skip
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="pass learning_rate=... to load"):
        IALP.load(tmp_path / "model", vectorized(Clusters))
    loaded = IALP.load(tmp_path / "model", vectorized(Clusters), learning_rate=1e-4)
    assert equal(weights(model), weights(loaded)), "item features only made the first weights"
    own = PG(ActorCriticPolicy, vectorized(Clusters))
    own.save(tmp_path / "own")
    with pytest.raises(ValueError, match="pass policy=... to load"):
        PG.load(tmp_path / "own", vectorized(Clusters))
    again = PG.load(tmp_path / "own", vectorized(Clusters), policy=ActorCriticPolicy)
    assert equal(weights(own), weights(again))
    given = dict(custom_objects=dict(learning_rate=1e-4), gamma=0.5)
    loaded = IALP.load(tmp_path / "model", vectorized(Clusters), **given)
    assert (loaded.learning_rate, loaded.gamma) == (1e-4, 0.5)


def test_a_zip_that_sb3_pickled_can_be_read_without_the_pickles(tmp_path: Path) -> None:
    model = AIALP("MixturePolicy", vectorized(Clusters), **QUICK).learn(64)
    BaseAlgorithm.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"'policy', 'replay_buffer_class', 'train_freq'\]"):
        AIALP.load(tmp_path / "model", vectorized(Clusters))
    loaded = AIALP.load(
        tmp_path / "model", vectorized(Clusters),
        policy=MixturePolicy, replay_buffer_class=None, train_freq=1,
    )  # fmt: skip
    assert equal(weights(model), weights(loaded))


def test_save_and_load_take_files_and_say_what_they_cannot_do(saved: Path) -> None:
    model = IALP.load(str(saved.with_suffix("")), vectorized(Clusters))
    file = io.BytesIO()
    model.save(file, exclude=["seed"])
    with pytest.raises(ValueError, match="pass seed="):
        IALP.load(file, vectorized(Clusters))
    assert equal(weights(model), weights(IALP.load(file, vectorized(Clusters), seed=1)))
    with pytest.raises(ValueError, match="env=None: pass the environment"):
        IALP.load(saved)
    with pytest.raises(ValueError, match="force_reset=False"):
        IALP.load(saved, vectorized(Clusters), force_reset=False)
    with pytest.raises(ValueError, match=r"include=\['env'\]"):
        model.save(file, include=["env"])


def test_replay_buffers_are_not_unpickled(saved: Path, ran: Path, tmp_path: Path) -> None:
    model = IALP.load(saved, vectorized(Clusters))
    (tmp_path / "buffer.pkl").write_bytes(pickle.dumps(Payload(ran)))
    with pytest.raises(NotImplementedError, match="use a checkpoint"):
        model.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(NotImplementedError, match="use a checkpoint"):
        model.save_replay_buffer(tmp_path / "mine.pkl")
    assert not ran.exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    IALP("SASRecPolicy", vectorized(Clusters), **QUICK).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def edit_config(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


@pytest.mark.parametrize("name", ["../{}", "{folder}/{}", "sub/../{}", ""])
def test_weights_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    (weights_file,) = folder.glob("*.safetensors")
    weights_file.rename(folder.parent / weights_file.name)
    edit_config(folder, weights=name.format(weights_file.name, folder=folder.parent))
    with pytest.raises(ValueError, match="must be a file beside it|is not what save_pretrained"):
        IALP.from_pretrained(folder, vectorized(Clusters))


@pytest.mark.parametrize("write", [torch.save, partial(pickle.dump, protocol=2)])
@pytest.mark.parametrize("linked", [False, True])
def test_a_pickle_called_safetensors_is_refused(
    folder: Path, ran: Path, linked: bool, write: Any
) -> None:
    (weights_file,) = folder.glob("*.safetensors")
    weights_file.unlink()
    target = folder.parent / "payload" if linked else weights_file
    with target.open("wb") as file:
        write({"weight": Payload(ran)}, file)
    if linked:
        weights_file.symlink_to(target)
    with pytest.raises(ValueError, match="holds no safetensors"):
        IALP.from_pretrained(folder, vectorized(Clusters))
    assert not ran.exists()


def test_a_foreign_config_is_refused(folder: Path, ran: Path) -> None:
    for entries in ({"catalogue": 3}, {"policy_kwargs": 3}, {"weights": 3}):
        original = (folder / "config.json").read_bytes()
        edit_config(folder, **entries)
        with pytest.raises(ValueError, match="is no catalogue|is not what save_pretrained"):
            IALP.from_pretrained(folder, vectorized(Clusters))
        (folder / "config.json").write_bytes(original)
    edit_config(folder, policy_kwargs={"optimizer_class": "os.system"})
    with pytest.raises(TypeError, match="'str' object is not callable"):
        IALP.from_pretrained(folder, vectorized(Clusters))
    (folder / "config.json").write_bytes(pickle.dumps(Payload(ran)))
    with pytest.raises(ValueError, match="is not what save_pretrained"):
        IALP.from_pretrained(folder, vectorized(Clusters))
    assert not ran.exists()
