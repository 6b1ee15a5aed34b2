"""The LFM and Industry replicas: catalogues with nested attributes, and sessions through them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.wording import Scenario
from tools.replica.sessions import (
    Draw,
    Moves,
    companions,
    cover,
    dense,
    item_weights,
    occurrence,
    pareto_parts,
    parts,
    same,
    take_again,
    walk,
    zipf,
)
from tools.replica.text import (
    brand_pool,
    load_words,
    music_pool,
    phrases,
    plural,
    product_pool,
    purpose_pool,
    word_list,
)

# These moves, and the weights below, were tuned to the figures in the package's docstring.
LFM_MOVES = Moves(  # levels: next track, album, artist, scene, genre, anything
    stickiness=(0.6, 0.6),
    close=(0.80, 0.10, 0.10, 0, 0, 0),
    far=(0, 0, 0, 0.5, 0, 0.5),
    recall=0.2,
)
INDUSTRY_MOVES = Moves(  # levels: line, project, kind, brand, department, anything
    stickiness=(0.6, 0.5),
    close=(0.16, 0.66, 0, 0.13, 0.05, 0),
    far=(0, 0, 0, 0, 0, 1),
    recall=0.4,
)


def generate_lfm(seed: int = 0, n_items: int = 18_297, n_sequences: int = 10_947) -> Dataset:
    """Makes the music replica: listening sessions in a catalogue of genre > artist > album > track.

    Args:
        seed: of everything that is random.
        n_items: tracks (the paper's Table 2: 18,297).
        n_sequences: sessions; at 13.37 tracks each, 10,947 make the paper's 146,400 events.

    Returns:
        The data set "lfm-replica". Item columns: title, album, artist, genre. Rows stand in
        catalogue order, an album's tracks one after the other.

    Raises:
        DataError: if the sessions are too few for every item to occur.
    """
    rng = np.random.default_rng(seed)
    items, album, artist, genre = _tracks(rng, n_items)
    first = np.flatnonzero(np.diff(artist, prepend=-1))  # one track of each artist
    scene = companions(rng, genre[first], size=6, abroad=0.7)[artist]
    weight = item_weights(rng, artist, shared=0.7, exponent=0.58, offset=0.015)
    following = np.minimum(np.arange(n_items) + 1, n_items - 1)
    # An album's last track follows itself: the walk then takes the next level.
    following = np.where(album[following] == album, following, np.arange(n_items))
    ladder: list[Draw] = [
        lambda _, anchor: following[anchor],
        *(same(code, weight) for code in (album, artist, scene, genre)),
        # Who leaves a taste plays what everybody plays, so hits keep each other company.
        same(np.zeros_like(genre), weight**1.4),
    ]
    n_events = round(13.3735 * n_sequences)
    lengths = pareto_parts(rng, n_sequences, n_events, minimum=8, shape=3.5)
    events = walk(rng, n_items, lengths, ladder, LFM_MOVES)
    events = cover(rng, events, 1, (artist, scene, genre))
    return _dataset("lfm-replica", "music", ("title", "artist"), items, lengths, events)


def generate_industry(seed: int = 0, n_items: int = 5_850, n_sequences: int = 10_170) -> Dataset:
    """Makes the shop replica: customers in a catalogue of department > kind > line > product.

    A line is a brand's goods of one kind. A brand is at home in one department.

    Args:
        seed: of everything that is random.
        n_items: products (the paper's Table 2: about 5,850).
        n_sequences: customers; at 7.04 products each, 10,170 make the paper's 71,600 events.

    Returns:
        The data set "industry-replica". Item columns: title, category (a path), brand. Rows stand
        in catalogue order.

    Raises:
        DataError: if the sequences are too few for every item to occur five times.
    """
    rng = np.random.default_rng(seed)
    items, line, project, kind, brand, department = _products(rng, n_items)
    weight = item_weights(rng, line, shared=0.15, exponent=0.7, offset=0.003)
    levels = (line, project, kind, brand, department, np.zeros_like(line))
    ladder = [same(code, weight) for code in levels]
    n_events = round(7.0403 * n_sequences)
    lengths = pareto_parts(rng, n_sequences, n_events, minimum=5, shape=3.5)
    events = walk(rng, n_items, lengths, ladder, INDUSTRY_MOVES)
    events = take_again(rng, lengths, events, rate=0.0065)
    events = cover(rng, events, 5, (line, project, kind, department))
    return _dataset("industry-replica", "products", ("title", "category"), items, lengths, events)


def _tracks(
    rng: np.random.Generator, n_items: int
) -> tuple[pd.DataFrame, IntArray, IntArray, IntArray]:
    """The music catalogue, and the codes of each track's album, artist and genre."""
    words = load_words()["music"]
    styles = words["styles"]
    genres = [(name, style) for style, w in enumerate(styles) for name in word_list(w["genres"])]
    n_artists = max(1, round(0.21 * n_items))
    share = rng.permutation(zipf(len(genres), exponent=1.0, offset=1.0))
    genre_of_artist = np.sort(rng.choice(len(genres), size=n_artists, p=share))
    tracks = parts(rng.gamma(0.5, size=n_artists), n_items, minimum=1)
    artist = np.repeat(np.arange(n_artists), tracks)
    album_length = rng.integers(4, 12, size=n_artists)[artist]
    album = dense(artist, occurrence(artist) // album_length)
    genre = genre_of_artist[artist]

    pools = [music_pool(words, style) for style in styles]
    style_of_artist = np.array([style for _, style in genres])[genre_of_artist]
    artist_of_album = artist[occurrence(album) == 0]
    artists = phrases(rng, words["artists"], pools, style_of_artist)
    albums = phrases(
        rng, words["titles"], pools, style_of_artist[artist_of_album], within=artist_of_album
    )
    titles = phrases(rng, words["titles"], pools, style_of_artist[artist], within=artist)
    items = pd.DataFrame(
        {
            "item_id": np.arange(n_items).astype(str),
            "title": titles,
            "album": [albums[i] for i in album],
            "artist": [artists[i] for i in artist],
            "genre": [genres[i][0] for i in genre],
        }
    )
    # As the real set's: the other columns are the user's to add.
    texts = [f"{title}, {by}" for title, by in zip(titles, items["artist"], strict=True)]
    return items.assign(text=texts), album, artist, dense(genre)


def _products(
    rng: np.random.Generator, n_items: int
) -> tuple[pd.DataFrame, IntArray, IntArray, IntArray, IntArray, IntArray]:
    """The shop's catalogue, and each product's line, project, kind, brand and department."""
    words = load_words()["products"]
    kinds = [
        (department, shelf, noun)
        for department, about in enumerate(words["departments"])
        for shelf in about["shelves"]
        for noun in word_list(shelf["kinds"])
    ]
    department_of_kind = np.array([department for department, _, _ in kinds])
    n_lines, n_brands = max(1, round(0.62 * n_items)), max(1, round(0.55 * n_items))
    share = rng.permutation(zipf(len(kinds), exponent=1.0, offset=4.0))
    kind_of_line = np.sort(rng.choice(len(kinds), size=n_lines, p=share))
    department_of_line = department_of_kind[kind_of_line]

    brand_weight = zipf(n_brands, exponent=0.8, offset=2.0)
    home = rng.permutation(department_of_line)[:n_brands]
    brand_of_line = np.empty_like(kind_of_line)
    for department in np.unique(department_of_line):
        here = department_of_line == department
        # The second weight is that of a brand away from home.
        fit = brand_weight * np.where(home == department, 1.0, 0.004)
        brand_of_line[here] = rng.choice(n_brands, size=here.sum(), p=fit / fit.sum())
    products = pareto_parts(rng, n_lines, n_items, minimum=1, shape=2.0)
    row = np.repeat(np.lexsort((brand_of_line, kind_of_line)), products)
    kind, brand = kind_of_line[row], brand_of_line[row]
    line = dense(kind, brand)

    brands = phrases(rng, words["brands"], [brand_pool(words)], np.zeros(n_brands, dtype=np.int64))
    pools = [product_pool(words, shelf, noun) for _, shelf, noun in kinds]
    described = phrases(rng, words["titles"], pools, kind, within=line)
    leaves = [plural(noun) for _, _, noun in kinds]
    paths = [
        f"{words['departments'][department]['name']} > {shelf['name']} > {leaf}"
        for (department, shelf, _), leaf in zip(kinds, leaves, strict=True)
    ]
    titles = [f"{brands[b]} {what}" for b, what in zip(brand, described, strict=True)]

    department = department_of_kind[kind]
    project = companions(rng, department, size=5, abroad=0.6)
    n_projects = project.max() + 1
    department_of_project = np.zeros(n_projects, dtype=np.int64)
    department_of_project[project] = department
    purposes = phrases(
        rng,
        words["purposes"],
        [purpose_pool(words)],
        np.zeros(n_projects, dtype=np.int64),
        within=department_of_project,
    )
    titles = [f"{title}, for {purposes[p]}" for title, p in zip(titles, project, strict=True)]
    items = pd.DataFrame(
        {
            "item_id": np.arange(n_items).astype(str),
            "text": [f"{title}, {leaves[k]}" for title, k in zip(titles, kind, strict=True)],
            "title": titles,
            "category": [paths[k] for k in kind],
            "brand": [brands[b] for b in brand],
        }
    )
    return items, line, project, dense(kind), dense(brand), dense(department)


def _dataset(
    name: str,
    scenario: Scenario,
    attributes: tuple[str, ...],
    items: pd.DataFrame,
    lengths: IntArray,
    events: IntArray,
) -> Dataset:
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    interactions = pd.DataFrame({"sequence": sequence, "item": events}, dtype=np.int32)
    return Dataset(name, scenario, items, interactions, replica=True, attributes=attributes)
