"""The revision in a record is recsim's, or none."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import recsim_envs.provenance as provenance


def test_a_users_repository_around_an_installed_recsim_is_not_its_revision(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

    installed = tmp_path / "venv" / "recsim_envs" / "provenance.py"
    installed.parent.mkdir(parents=True)
    shutil.copy(Path(provenance.__file__), installed)
    (tmp_path / "thesis.txt").write_text("theirs")
    git("init")
    git("add", "thesis.txt")
    git("commit", "-m", "theirs")
    spec = importlib.util.spec_from_file_location("installed_provenance", installed)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.git_revision() == "unknown"
    git("add", ".")
    git("commit", "-m", "a checkout that tracks recsim")
    assert module.git_revision() not in ("", "unknown")
