"""The command ``recsim doctor``: what this installation has, for a report of a fault."""

from __future__ import annotations

import os
import platform
import shutil

from recsim_envs.data.store import REPLICAS, data_home, prepared_names
from recsim_envs.provenance import git_revision, versions

UNSET = "not set"


def doctor_command() -> None:
    """Prints versions, devices, threads and data; nothing secret is among them."""
    for title, lines in findings().items():
        print(f"\n{title}")
        for name, value in lines.items():
            print(f"  {name:<24} {value}")


def findings() -> dict[str, dict[str, str]]:
    """What is installed and found, by subject."""
    return {
        "versions": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "revision": git_revision(),
            **versions(),
        },
        "devices": _devices(),
        "data": _data(),
    }


def _devices() -> dict[str, str]:
    import torch

    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "CPUs": str(os.cpu_count()),
        "CUDA": ", ".join(gpus) or "none: everything runs on the CPU",
        "threads": str(torch.get_num_threads()),
        # One a worker process is fastest; several wait for each other.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", UNSET),
    }


def _data() -> dict[str, str]:
    home = data_home()
    # The folder is made when the first data set is; what holds it says how much room there is.
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    return {
        "RECSIM_DATA": os.environ.get("RECSIM_DATA", UNSET),
        "folder": str(home),
        "can be written": "yes" if os.access(there, os.W_OK) else "no: set RECSIM_DATA",
        "free": f"{shutil.disk_usage(there).free / 2**30:.1f} GiB",
        "prepared": ", ".join(prepared_names()) or "nothing yet",
        "replicas": ", ".join(sorted(card.parent.name for card in REPLICAS.glob("*/card.json"))),
    }
