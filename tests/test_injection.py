"""The injection benchmark's attacked catalogue."""

import numpy as np

from benchmarks.injection import ATTACKS, with_attacked_items


def test_attacked_copies_stand_behind_the_catalogue(chains):
    victims = np.array([3, 7])
    shop = with_attacked_items(chains, victims, np.random.default_rng(0), k=10)
    assert shop.n_items == 20 + 2 * len(ATTACKS)
    assert shop.items["text"][:20].tolist() == chains.items["text"].tolist()
    for number in range(len(ATTACKS)):
        for row, victim in enumerate(victims):
            text = shop.items["text"][20 + 2 * number + row]
            assert chains.items["text"][int(victim)] in text
            assert text != chains.items["text"][int(victim)]
