"""The injection benchmark's attacked catalogue."""

import numpy as np

from benchmarks.injection import ATTACKS, cost_of_cleaning, with_attacked_items


def test_attacked_copies_stand_behind_the_catalogue(chains):
    victims = np.array([3, 7])
    shop = with_attacked_items(chains, victims, np.random.default_rng(0), k=10)
    assert shop.n_items == 20 + 2 * len(ATTACKS)
    assert shop.items["text"][:20].to_list() == chains.items["text"].to_list()
    for number in range(len(ATTACKS)):
        for row, victim in enumerate(victims):
            text = shop.items["text"][20 + 2 * number + row]
            assert chains.items["text"][int(victim)] in text
            assert text != chains.items["text"][int(victim)]


def test_cost_of_cleaning():
    said = cost_of_cleaning(["a b c", "d e", "unknown"], ["a b", "unknown", "unknown"])
    assert "drops 33.3% of" in said  # 6 words, of which 4 are left
    assert "of 3 texts 1 become" in said
