"""The LFM and Industry replicas: catalogues with nested attributes, and sessions through them."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsim_envs.dataset import Dataset, Scenario
from recsim_envs.replica.sessions import (
    Draw,
    IntArray,
    Walk,
    choice,
    cover,
    dense,
    item_weights,
    occurrence,
    parts,
    same,
    session_lengths,
    walk,
    zipf,
)
from recsim_envs.replica.text import (
    load_words,
    music_pools,
    phrases,
    plural,
    product_pools,
    word_list,
)

# Levels: next track, album, artist, genre, anything.
LFM_WALK = Walk(8, 13.374, (1.1, 0.75), (0.60, 0.10, 0.30, 0, 0), (0, 0, 0, 0, 1), 0.2)
# Levels: line, kind, brand, department, anything.
INDUSTRY_WALK = Walk(5, 7.040, (0.75, 1.0), (0.31, 0.02, 0.10, 0.57, 0), (0, 0, 0, 0, 1), 0.4)


def generate_lfm(seed: int = 0, n_items: int = 18_297, n_sequences: int = 10_947) -> Dataset:
    """Makes the music replica: genre > artist > album > track, and listening sessions.

    Args:
        seed: of everything that is random.
        n_items: tracks (the paper's Table 2: 18,297).
        n_sequences: sessions; 13.4 tracks a session make the paper's 146,400 events.

    Returns:
        The data set "lfm-replica". Item columns: title, album, artist, genre. Rows stand in
        catalogue order, an album's tracks one after the other.

    Raises:
        ValueError: if the sessions are too few for every item to occur.
    """
    rng = np.random.default_rng(seed)
    words = load_words()["music"]
    styles = words["styles"]
    genres = [(genre, style) for style, w in enumerate(styles) for genre in word_list(w["genres"])]
    n_artists = max(1, round(0.21 * n_items))
    genre_weight = rng.permutation(zipf(len(genres), exponent=1.0, offset=1))
    genre_of_artist = np.sort(choice(rng, n_artists, genre_weight))
    tracks = parts(rng.gamma(0.5, size=n_artists), n_items, minimum=1)
    artist = np.repeat(np.arange(n_artists), tracks)
    position = occurrence(artist)
    album = dense(artist, position // rng.integers(4, 12, size=n_artists)[artist])
    genre = genre_of_artist[artist]

    pools = [music_pools(words, style) for style in styles]
    style_of = np.array([style for _, style in genres])
    first_of_album = np.flatnonzero(occurrence(album) == 0)
    artists = phrases(rng, words["artists"], pools, style_of[genre_of_artist])
    albums = phrases(
        rng, words["titles"], pools, style_of[genre[first_of_album]], artist[first_of_album]
    )
    items = pl.DataFrame(
        {
            "item_id": np.arange(n_items),
            "title": phrases(rng, words["titles"], pools, style_of[genre], artist),
            "album": [albums[i] for i in album],
            "artist": [artists[i] for i in artist],
            "genre": [genres[i][0] for i in genre],
        }
    )
    items = items.with_columns(
        text=pl.format("{} by {}, from the album {} ({})", "title", "artist", "album", "genre")
    )

    weight = item_weights(rng, artist, shared=0.55, exponent=0.65, offset=0.015)
    following = np.minimum(np.arange(n_items) + 1, n_items - 1)
    # An album's last track follows itself: the walk then tries the next level.
    following = np.where(album[following] == album, following, np.arange(n_items))
    ladder: list[Draw] = [
        lambda _, anchor: following[anchor],
        *(same(code, weight) for code in (album, artist, genre, np.zeros_like(genre))),
    ]
    lengths = session_lengths(rng, n_sequences, LFM_WALK)
    events = cover(rng, walk(rng, lengths, ladder, LFM_WALK), 1, (artist, genre))
    return _dataset("lfm-replica", "music", items, lengths, events)


def generate_industry(seed: int = 0, n_items: int = 5_850, n_sequences: int = 10_170) -> Dataset:
    """Makes the shop replica: department > kind > line (a brand's goods of a kind) > product.

    Args:
        seed: of everything that is random.
        n_items: products (the paper's Table 2: about 5,850).
        n_sequences: customers; 7.04 products each make the paper's 71,600 events.

    Returns:
        The data set "industry-replica". Item columns: title, category (a path), brand.

    Raises:
        ValueError: if the sequences are too few for every item to occur five times.
    """
    rng = np.random.default_rng(seed)
    words = load_words()["products"]
    kinds = [
        (department, shelf, noun)
        for department, w in enumerate(words["departments"])
        for shelf in w["shelves"]
        for noun in word_list(shelf["kinds"])
    ]
    n_lines = max(1, round(0.62 * n_items))
    n_brands = max(1, round(0.55 * n_items))
    kind_weight = rng.permutation(zipf(len(kinds), exponent=1.0, offset=4))
    kind_of_line = np.sort(choice(rng, n_lines, kind_weight))
    department_of_kind = np.array([department for department, _, _ in kinds])

    # A brand is at home in one department, and now and then sells in another.
    brand_weight = zipf(n_brands, exponent=0.8, offset=2)
    home = rng.permutation(department_of_kind[kind_of_line])[:n_brands]
    brand_of_line = np.empty_like(kind_of_line)
    for department in range(len(words["departments"])):
        here = department_of_kind[kind_of_line] == department
        fit = brand_weight * np.where(home == department, 1.0, 0.004)
        brand_of_line[here] = choice(rng, int(here.sum()), fit)
    line_order = np.lexsort((brand_of_line, kind_of_line))
    products = parts(rng.pareto(1.5, size=n_lines), n_items, minimum=1)
    line_row = np.repeat(line_order, products)
    kind, brand = kind_of_line[line_row], brand_of_line[line_row]
    line = dense(kind, brand)

    stem = {"start": word_list(words["brand_starts"]), "end": word_list(words["brand_ends"])}
    brand_pools = [stem | {"tail": word_list(words["brand_tails"])}]
    brands = phrases(rng, words["brands"], brand_pools, np.zeros(n_brands, dtype=int))
    pools = [product_pools(words, shelf, noun) for _, shelf, noun in kinds]
    described = phrases(rng, words["titles"], pools, kind, line)
    paths = [
        f"{words['departments'][department]['name']} > {shelf['name']} > {plural(noun)}"
        for department, shelf, noun in kinds
    ]
    items = pl.DataFrame(
        {
            "item_id": np.arange(n_items),
            "title": [f"{brands[b]} {title}" for b, title in zip(brand, described, strict=True)],
            "category": [paths[k] for k in kind],
            "brand": [brands[b] for b in brand],
        }
    )
    kind_name = pl.col("category").str.split(" > ").list.last()
    items = items.with_columns(text=pl.format("{}, {}", "title", kind_name))

    weight = item_weights(rng, line, shared=0.15, exponent=0.65, offset=0.003)
    department = department_of_kind[kind]
    levels = (line, kind, brand, department, np.zeros_like(kind))
    ladder = [same(code, weight) for code in levels]
    lengths = session_lengths(rng, n_sequences, INDUSTRY_WALK)
    events = cover(rng, walk(rng, lengths, ladder, INDUSTRY_WALK), 5, (line, kind, department))
    return _dataset("industry-replica", "products", items, lengths, events)


def _dataset(
    name: str, scenario: Scenario, items: pl.DataFrame, lengths: IntArray, events: IntArray
) -> Dataset:
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    interactions = pl.DataFrame({"sequence": sequence, "item": events}).cast(pl.Int32)
    return Dataset(name, scenario, items, interactions, replica=True)
