"""Files from strangers: what is planted in a zip or a folder of weights never runs."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import re
import zipfile
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from test_agents_learning import POLICY, QUICK, SMALL, equal, one_thread, weights
from test_agents_pretrained import Catalogued
from test_agents_toys import Clusters, Tastes, vectorized

from ialp_agents import AIALP, IALP, PG
from ialp_agents.saving import zip as zip_format
from ialp_agents.saving.agent import COUNTERS
from ialp_agents.saving.arguments import NOT_PLAIN, arguments_of, marks
from ialp_agents.saving.zip import PlainZip
from recsim_envs.trees import from_bytes, to_bytes

__all__ = ["one_thread"]

SETTINGS: dict[Any, Any] = {
    IALP: dict(QUICK, train_freq=(2, "step"), exploration="epsilon", stats_window_size=7),
    AIALP: dict(QUICK, alpha_initial=0.3, gamma=0.5),
    PG: dict(policy_kwargs=POLICY, seed=0, n_steps=8, normalize_returns=True),
}
AGENTS = [(IALP, "SASRecPolicy"), (AIALP, "MixturePolicy"), (AIALP, "SASRecPolicy"),
          (PG, "SASRecPolicy")]  # fmt: skip


MEMBER = "agent.safetensors"
VERSION, KINDS = zip_format.FORMAT, {"arguments": dict}


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


def read_tree(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [MEMBER]
        return from_bytes(archive.read(MEMBER), path, VERSION, KINDS)


def edit(path: Path, *keys: str, **entries: Any) -> None:
    """Changes entries of a zip's tree, or of a dict in it."""
    tree = read_tree(path)
    part = tree
    for key in keys:
        part = part[key]
    part.update(entries)
    change(path, MEMBER, to_bytes(tree))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = IALP("SASRecPolicy", vectorized(Clusters), **SETTINGS[IALP]).learn(64)
    model.save(tmp_path / "model")
    return tmp_path / "model.zip"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The folder that exists once a payload has run."""
    return tmp_path / "ran"


def pickled(file: Path) -> bytes:
    return pickle.dumps(Payload(file))


def planted(file: Path) -> dict[str, str]:
    """What SB3 unpickles, in its zip's JSON."""
    return {":type:": "<class 'float'>", ":serialized:": base64.b64encode(pickled(file)).decode()}


def test_the_payload_is_live_and_sb3s_own_zips_are_refused(tmp_path: Path, ran: Path) -> None:
    """What the other tests plant does run where SB3's own load reads it."""
    model = IALP("SASRecPolicy", vectorized(Clusters), **SETTINGS[IALP])
    BaseAlgorithm.save(model, tmp_path / "sb3")
    with zipfile.ZipFile(tmp_path / "sb3.zip") as archive:
        data = json.loads(archive.read("data"))
    data["gamma"] = planted(ran)
    change(tmp_path / "sb3.zip", "data", json.dumps(data).encode())
    with pytest.raises(
        ValueError, match=r"sb3 holds \['data',.*SB3's own zips hold pickles, which"
    ):
        IALP.load(tmp_path / "sb3", vectorized(Clusters))
    assert not ran.exists()
    super(PlainZip, IALP).load(tmp_path / "sb3")
    assert ran.exists()


@pytest.mark.parametrize(("agent", "policy"), AGENTS)
def test_a_zip_holds_all_arguments_and_what_was_learned(
    agent: Any, policy: str, tmp_path: Path
) -> None:
    model = agent(policy, vectorized(Tastes), **SETTINGS[agent]).learn(256)
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model.zip", vectorized(Tastes, n=3))
    assert type(loaded.policy) is type(model.policy)
    assert equal(weights(model), weights(loaded))
    moments = [list(m.policy.optimizer.state_dict()["state"].values()) for m in (model, loaded)]
    assert len(moments[0]) and str(moments[0]) == str(moments[1])
    own, its = arguments_of(model), arguments_of(loaded)
    assert own == its and not marks(own, "")
    for name in COUNTERS:
        assert getattr(loaded, name) == getattr(model, name), name
    if agent is not PG:
        lagging = [list(m.policy_target.parameters()) for m in (model, loaded)]
        assert equal(*lagging)
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.num_timesteps >= model.num_timesteps + 64


def test_a_zip_is_replaced_as_a_whole(saved: Path, monkeypatch: Any) -> None:
    before = saved.read_bytes()
    model = IALP.load(saved, vectorized(Clusters)).learn(32)

    def crash(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        model.save(saved)
    assert saved.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["gamma", "policy", "policy_kwargs", "learning_rate", "seed", "train_freq"]
)
def test_what_is_no_plain_value_is_asked_for(saved: Path, name: str) -> None:
    edit(saved, "arguments", **{name: {NOT_PLAIN: "something"}})
    with pytest.raises(ValueError, match=rf"no plain value of \['{name}'\].*pass {name}=\.\.\. to"):
        IALP.load(saved, vectorized(Clusters))
    values = {**SETTINGS[IALP], "policy": "SASRecPolicy", "gamma": 0.9, "learning_rate": 1e-3}
    loaded = IALP.load(saved, vectorized(Clusters), **{name: values[name]})
    assert loaded.num_timesteps == 64


@pytest.mark.parametrize("name", ["data", "policy.pth", "pytorch_variables.pth", "new.pth"])
@pytest.mark.parametrize("write", [torch.save, partial(pickle.dump, protocol=2)])
def test_other_files_in_the_zip_are_not_read(saved: Path, ran: Path, name: str, write: Any) -> None:
    content = io.BytesIO()
    write({"weight": Payload(ran)}, content)
    change(saved, name, content.getvalue())
    IALP.load(saved, vectorized(Clusters)).learn(16)
    assert not ran.exists()


@pytest.mark.parametrize("write", [torch.save, partial(pickle.dump, protocol=2)])
def test_a_pickle_in_place_of_the_tree_is_refused(saved: Path, ran: Path, write: Any) -> None:
    content = io.BytesIO()
    write({"weight": Payload(ran)}, content)
    change(saved, MEMBER, content.getvalue())
    with pytest.raises(ValueError, match=r"model.zip is no safetensors file, or damaged"):
        IALP.load(saved, vectorized(Clusters))
    assert not ran.exists()


def test_plain_values_of_a_stranger_name_no_code(saved: Path, ran: Path) -> None:
    original = saved.read_bytes()
    for name, value, message in (
        ("policy", "os.system", "os.system unknown"),
        ("tensorboard_log", "/nowhere", "arguments that save.. does not write"),
        ("env", "CartPole-v1", "arguments that save.. does not write"),
        ("_init_setup_model", False, "arguments that save.. does not write"),
        ("policy_kwargs", 3, "arguments that save.. does not write"),
        ("new", planted(ran), "unexpected keyword argument 'new'"),
    ):
        edit(saved, "arguments", **{name: value})
        with pytest.raises((ValueError, TypeError), match=message):
            IALP.load(saved, vectorized(Clusters))
        saved.write_bytes(original)
    edit(saved, "counters", num_timesteps="many")
    with pytest.raises(
        ValueError, match="model.zip is damaged, .*'num_timesteps': 'many'.* no numbers"
    ):
        IALP.load(saved, vectorized(Clusters))
    saved.write_bytes(original)
    edit(saved, catalogue={"size": 3})
    with pytest.raises(ValueError, match=r"belong to \{'size': 3\}, but the environment has"):
        IALP.load(saved, vectorized(Clusters))
    edit(saved, catalogue=3)
    with pytest.raises(ValueError, match=r"model.zip: 'catalogue' is '3', not of type dict"):
        IALP.load(saved, vectorized(Clusters))
    assert not ran.exists()


def test_damaged_zips_are_named(saved: Path, tmp_path: Path) -> None:
    original = saved.read_bytes()
    tree = read_tree(saved)
    del tree["weights"]["policy.state_value.bias"]
    change(saved, MEMBER, to_bytes(tree))
    with pytest.raises(ValueError, match=r"model.zip: policy.state_value.bias has shape None, but"):
        IALP.load(saved, vectorized(Clusters))
    edit(saved, format=99)
    with pytest.raises(ValueError, match="model.zip has format 99, but this version reads"):
        IALP.load(saved, vectorized(Clusters))
    flipped = bytearray(original)
    flipped[len(flipped) // 2] ^= 1
    for content in (flipped, original[: len(original) // 2], b"", b"no zip"):
        saved.write_bytes(content)
        with pytest.raises(ValueError, match="model.zip is not a whole zip"):
            IALP.load(saved, vectorized(Clusters))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(ValueError, match=r"empty.zip holds \[\] in place of agent.safetensors"):
        IALP.load(tmp_path / "empty.zip", vectorized(Clusters))
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr(MEMBER, b"")
    with pytest.raises(ValueError, match="model.zip is no safetensors file"):
        IALP.load(saved, vectorized(Clusters))
    with pytest.raises(FileNotFoundError):
        IALP.load(tmp_path / "nothing", vectorized(Clusters))


@pytest.mark.parametrize("shape", [(1, 1), ()])
def test_moments_of_other_shapes_never_reach_the_optimiser(saved: Path, shape: Any) -> None:
    edit(saved, "optimizer", "state", "0", exp_avg=np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=rf"damaged.*exp_avg has shape {re.escape(str(shape))}"):
        IALP.load(saved, vectorized(Clusters))


class Fewer(Clusters):
    """The same form with a smaller catalogue."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 20, (6,), np.int32)
        self.action_space = spaces.Discrete(20)


def test_weights_of_another_catalogue_name_both(
    saved: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ReplayBuffer, "__init__", None)  # so that making one fails
        with pytest.raises(ValueError, match="'n_items': 50.*environment has.*'n_items': 20"):
            IALP.load(saved, vectorized(Fewer))
    pg = PG("SASRecPolicy", vectorized(Catalogued), policy_kwargs=POLICY)
    pg.save(tmp_path / "pg")
    with pytest.raises(ValueError, match="'toys', 'hash': 'aaaa'.*'other', 'hash': 'bbbb'"):
        PG.load(tmp_path / "pg", vectorized(Catalogued, name="other", hash="bbbb"))
    # If the catalogue lies, the weights' sizes do not.
    edit(saved, "catalogue", n_items=20)
    with pytest.raises(ValueError, match=r"has shape \[51, 16\], but .* make it \[21, 16\]"):
        IALP.load(saved, vectorized(Fewer))
    with pytest.raises(ValueError, match=r"model.zip holds a IALP, but this is PG: use the class"):
        PG.load(saved, vectorized(Clusters))


def test_what_cannot_be_kept_is_given_again(tmp_path: Path) -> None:
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


def test_sb3s_custom_objects(saved: Path) -> None:
    env = vectorized(Clusters)
    space = env.observation_space
    idiom = dict(learning_rate=0.0, lr_schedule=lambda _: 0.0, observation_space=space)
    loaded = IALP.load(saved, env=env, custom_objects=idiom, gamma=0.5)
    assert (loaded.learning_rate, loaded.gamma) == (0.0, 0.5)
    before = weights(loaded)
    assert equal(before, weights(loaded.learn(32)))
    idiom = dict(lr_schedule=lambda _: 1e-5)
    assert IALP.load(saved, vectorized(Clusters), custom_objects=idiom).lr_schedule(1) == 1e-5
    for name in ("observation_space", "action_space"):
        with pytest.raises(ValueError, match=f"{name} is not that of env"):
            IALP.load(saved, vectorized(Clusters), custom_objects={name: spaces.Discrete(3)})
    for name in ("clip_range", "_last_obs", "policy_class", "replay_buffer"):
        with pytest.raises(TypeError, match=f"'{name}'"):
            IALP.load(saved, vectorized(Clusters), custom_objects={name: None})


def test_the_callers_policy_kwargs_win_or_are_refused(saved: Path) -> None:
    env, sgd = vectorized(Clusters), torch.optim.SGD
    given = dict(optimizer_class=sgd, mask_history=False)
    loaded = IALP.load(saved, env, policy_kwargs=given)
    assert type(loaded.policy.optimizer) is sgd and not loaded.policy.mask_history
    assert loaded.policy_kwargs["features_extractor_kwargs"]["embedding_dim"] == 16
    loaded.learn(32).save(saved)
    with pytest.raises(ValueError, match=r"of \['policy_kwargs.optimizer_class'\]: pass policy_kw"):
        IALP.load(saved, env)
    again = IALP.load(saved, env, policy_kwargs=dict(optimizer_class=sgd))
    assert equal(weights(loaded), weights(again)) and not again.policy.mask_history
    with pytest.raises(ValueError, match="n_heads=1, but .*model.zip were made with n_heads=2"):
        IALP.load(saved, env, policy_kwargs=dict(features_extractor_kwargs=dict(n_heads=1)))


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


def test_parameters_are_taken_from_a_zip(saved: Path) -> None:
    model = IALP.load(saved, vectorized(Clusters))
    before, parameters = weights(model), deepcopy(model.get_parameters())
    for source in (saved, parameters):
        assert not equal(before, weights(model.learn(64)))
        model.set_parameters(source)
        assert equal(before, weights(model))
    with pytest.raises(ValueError, match="belong to .*but the environment has"):
        IALP("SASRecPolicy", vectorized(Fewer)).set_parameters(saved)


def test_replay_buffers_are_not_unpickled(saved: Path, ran: Path, tmp_path: Path) -> None:
    model = IALP.load(saved, vectorized(Clusters))
    (tmp_path / "buffer.pkl").write_bytes(pickled(ran))
    with pytest.raises(NotImplementedError, match="use a checkpoint"):
        model.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(NotImplementedError, match="use a checkpoint"):
        model.save_replay_buffer(tmp_path / "mine.pkl")
    assert not ran.exists()


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    IALP("SASRecPolicy", vectorized(Clusters), **QUICK).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights" / "policy.safetensors"


def test_a_link_out_of_the_folder_is_refused(policy_file: Path) -> None:
    policy_file.rename(policy_file.parent.parent / "elsewhere")
    policy_file.symlink_to(policy_file.parent.parent / "elsewhere")
    with pytest.raises(ValueError, match=r"policy.safetensors is a link to .*elsewhere: copy"):
        IALP.from_pretrained(policy_file.parent, vectorized(Clusters))


@pytest.mark.parametrize("write", [torch.save, partial(pickle.dump, protocol=2)])
def test_a_pickle_called_safetensors_is_refused(policy_file: Path, ran: Path, write: Any) -> None:
    with policy_file.open("wb") as file:
        write({"weight": Payload(ran)}, file)
    with pytest.raises(ValueError, match="policy.safetensors is no safetensors file"):
        IALP.from_pretrained(policy_file.parent, vectorized(Clusters))
    assert not ran.exists()


def test_a_foreign_policy_is_refused(policy_file: Path) -> None:
    tree = from_bytes(policy_file.read_bytes(), policy_file, VERSION, {})
    for name in ("catalogue", "policy_kwargs", "weights"):
        policy_file.write_bytes(to_bytes({**tree, name: 3}))
        with pytest.raises(ValueError, match=f"policy.safetensors: '{name}'"):
            IALP.from_pretrained(policy_file.parent, vectorized(Clusters))
    policy_file.write_bytes(to_bytes({**tree, "policy_kwargs": {"optimizer_class": "os.system"}}))
    with pytest.raises(TypeError, match="'str' object is not callable"):
        IALP.from_pretrained(policy_file.parent, vectorized(Clusters))
    for content in (b"", policy_file.read_bytes()[:200]):
        policy_file.write_bytes(content)
        with pytest.raises(ValueError, match="policy.safetensors is no safetensors file"):
            IALP.from_pretrained(policy_file.parent, vectorized(Clusters))
