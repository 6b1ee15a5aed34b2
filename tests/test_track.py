"""W&B runs of a sweep, read back from disk; and no key in anything that a sweep writes."""

import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from sweeps import AP, COAT, REFERENCES, SMALL
from test_llm_oracle_server import K, Server

from benchmarks.cell import carry_out, write_order
from benchmarks.cells import Judging, cell_of, ialp_of
from benchmarks.records import Place, read_record
from benchmarks.tables import Table
from benchmarks.track import track

KEY = "sk-0123456789abcdef0123456789abcdef01234567"
VARIANTS = (ialp_of(COAT), AP, REFERENCES)
TABLE = Table("table3", "Table 3", ("method", "R"), (("iALP", "1.0 [0.5, 1.5]"),), ("a note",))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def records(output):
    """What a sweep of a few cells records that a server which wants a key has judged."""
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("THE_KEY", KEY)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        settings = replace(SMALL, judging=Judging(f"{server.url}#some/model", k=K))
        place = Place(output, output / "verdicts.sqlite", api_key_env="THE_KEY")
        found = []
        for variant in VARIANTS:
            file = carry_out(write_order(cell_of(settings, variant, 0), place, False))
            found.append(read_record(file))
        server.shutdown()
        thread.join()
    assert {key for _, key, _ in server.requests} == {f"Bearer {KEY}"}
    return found


@pytest.fixture(scope="module")
def runs(output, records):
    """What W&B has on disk of each run, as the records of its own log, by the run's name."""
    wandb = pytest.importorskip("wandb")
    # Returns from 0 on, a session after every step: of the most recent 20, the mean is known.
    records[1]["episodes"] = {
        "steps": [*range(1, 101)],
        "return": [float(n) for n in range(100)],
        "length": [2] * 100,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_API_KEY", KEY)
        for kind in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{kind}_DIR", str(output / "of wandb"))
        track(records, [TABLE], Place(output, output / "verdicts.sqlite"), "some-project")
        wandb.teardown()
    found = {}
    for folder in (output / "wandb").glob("offline-run-*"):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        log = [json.loads(line) for line in printed.splitlines()]
        (run,) = (entry["run"] for entry in log if entry["type"] == "run")
        found[run["display_name"]] = run, log
    assert len(found) == len(records) + 1
    return found


def history(log, name):
    """A measure's values by step."""
    rows = [entry["history"]["item"] for entry in log if entry["type"] == "history"]
    return [(row["steps"], row[name]) for row in rows if name in row]


def test_a_run_has_the_records_config_group_and_curves(records, runs) -> None:
    record = records[1]
    run, log = runs["a-ialp_ap_seed0"]
    assert (run["project"], run["run_group"], run["job_type"]) == (
        "some-project",
        COAT,
        "a-ialp_ap",
    )
    config = run["config"]["update"]
    for name in ("cell", "data", "revision", "versions", "reward_hashes"):
        assert config[name] == record[name]
    assert history(log, "test/reward") == [(p["steps"], p["reward"]) for p in record["points"]]
    steps = [step for step, _ in history(log, "train/return")]
    assert (steps[0], steps[-1]) == (20, 100)
    # The session after step n returned n - 1: the mean over the 20 until then is n - 10.5.
    assert history(log, "train/return") == [(step, int(step) - 10.5) for step in steps]
    assert {length for _, length in history(log, "train/length")} == {2}


def test_a_pretrained_policy_is_an_artifact(records, runs) -> None:
    _, log = runs["ialp_seed0"]
    (policy,) = (entry["artifact"] for entry in log if entry["type"] == "artifact")
    assert (
        policy["type"] == "policy"
        and json.loads(policy["metadata"])["hash"] == (records[0]["policy"])
    )
    assert "policy.safetensors" in [file["path"] for file in policy["manifest"]["contents"]]
    assert not [entry for entry in runs["references_seed0"][1] if entry["type"] == "artifact"]


def test_references_are_a_runs_summary(records, runs) -> None:
    _, log = runs["references_seed0"]
    summary = {}
    for entry in log:
        if entry["type"] == "summary":
            summary |= entry["summary"]["update"]
    for name, measures in records[2]["references"].items():
        assert summary[f"test/{name}/reward"] == measures["reward"]


def test_the_tables_are_a_run(output, runs) -> None:
    run, _ = runs["tables"]
    assert run["config"]["update"]["tables"] == {
        "table3": {"title": "Table 3", "notes": ["a note"]}
    }
    (file,) = output.glob("wandb/offline-run-*/files/media/table/table3_*.table.json")
    found = json.loads(file.read_text())
    assert found["columns"] == ["method", "R"] and found["data"] == [["iALP", "1.0 [0.5, 1.5]"]]


def test_no_file_has_a_key(output, runs) -> None:
    files = [file for file in output.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert "verdicts.sqlite" in names and any(name.endswith(".wandb") for name in names)
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []
    assert KEY not in json.dumps(list(runs.values()))


def test_without_wandb_the_error_names_the_extra(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SystemExit, match=r"recsim-ialp\[tracking\]"):
        track([], [], Place(tmp_path), "some-project")
