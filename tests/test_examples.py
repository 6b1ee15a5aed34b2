"""Each example runs on a small budget."""

import pytest
import torch

from examples import maskable_ppo, plain_pytorch, ppo


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


def check(results, printed):
    assert "REPLICA" in printed and "before: Return" in printed and "after : Return" in printed
    assert all(0 < result[1] <= 12 for result in results.values())
    assert results["before"] != results["after"]
