"""Sweeps that are interrupted, killed, run twice, in shells and on Ray: the same records."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from sweeps import AP, COAT, REFERENCES, SMALL

from benchmarks.cells import Cell, Variant, cell_of, ialp_of
from benchmarks.engine import REPOSITORY
from benchmarks.records import Place, Record

DQN = Variant("dqn", "DQN", "DQN")
BAD = Variant("bad", "bad", "DQN", changes={"nonsense": 1})
CELLS = [cell_of(SMALL, variant, 0) for variant in (AP, ialp_of(COAT), DQN, REFERENCES)]
FEW = CELLS[:2]
"""One that starts from the other."""
VARIES = ("wall_s", "learning_s", "made", "revision")
"""What two records of the same cell need not share."""
DRIVER = """
import json, signal, sys
from pathlib import Path
from benchmarks.cells import read_cell
from benchmarks.engine import Engine, print_failures, run_all
from benchmarks.records import Place
# A shell's background job, and so what it starts, ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
cells, folder, engine = (json.loads(argument) for argument in sys.argv[1:])
place = Place(Path(folder), Path(folder) / "verdicts.sqlite")
print_failures(run_all([read_cell(cell) for cell in cells], place, Engine(**engine)))
"""
PATIENCE_S = 300
"""Until something that must happen is missed; nothing here is about how long it takes."""


def start(folder: Path, cells: Sequence[Cell] = CELLS, **engine) -> subprocess.Popen:
    """Starts a sweep, in a process group of its own."""
    arguments = [[asdict(cell) for cell in cells], str(folder), engine]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(json.dumps, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(sweep: subprocess.Popen) -> str:
    """Waits for a sweep that succeeds; returns what it printed."""
    stdout, stderr = sweep.communicate(timeout=2 * PATIENCE_S)
    assert sweep.returncode == 0, stderr
    return stdout


def records_in(folder: Path) -> dict[str, Record]:
    """What has been recorded, but for how long it took."""
    found = {}
    for file in folder.glob("*_replica/*.json"):
        record = json.loads(file.read_text())
        found[file.name] = {k: v for k, v in record.items() if k not in VARIES}
    return found


def of(cells: Sequence[Cell], records: dict[str, Record]) -> dict[str, Record]:
    return {name: records[name] for name in (Place().file(cell).name for cell in cells)}


def processes_of(folder: Path, root: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes that compute cells of a sweep, of all or those that ``root`` started."""
    found = []
    for process in root.children(recursive=True) if root else psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "benchmarks.cell" in command and any(str(folder) in word for word in command):
                found.append(process)
    return found


def wait_for(happened: Callable):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, Record]:
    """The records of a sweep that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    end(start(folder))
    records = records_in(folder)
    assert len(records) == len(CELLS)
    return records


def test_an_interrupted_sweep_goes_on_and_leaves_nothing_behind(tmp_path, expected) -> None:
    written: dict[str, int] = {}
    for n, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), start=1):
        sweep = start(tmp_path)
        wait_for(lambda n=n: len(records_in(tmp_path)) >= n and processes_of(tmp_path))
        sweep.send_signal(number)
        _, stderr = sweep.communicate(timeout=PATIENCE_S)
        if number == signal.SIGINT:
            assert sweep.returncode == 1 and "the same command goes on from here" in stderr
            assert "Traceback" not in stderr
        else:
            assert sweep.returncode == -number
        wait_for(lambda: not processes_of(tmp_path))
        assert n <= len(records_in(tmp_path)) < len(CELLS)
        now = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*_replica/*.json")}
        assert written.items() <= now.items(), "computed twice"
        written = now
    end(start(tmp_path))
    assert records_in(tmp_path) == expected
    now = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*_replica/*.json")}
    assert written.items() <= now.items(), "computed twice"


def test_a_cell_that_fails_or_is_killed_is_reported_and_the_others_go_on(tmp_path) -> None:
    cells = [cell_of(SMALL, variant, 0) for variant in (DQN, BAD, REFERENCES)]
    dqn, _, references = (Place(tmp_path).file(cell).stem for cell in cells)
    sweep = start(tmp_path, cells)

    def running() -> list[psutil.Process]:
        return [p for p in processes_of(tmp_path) if any(dqn in word for word in p.cmdline())]

    wait_for(running)[0].kill()
    _, stderr = sweep.communicate(timeout=PATIENCE_S)
    assert sweep.returncode == 1 and "2 cells failed" in stderr
    said = stderr[stderr.rindex(f"failed: {dqn}") :]
    assert "killed by signal 9" in said
    assert "Traceback" in stderr and "unexpected keyword argument 'nonsense'" in stderr
    assert list(records_in(tmp_path)) == [f"{references}.json"]


def test_two_sweeps_in_one_folder_do_not_hurt_each_other(tmp_path, expected) -> None:
    sweeps = [start(tmp_path, FEW, workers=1) for _ in range(2)]
    for sweep in sweeps:
        end(sweep)
    assert records_in(tmp_path) == of(FEW, expected)
    orders = [json.loads(file.read_text())["cell"] for file in tmp_path.glob("cells/*.json")]
    assert sorted(orders, key=str) == sorted(map(asdict, FEW), key=str)


def test_the_printed_commands_make_the_same_records_in_any_order(tmp_path, expected) -> None:
    sweep = tmp_path / "a sweep's"
    commands = end(start(sweep, FEW, print_commands=True)).splitlines()
    assert len(commands) == len(FEW) and not records_in(sweep)
    commands.sort(key=lambda command: "a-ialp_ap" not in command)  # before what it starts from
    for command in commands:
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert records_in(sweep) == of(FEW, expected)
    assert end(start(sweep, FEW, print_commands=True)) == ""


@pytest.fixture
def ray_cluster(monkeypatch) -> Iterator:
    """A Ray cluster of two nodes on this machine, of one CPU each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


# Ray's Cluster leaves the streams and processes of its nodes to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_on_ray_the_cells_of_a_node_that_dies_are_done_by_another(
    tmp_path, expected, ray_cluster
) -> None:
    (node,) = ray_cluster.worker_nodes
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    sweep = start(tmp_path, engine="ray", address=ray_cluster.address)
    (lost,) = wait_for(lambda: records_in(tmp_path) and processes_of(tmp_path, raylet))
    order = next(Path(word) for word in lost.cmdline() if str(tmp_path) in word)
    ray_cluster.remove_node(node, allow_graceful=False)
    wait_for(lambda: not lost.is_running())
    assert order.name not in records_in(tmp_path), "it was lost in the middle"
    end(sweep)
    assert records_in(tmp_path) == expected


def test_without_ray_the_error_names_the_extra(tmp_path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('ray')\n")
    order = [
        sys.executable,
        "-c",
        "from benchmarks.ray_engine import on_ray\n[*on_ray([], None, 1)]",
    ]
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    failed = subprocess.run(
        order, env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True
    )
    assert failed.returncode == 1 and "recsim-ialp[ray]" in failed.stderr
