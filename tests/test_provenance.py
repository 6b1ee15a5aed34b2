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


def test_the_last_change_is_of_the_named_files_alone(tmp_path: Path, monkeypatch) -> None:
    def git(*arguments: str) -> str:
        author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", *author, *arguments]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    package = tmp_path / "recsim_envs"
    package.mkdir()
    (package / "provenance.py").write_text("")
    (tmp_path / "docs.md").write_text("a")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    git("init")
    git("add", ".")
    git("commit", "-m", "code")
    code = git("rev-parse", "HEAD")[:12]
    (tmp_path / "docs.md").write_text("b")
    git("commit", "-am", "docs")
    assert provenance.last_change("recsim_envs") == code
    assert provenance.last_change("recsim_envs", "docs.md") != code
    (package / "new.py").write_text("")
    assert provenance.last_change("recsim_envs") == f"{code}-dirty"
    assert provenance.last_change("docs.md") == git("rev-parse", "HEAD")[:12]
