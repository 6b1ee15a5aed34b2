"""Each example runs on a small budget."""

import numpy as np
import pandas as pd
import pytest
import torch

from examples import maskable_ppo, own_data, plain_pytorch, ppo


@pytest.fixture(autouse=True)
def restored_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_ppo(capsys):
    results = ppo.main(steps=768)
    check(results, capsys.readouterr().out)


def test_maskable_ppo_shows_no_item_twice(capsys):
    results = maskable_ppo.main(steps=768)
    check(results, capsys.readouterr().out)
    assert [distinct for _, _, distinct in results.values()] == [1.0, 1.0]


def test_plain_pytorch(capsys):
    results = plain_pytorch.main(updates=3, n_users=32)
    check(results, capsys.readouterr().out)


def shop():
    """Rings of five items: the next one is always the ring's next."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        first, ring = rng.integers(5), rng.integers(4)
        rows += [(f"user {user}", f"{5 * ring + (first + i) % 5:03}", i) for i in range(6)]
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "time"])
    items = {"item_id": [f"{i:03}" for i in range(20)], "brand": ["acme"] * 20}
    titles = [f"{'red blue green steel'.split()[i // 5]} bolt {i}" for i in range(20)]
    return interactions, pd.DataFrame(items | {"title": titles})


def test_own_data_from_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "home"))
    for name, table in zip(("interactions", "items"), shop(), strict=True):
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    results = own_data.main(tmp_path, text=("title",), verdicts=64, sessions=20, max_epochs=1)
    printed = capsys.readouterr().out
    assert "recognised own tables: items.tsv, interactions.tsv" in printed
    assert f"reward model train: HR@10 {results['train']:.3f}" in printed
    assert f"after : Return {results['after']:.2f}" in printed


def check(results, printed):
    assert "REPLICA" in printed and "before: Return" in printed and "after : Return" in printed
    assert all(0 < result[1] <= 12 for result in results.values())
    assert results["before"] != results["after"]
