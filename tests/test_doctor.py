"""What `recsim doctor` says."""

import sys

import torch

from llm_oracle.cli import main
from recsim_envs.provenance import versions


def test_doctor_says_what_a_report_of_a_fault_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "not-yet" / "there"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(sys, "argv", ["recsim", "doctor"])
    main()
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    found = {line[0]: line[1] for line in lines if len(line) == 2}
    assert found["torch"] == versions()["torch"] and found["numpy"] == versions()["numpy"]
    assert found["folder"] == str(tmp_path / "not-yet" / "there")
    assert found["prepared"] == "nothing yet" and found["replicas"] == "coat, industry, lfm"
    assert found["free"].endswith("GiB")
    assert ("none" in found["CUDA"]) != torch.cuda.is_available()
    assert not any("sk-secret" in word for line in lines for word in line)
