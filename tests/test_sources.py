"""Publishers' files, made here with their traps: each is recognised and read to the right value."""

import gzip
import json
import os
import sys
import zipfile
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from recsim_envs.data.reading import Reading
from recsim_envs.data.sources.amazon import clean
from recsim_envs.data.sources.download import download
from recsim_envs.data.sources.recognise import recognise
from recsim_envs.data.tables import from_frame, import_tables
from recsim_envs.errors import DataError


def write(folder, files):
    """Files by name; texts, in Latin-1 where the name is told so, packed where it ends in .gz."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        content = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def shapes(dataset):
    return [dataset.items["item_id"].iloc[sequence].tolist() for sequence in dataset.sequences]


def refused(folder, *words, **arguments):
    with pytest.raises(DataError) as error:
        import_tables(folder, "data", **arguments)
    assert all(word in str(error.value) for word in words), error.value


# Own tables

EVENTS = {"user_id": list("uuvv"), "item_id": ["007", "7", "7", "x y"], "time": [2, 1, 3, 4]}
ITEMS = {"item_id": ["007", "7", "x y"], "title": ['a "b"', "c, d", "é"], "year": [1984, 2001, 7]}


def packed(text):
    return gzip.compress(text.encode())


def as_csv(table, **kwargs):
    return pd.DataFrame(table).to_csv(index=False, **kwargs)


def as_jsonl(table):
    rows = pd.DataFrame(table).to_dict("records")
    return "".join(json.dumps(row) + "\n" for row in rows)


WRITERS = {
    "csv": lambda file, table: file.write_text(as_csv(table)),
    "CSV.GZ": lambda file, table: file.write_bytes(packed(as_csv(table))),
    "tsv": lambda file, table: file.write_text(as_csv(table, sep="\t")),
    "tsv.gz": lambda file, table: file.write_bytes(packed(as_csv(table, sep="\t"))),
    "jsonl": lambda file, table: file.write_text(as_jsonl(table)),
    "jsonl.gz": lambda file, table: file.write_bytes(packed(as_jsonl(table))),
    "Parquet": lambda file, table: pl.DataFrame(table).write_parquet(file),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_own_tables_are_the_same_data_in_every_format(tmp_path, ending):
    wanted = from_frame("data", EVENTS, ITEMS, text=["title", "year"])
    assert wanted.items["text"].tolist() == ['a "b", 1984', "c, d, 2001", "é, 7"]
    WRITERS[ending](tmp_path / f"Interactions.{ending}", EVENTS)
    WRITERS[ending](tmp_path / f"ITEMS.{ending}", ITEMS)
    found = import_tables(tmp_path, "data", text=["title", "year"])
    assert shapes(found) == shapes(wanted) == [["7", "007"], ["7", "x y"]]
    assert found.hash == wanted.hash
    assert found.account["rows"]["interactions"]["read"] == 4
    name = f"Interactions.{ending}"
    assert found.account["notes"][0] == f"recognised own tables: ITEMS.{ending}, {name}"


def test_a_bad_line_of_own_tables_is_named(tmp_path):
    write(tmp_path, {"items.csv": as_csv(ITEMS), "interactions.jsonl": as_jsonl(EVENTS)})
    file = tmp_path / "interactions.jsonl"
    lines = file.read_text().splitlines()
    for bad, words in (
        ('{"user_id": "u", "item_id": "7", "time": 1', ["line 3", "no JSON"]),
        ('["u", "7", 1]', ["line 3", "is no object"]),
        ('{"user_id": "u", "item_id": "8", "time": 1}', ["line 3", "'8' is not in"]),
        ('{"user_id": "u", "item_id": 7, "time": 1}', ["line 3", "item_id 7", "several types"]),
        ('{"user_id": "u", "item_id": "7"}', ["line 3", "no time"]),
    ):
        file.write_text("\n".join([*lines[:2], bad, *lines[3:], ""]))
        refused(tmp_path, "interactions.jsonl", *words, text=["title"])
    file.unlink()
    write(tmp_path, {"interactions.tsv": as_csv(EVENTS, sep="\t") + "u\t7\n"})
    refused(tmp_path, "interactions.tsv, line 6", "2 fields", text=["title"])
    (tmp_path / "interactions.tsv").unlink()
    whole = packed(as_csv(EVENTS))
    (tmp_path / "interactions.csv.gz").write_bytes(whole[:-12])
    refused(tmp_path, "interactions.csv.gz", "cannot be unpacked", text=["title"])
    (tmp_path / "interactions.csv.gz").unlink()
    write(tmp_path, {"interactions.parquet": "PAR1"})
    refused(tmp_path, "interactions.parquet", "no parquet", text=["title"])


# What a folder holds


def test_a_folder_of_two_formats_or_none_is_refused(tmp_path):
    write(tmp_path, {"notes.txt": "", ".hidden": ""})
    (tmp_path / "ml-1m").mkdir()
    refused(
        tmp_path,
        "holds ml-1m/, notes.txt, which",
        "MovieLens-1M: ratings.dat, movies.dat",
        "NAME.inter",
        "Coat",
    )
    write(tmp_path, {"U.DATA": "", "ratings.dat": ""})
    refused(tmp_path, "MovieLens-100K (U.DATA) and MovieLens-1M (ratings.dat)")
    (tmp_path / "ratings.dat").unlink()
    refused(tmp_path, "u.item is missing", "MovieLens-100K")
    write(tmp_path, {"u.item": "", "u.item.gz": ""})
    refused(tmp_path, "u.item and u.item.gz", "one file of movies", "leave one")
    refused(tmp_path / "u.item", "u.item is no folder")
    refused(write(tmp_path / "empty", {}), "empty holds nothing")


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    write(tmp_path, {"items.parquet": "", "interactions.csv": ""})
    monkeypatch.setitem(sys.modules, "polars", None)
    refused(tmp_path, "items.parquet", "pip install 'recsim-ialp[parquet]'")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"pip install 'recsim-ialp\[download\]'"):
        download("coat", tmp_path)


def test_two_candidates_for_one_table_are_refused(tmp_path):
    write(tmp_path, {"items.csv": "", "interactions.csv": "", "Interactions.tsv": ""})
    refused(tmp_path, "Interactions.tsv and interactions.csv", "leave one")


# RecBole


def test_recbole(tmp_path):
    write(
        tmp_path,
        {
            "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "1\t10\t5\t20\n1\t20\t4.0\t10\n1\t30\t3\t5\n2\t20\t5\t1e1\n2\t30\t4\t1.5\n",
            "ml.item": 'item_id:token\tmovie_title:token_seq\tclass:token_seq\n10\t"Great" Day\t'
            "Drama War\n20\t7\t\n30\tThird\tComedy\n",
            "ml.kg": "what else is there is left alone",
        },
    )
    found = import_tables(tmp_path, "data", text=["movie_title", "class"])
    assert found.account["notes"][0] == "recognised RecBole: ml.inter, ml.item"
    assert shapes(found) == [["20", "10"], ["30", "20"]]
    assert found.items["text"].tolist() == ['"Great" Day, Drama War', "7", "Third, Comedy"]
    assert found.account["rows"]["interactions"]["dropped"] == {"rated below 4": 1}
    refused(tmp_path, "text is empty", "movie_title", "class")
    write(tmp_path, {"ml.inter": "user_id:token\titem_id\n1\t10\n"})
    refused(tmp_path, "ml.inter, line 1", "'item_id' has no type", text=["movie_title"])


def movielens_100k():
    """The data set as RecBole ships it: a folder, its wheel, or the installed package."""
    place = os.environ.get("RECSIM_TEST_RECBOLE")
    if place is None:
        recbole = pytest.importorskip("recbole", reason="set RECSIM_TEST_RECBOLE to its wheel")
        place = Path(recbole.__file__).parent
    return Path(place)


def test_recbole_movielens_100k(tmp_path):
    place = movielens_100k()
    inside = "recbole/dataset_example/ml-100k"
    if place.suffix == ".whl":
        with zipfile.ZipFile(place) as wheel:
            for ending in ("inter", "item"):
                wheel.extract(f"{inside}/ml-100k.{ending}", tmp_path)
        place = tmp_path / inside
    else:
        place = place / "dataset_example" / "ml-100k"
    found = import_tables(place, "ml", text=["movie_title"])
    assert (found.n_items, len(found.sequences), len(found.interactions)) == (1682, 942, 55_375)
    assert found.account["rows"]["interactions"]["read"] == 100_000
    assert found.items["text"][0] == "Toy Story"


# MovieLens

MOVIES = {
    "item_id": ["1", "2", "3"],
    "title": ["Toy Story (1995)", "Misérables, Les (1995)", 'Unrated: "A" (1996)'],
    "genres": ["Animation, Children's, Comedy", "Drama, Musical", ""],
}
RATED = [(1, 1, 5, 978300760), (1, 2, 4, 978300750), (1, 3, 3, 9), (2, 2, 4, 7), (2, 1, 5, 8)]


def movielens_events():
    return pd.DataFrame(RATED, columns=["user_id", "item_id", "rating", "timestamp"])


def lines(rows, separator):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def write_100k(folder):
    genres = [
        "unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy"
    ]
    genres += ["Film-Noir,Horror,Musical,Mystery,Romance,Sci-Fi,Thriller,War,Western"]
    names = ",".join(genres).split(",")
    rows = []
    for item, title, of_item in zip(*MOVIES.values(), strict=True):
        flags = [int(name in of_item.split(", ")) for name in names]
        rows.append([item, title, "01-Jan-1995", "", "http://us.imdb.com/", *flags])
    return write(
        folder,
        {
            "u.data": lines(RATED, "\t"),
            "u.item": lines(rows, "|").encode("latin-1"),
            "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
        },
    )


def write_1m(folder):
    packed_genres = [g.replace(", ", "|") for g in MOVIES["genres"]]
    rows = zip(MOVIES["item_id"], MOVIES["title"], packed_genres, strict=True)
    return write(
        folder,
        {
            "Ratings.dat": lines(RATED, "::"),
            "movies.dat": lines(rows, "::").encode("latin-1"),
            "users.dat": "1::M::24::12::85711\n2::F::53::0::94043\n",
        },
    )


def write_20m(folder):
    movies = pd.DataFrame(MOVIES).rename(columns={"item_id": "movieId"})
    movies["genres"] = movies["genres"].str.replace(", ", "|").replace("", "(no genres listed)")
    ratings = movielens_events().set_axis(["userId", "movieId", "rating", "timestamp"], axis=1)
    return write(folder, {"ratings.csv.gz": as_csv(ratings), "movies.csv": as_csv(movies)})


@pytest.mark.parametrize(
    ("write_files", "name", "scale", "user_text"),
    [
        (write_100k, "MovieLens-100K: u.data, u.item, u.user", "1..5", ["M, 24, technician"]),
        (write_1m, "MovieLens-1M: Ratings.dat, movies.dat, users.dat", "1..5", ["M, 24"]),
        (write_20m, "MovieLens-20M: ratings.csv.gz, movies.csv", "0.5..5", []),
    ],
)
def test_movielens(tmp_path, write_files, name, scale, user_text):
    found = import_tables(write_files(tmp_path), "data")
    assert found.account["notes"][0] == f"recognised {name}"
    assert f"ratings: {scale}; items rated 4 or more are the choices" in found.account["notes"]
    assert shapes(found) == [["2", "1"], ["2", "1"]]
    assert found.items["title"].tolist() == MOVIES["title"]
    assert found.items["text"][1] == "Misérables, Les (1995), Drama, Musical"
    users = None if found.users is None else found.users.drop(columns="text")
    if users is not None:
        assert found.users["text"].tolist()[:1] == user_text
    # The same tables from frames are the same data.
    text = {"gender": "gender", "age": "age", "occupation": "occupation"}
    of_user = [text[word] for word in text][: len(user_text[0].split(", "))] if user_text else []
    same = from_frame(
        "x", movielens_events(), MOVIES, users, text=["title", "genres"], user_text=of_user
    )
    assert same.hash == found.hash
    every = import_tables(tmp_path, "data", reading=Reading(all_ratings=True))
    assert len(every.interactions) == 5 and every.n_users == 2


def test_movielens_half_stars_are_on_their_own_scale(tmp_path):
    write_20m(tmp_path)
    events = movielens_events().set_axis(["userId", "movieId", "rating", "timestamp"], axis=1)
    halves = events.assign(rating=[4.5, 5.0, 0.5, 4.0, 3.5])
    write(tmp_path, {"ratings.csv.gz": as_csv(halves)})
    found = import_tables(tmp_path, "data", reading=Reading(min_length=1))
    assert found.account["rows"]["interactions"]["dropped"] == {"rated below 4": 2}
    low = import_tables(tmp_path, "data", reading=Reading(min_length=1, liked=3.5))
    assert low.account["rows"]["interactions"]["dropped"] == {"rated below 3.5": 1}
    refused(tmp_path, "ratings.csv.gz, line 4", "outside 1..5", reading=Reading((1, 5)))


@pytest.mark.parametrize(
    ("write_files", "file", "old", "new", "words"),
    [
        (write_100k, "u.data", "1\t2\t4\t978300750", "1\t2\t4", ["line 2", "3 fields", "not 4"]),
        (write_100k, "u.data", "1\t2\t4", "1\t2\tfour", ["line 2", "rating 'four'", "no number"]),
        (write_100k, "u.data", "1\t3\t3", "1\t3\t7", ["line 3", "rating 7.0", "outside 1..5"]),
        (write_100k, "u.data", "1\t3\t3", "1\t9\t3", ["line 3", "item_id '9'", "not in the table"]),
        (write_100k, "u.user", "2|53|F", "2|53|F|x", ["line 2", "6 fields"]),
        (write_1m, "Ratings.dat", "1::2::4", "1:2::4", ["line 2", "3 fields"]),
        (write_1m, "Ratings.dat", "1::2::4", "1::2.5::4", ["line 2", "item_id '2.5'"]),
        (write_1m, "Ratings.dat", "1::2::4", "1:::4", ["line 2"]),
        (write_1m, "movies.dat", "2::Mis", "1::Mis", ["line 2", "stands more than once"]),
        (write_20m, "movies.csv", "2,", "2,x,", ["movies.csv, line 3", "4 fields"]),
    ],
)
def test_a_bad_line_of_movielens_is_named(tmp_path, write_files, file, old, new, words):
    write_files(tmp_path)
    content = (tmp_path / file).read_bytes()
    assert old.encode() in content
    (tmp_path / file).write_bytes(content.replace(old.encode(), new.encode(), 1))
    refused(tmp_path, file, *words)


def test_a_copy_of_movielens_in_utf8_with_windows_line_ends_is_the_same(tmp_path):
    wanted = import_tables(write_1m(tmp_path / "a"), "data").hash
    copy = write_1m(tmp_path / "b")
    for file in copy.iterdir():
        text = file.read_bytes().decode("latin-1")
        file.write_bytes(text.replace("\n", "\r\n").encode())
    assert import_tables(copy, "data").hash == wanted


def test_other_columns_under_movielens_names_are_refused(tmp_path):
    write(tmp_path, {"ratings.csv": "user,item\n1,2\n", "movies.csv": "item,title\n"})
    refused(tmp_path, "ratings.csv, line 1", "['user', 'item']", "interactions.csv")


# Amazon

DAY = 86_400


def amazon(year, reviews, meta):
    """Files of a year from (user, item, rating, day) and (item, title, categories, brand)."""
    if year == 2018:
        user, item, rating, time, scale = "reviewerID", "asin", "overall", "unixReviewTime", DAY
        names = ("Things_5.json.gz", "meta_Things.json.gz")
        fields = ("asin", "title", "category", "brand")
    else:
        user, item, rating, time = "user_id", "parent_asin", "rating", "timestamp"
        names, scale = ("Things.jsonl", "meta_Things.jsonl"), DAY * 1000
        fields = ("parent_asin", "title", "categories", "store")
    first = [
        {user: u, item: i, rating: r, time: (10_000 + day) * scale, "title": "a review's"}
        for u, i, r, day in reviews
    ]
    second = [dict(zip(fields, row, strict=True)) for row in meta]
    texts = ["".join(json.dumps(row) + "\n" for row in rows) for rows in (first, second)]
    return dict(zip(names, texts, strict=True))


REVIEWS = [
    ("u", "B01", 5.0, 9),
    ("u", "0007", 2.0, 3),
    ("u", "B01", 1.0, 4),
    ("v", "B02", 5.0, 3),
    ("v", "B01", 5.0, 3),
    ("u", "B01", 3.0, 4),
]
META = [
    (
        "B01",
        "Bolt &amp;amp; <i>nut</i>,\n 5 &lt; 6",
        ["Industrial", "Bolts &amp; Co"],
        "Acme&#39;s",
    ),
    ("B01", "a later description", [], ""),
    ("0007", '<span id="productTitle" class="a">Tea</span>', [], None),
    ("B09", "never reviewed", [], "x"),
]


@pytest.mark.parametrize("year", [2018, 2023])
def test_amazon(tmp_path, year):
    found = import_tables(write(tmp_path, amazon(year, REVIEWS, META)), "data")
    names = ", ".join(amazon(year, [], []))
    assert found.account["notes"][0] == f"recognised Amazon-{year}: {names}"
    assert found.items["item_id"].tolist() == ["0007", "B01", "B02"]
    assert found.items["text"].tolist() == [
        "Tea",
        "Bolt & nut , 5 < 6, Industrial > Bolts & Co, Acme's",
        "",
    ]
    # The earliest review of B01 is of day 4; every review is a choice, whatever its rating.
    assert shapes(found) == [["0007", "B01"], ["B02", "B01"]]
    assert found.interactions["time"].tolist() == [(10_000 + d) * DAY for d in (3, 4, 3, 3)]
    rows = found.account["rows"]["interactions"]
    assert rows["dropped"] == {"a later review of an item by the same user": 2}
    notes = "\n".join(found.account["notes"])
    assert "1 of 3 items are not in meta_Things" in notes
    assert (
        "1 later descriptions" in notes and "2 titles" in notes and "0 of them are empty" in notes
    )
    assert "order: 1 of 2 neighbours in a sequence have the same time" in notes
    liked = import_tables(tmp_path, "data", reading=Reading(liked=4, rows_in_order=True))
    assert shapes(liked) == [["B02", "B01"]]


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("Bolt &amp; Nut &quot;M5&quot;", 'Bolt & Nut "M5"'),
        ("<script>var a = 1;</script> Bolt", "Bolt"),
        ("Bolt <script>var aPageStart", "Bolt"),
        ("var aPageStart = (new Date()).getTime();", ""),
        ('<span id="productTitle" class="a-size', ""),
        ("Pipe <5mm, 3 > 2", "Pipe <5mm, 3 > 2"),
        ("Bolt <M5", "Bolt <M5"),
        ("a\u2028b\r\n c", "a b c"),
        (None, ""),
        (["a"], ""),
    ],
)
def test_titles_of_web_pages_are_cleaned(title, wanted):
    assert clean(title) == wanted


def test_a_bad_line_of_amazon_is_named(tmp_path):
    files = amazon(2018, REVIEWS, META)
    reviews = files["Things_5.json.gz"]
    write(tmp_path, files | {"Things_5.json.gz": reviews.replace('"v"', '""', 1)})
    refused(tmp_path, "Things_5.json.gz, line 4: no 'reviewerID'")
    write(tmp_path, files | {"Things_5.json.gz": reviews[:-20]})
    refused(tmp_path, "Things_5.json.gz, line 6: no JSON")
    write(tmp_path, files | {"meta_Things.json.gz": '{"title": "x"}\n'})
    refused(tmp_path, "meta_Things.json.gz, line 1: no 'asin'")
    write(tmp_path, files)
    (tmp_path / "meta_Things.json.gz").unlink()
    refused(tmp_path, "meta_CATEGORY.json.gz is missing")
    write(tmp_path, files | {"Things.json": ""})
    refused(tmp_path, "Things.json and Things_5.json.gz", "one file of reviews")


# Last.fm-1K

LISTENS = "userid-timestamp-artid-artname-traid-traname.tsv"


def listen(user, minute, track, title, artist='The "Band"'):
    return [user, f"2009-05-04T{minute // 60:02}:{minute % 60:02}:00Z", "art", artist, track, title]


def test_lastfm(tmp_path):
    rows = [  # newest first
        listen("user_1", 9, "", "Song"),
        listen("user_1", 9, "", "Song", "Other"),
        listen("user_1", 5, "mbid", 'A "quote', "Other"),
        listen("user_2", 5, "mbid", "another spelling", "Other"),
        listen("user_2", 1, "", "Song"),
        listen("user_3", 1, "", "Song 3"),
    ]
    write(tmp_path, {LISTENS: lines(rows, "\t")})
    reading = Reading(min_length=2)
    found = import_tables(tmp_path, "data", reading=reading)
    named, other = 'The "Band"\tSong', "Other\tSong"
    assert shapes(found) == [[named, "mbid"], ["mbid", other, named]]
    texts = dict(zip(found.items["item_id"], found.items["text"], strict=True))
    assert texts["mbid"] == 'A "quote, Other' and texts[named] == 'Song, The "Band"'
    assert found.scenario == "music"
    assert any("3 of 4 tracks have no MusicBrainz id" in note for note in found.account["notes"])
    first = import_tables(tmp_path, "data", reading=reading._replace(max_users=1))
    assert len(first.sequences) == 1 and first.n_items == 3
    assert first.account["rows"]["interactions"]["dropped"] == {"not of the first 1 users": 3}
    refused(tmp_path, "fewer than 8 items")
    (tmp_path / LISTENS).write_text(lines([*rows, rows[0][:5]], "\t"))
    refused(tmp_path, f"{LISTENS}, line 7", "5 fields")
    rows[2][1] = "yesterday"
    (tmp_path / LISTENS).write_text(lines(rows, "\t"))
    refused(tmp_path, f"{LISTENS}, line 3", "'yesterday' is no time")


# Coat


def test_arguments_that_coat_would_ignore_are_refused(real_data):
    folder = real_data / "raw" / "coat"
    assert str(recognise(folder)) == "recognised Coat: train.ascii, test.ascii"
    for arguments, word in (
        ({"text": ["color"]}, "--text color"),
        ({"scenario": "music"}, "--scenario music"),
        ({"item": "coat"}, "--item coat"),
        ({"attributes": ["cut"]}, "--attributes cut"),
        ({"reading": Reading(max_users=5)}, "--max-users 5"),
        ({"reading": Reading(k_core=5)}, "--k-core 5"),
        ({"reading": Reading(session_gap=5)}, "--session-gap 5"),
        ({"reading": Reading(min_length=5)}, "--min-length 5"),
        ({"reading": Reading(liked=5)}, "--liked 5"),
    ):
        refused(folder, word, "would change nothing", **arguments)
