"""A user's own tables: ids, texts, times and ratings are read as they were meant, or refused."""

import datetime
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame, import_tables
from recsim_envs.errors import DataError

ITEMS = {"item_id": list("abcd"), "title": ["one", "two", "three", "four"]}
FRAMES = {"dict": dict, "pandas": pd.DataFrame, "polars": pl.DataFrame}


def two_each(**columns):
    """Two users with two items each, and columns of four values."""
    return {"user_id": ["u", "u", "v", "v"], "item_id": list("abcd"), **columns}


def build(events, items=ITEMS, users=None, **arguments):
    return from_frame("shop", events, items, users, text="title", **arguments)


def write(folder, **tables):
    for name, table in tables.items():
        if isinstance(table, str):
            (folder / f"{name}.csv").write_text(table)
        else:
            pd.DataFrame(table, dtype=object).to_csv(folder / f"{name}.csv", index=False)
    return folder


def by_csv(folder, events, items=ITEMS, **arguments):
    write(folder, interactions=events, items=items)
    return import_tables(folder, "shop", text=["title"], **arguments)


def shapes(dataset):
    return [sequence.tolist() for sequence in dataset.sequences]


# Ids and texts


@pytest.mark.parametrize(
    "ids",
    [
        ["007", "007", "7", "7"],
        ["5e2", "5e2", "500", "500"],
        ["1.0", "1.0", "1", "1"],
        ["1.0", "1.0", "9007199254740993", "9007199254740993"],
        [9007199254740992, 9007199254740992, 9007199254740993, 9007199254740993],
        ["NA", "NA", "nan", "nan"],
        ["True", "True", "true", "true"],
        [" 7", " 7", "7", "7"],
        ["\u00e9", "\u00e9", "e\u0301", "e\u0301"],
    ],
)
def test_no_two_users_or_items_merge_whoever_made_the_table(tmp_path, ids):
    events = {"user_id": ids, "item_id": ids, "time": [1, 2, 3, 4]}
    items = {"item_id": ids[::2], "title": ["007", "1984"]}
    found = [build(make(events), make(items)) for make in FRAMES.values()]
    found.append(by_csv(tmp_path, events, items))
    for dataset in found:
        assert shapes(dataset) == [[0, 0], [1, 1]]
        assert dataset.items["item_id"].tolist() == [str(i) for i in ids[::2]]
        assert dataset.items["text"].tolist() == ["007", "1984"]
        assert dataset.hash == found[0].hash


def test_a_column_of_integers_with_gaps_is_one_of_integers(tmp_path):
    """In pandas it is one of floats: 1984 became "1984.0"."""
    items = {"item_id": [3, 1, 2], "title": ["x", "y", "z"], "year": [1984, None, 2001]}
    events = {"user_id": [7, 7, 7], "item_id": [1, 2, 3], "time": [1, 2, 3]}
    frame = pd.DataFrame(items)
    assert frame["year"].dtype == float
    made = [frame, pl.DataFrame(items), items, frame.astype({"year": "Int64"})]
    found = [from_frame("shop", events, each, text=["title", "year"]) for each in made]
    write(tmp_path, interactions=events, items="item_id,title,year\n3,x,1984\n1,y,\n2,z,2001\n")
    found.append(import_tables(tmp_path, "shop", text=["title", "year"]))
    for dataset in found:
        assert dataset.items["text"].tolist() == ["x, 1984", "y", "z, 2001"]
        assert dataset.hash == found[0].hash


def test_user_ids_that_pandas_made_floats_of_are_the_integers_again():
    events = pd.DataFrame(two_each(time=[1, 2, 3, 4])).assign(user_id=[7, 7, 8, 8])
    gaps = pd.concat([events, pd.DataFrame({"item_id": ["a"], "time": [5]})])
    assert gaps["user_id"].dtype == float
    found = build(gaps)
    assert found.hash == build(events).hash
    assert found.account["rows"]["interactions"] == {
        "read": 5,
        "kept": 4,
        "dropped": {"no user_id": 1},
    }


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (pd.Series([1.0, 1.0, 2.0**53, 2.0**53]), ["row 2", "user_id", "lost its last digits"]),
        (np.array([1, 1, 2**24, 2**24], np.float32), ["row 2", "user_id", "16777216"]),
        ([1.5, 1.5, 2.0, 2.0], ["row 0", "user_id 1.5", "no whole number"]),
        ([1.0, 1.0, float("inf"), 2.0], ["row 2", "inf"]),
        ([7, 7, 7.0, 7.0], ["row 2", "user_id 7.0", "among other types"]),
        (["007", "007", 7, 7], ["row 2", "user_id 7 ", "several types"]),
        ([["a"], ["a"], "b", "b"], ["row 0", "user_id", "is no text"]),
        ([b"a", b"a", b"b", b"b"], ["row 0", "user_id b'a'"]),
        (["a", "a", "\ud800", "\ud800"], ["row 2", "Unicode"]),
        (["a", "b\0", "c", "c"], ["row 1", "user_id 'b\\x00'", "NUL"]),
        (["a", "a\nb", "c", "c"], ["row 1", "user_id 'a\\nb'", "line break"]),
    ],
)
def test_an_id_that_could_be_two_is_refused(ids, words):
    with pytest.raises(DataError) as error:
        build(two_each(time=[1, 2, 3, 4]) | {"user_id": ids})
    assert all(word in str(error.value) for word in ["interactions", *words]), error.value


def test_a_text_that_could_be_two_is_refused_and_others_are_written_as_they_are():
    items = ITEMS | {"title": ["n/a", 1984, 1.5, True]}
    found = build(two_each(time=[1, 2, 3, 4]), items)
    assert found.items["text"].tolist() == ["n/a", "1984", "1.5", "True"]
    with pytest.raises(DataError, match=r"items, row 1: title 1984.0 is a float among"):
        build(two_each(time=[1, 2, 3, 4]), ITEMS | {"title": ["n/a", 1984.0, "x", "y"]})
    with pytest.raises(DataError, match=r"items, row 0: tags \['x'\] is no text: join"):
        build(two_each(time=[1, 2, 3, 4]), ITEMS | {"tags": [["x"], [], [], []]})


def test_what_is_written_comes_back_to_the_bit(tmp_path):
    """Tables that could not be read back were called prepared."""
    strange = ["a\rb", 'c\r\n"d"', " e ", "NA"]
    events = two_each(time=[0.1, 1574000000.123457, 2 / 3, 1e9 / 3], split=["1", "2", "NA", ""])
    dataset = build(events, ITEMS | {"x": strange})
    dataset.save(tmp_path)
    again = Dataset.load(tmp_path)
    assert again.items["x"].tolist() == strange
    pd.testing.assert_frame_equal(again.interactions, dataset.interactions)


def test_names_of_columns_count_in_any_case_and_once():
    events = two_each(time=[4, 3, 2, 1])
    shouted = {name.upper(): values for name, values in events.items()}
    items = {"Item_ID": ITEMS["item_id"], "title": ITEMS["title"]}
    assert build(shouted, items).hash == build(events).hash
    with pytest.raises(DataError, match=r"interactions has the columns \['user_id', 'USER_ID'\]"):
        build(events | {"USER_ID": ["u"] * 4})
    with pytest.raises(DataError, match="two columns 'title'"):
        build(events, pd.DataFrame([["a", "b", "c"]], columns=["item_id", "title", "title"]))
    with pytest.raises(DataError, match=r"different lengths, .*'item_id': 4, 'time': 3"):
        build(two_each(time=[1, 2, 3]))
    with pytest.raises(DataError, match=r"LazyFrame: give .* its collect\(\)"):
        build(pl.LazyFrame(events))


# Times


STAMPS = [1577836800, 1577836801, 1577836802, 1577836803]


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (STAMPS, "in s "),
        ([t * 1000 for t in STAMPS], "in ms"),
        ([t * 10**6 for t in STAMPS], "in us"),
        ([t * 10**9 for t in STAMPS], "in ns"),
        ([float(t) for t in STAMPS], "in s "),
        ([f"2020-01-01T00:00:0{i}Z" for i in range(4)], "ISO 8601"),
        ([f"2020-01-01 01:00:0{i}+01:00" for i in range(4)], "ISO 8601"),
        (
            ["2020-01-01", "2019-12-31T23:00:01-01:00", "2020-01-01T00:00:02", "20200101T000003Z"],
            "ISO",
        ),
        ([datetime.datetime(2020, 1, 1, 0, 0, i) for i in range(4)], "dates"),
        (pd.date_range("2020-01-01", periods=4, freq="s", tz="UTC"), "dates"),
        (pd.date_range("2020-01-01 09:00", periods=4, freq="s", tz="Asia/Tokyo"), "dates"),
    ],
)
def test_a_time_is_read_whatever_its_form(tmp_path, times, unit):
    backwards = list(times)[::-1]
    wanted = build(two_each(time=STAMPS[::-1]))
    assert shapes(wanted) == [[1, 0], [3, 2]]
    for make in FRAMES.values():
        found = build(make(two_each(time=backwards)))
        assert found.interactions["time"].tolist() == wanted.interactions["time"].tolist()
        assert found.hash == wanted.hash
        assert any(unit in note for note in found.account["notes"]), found.account
    assert by_csv(tmp_path, two_each(time=backwards)).hash == wanted.hash


def test_times_order_as_numbers_not_as_texts(tmp_path):
    assert shapes(by_csv(tmp_path, two_each(time=["1000", "999", "10000", "9"]))) == [
        [1, 0],
        [3, 2],
    ]
    assert shapes(by_csv(tmp_path, two_each(position=["10", "9", "0", "1"]))) == [[1, 0], [2, 3]]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("time", ["999", "1000", "NA", "1"], ["'NA'", "no time"]),
        ("time", ["01/01/2020", "31/12/2019", "x", "y"], ["'01/01/2020'", "no time"]),
        ("time", ["2020-01-01", "31/12/2019", "x", "y"], ["'31/12/2019'", "no time"]),
        ("time", ["2020-01-01", "1577836800", "1", "2"], ["'2020-01-01'", "others' kind"]),
        ("time", ["1", "2", "", "4"], ["''", "no time"]),
        ("time", ["1", "2", "inf", "4"], ["'inf'", "no time"]),
        (
            "time",
            ["1577836800000", "5", "1577836800001", "6"],
            ["5", "in s by", "in ms", "one unit"],
        ),
        ("time", ["20191231", "20200101", "20200102", "20200103"], ["20191231", "2019-12-31"]),
        ("position", ["p9", "p10", "p1", "p2"], ["'p9'", "no number"]),
        ("position", ["1", "2", "3", ""], ["''", "no number"]),
    ],
)
def test_what_is_no_time_or_position_names_its_line(tmp_path, column, values, words):
    with pytest.raises(DataError) as error:
        by_csv(tmp_path, two_each(**{column: values}))
    message = str(error.value)
    bad = [i for i, value in enumerate(values) if words[0].strip("'") == value]
    line = f"interactions.csv, line {bad[0] + 2}: {column} {words[0]}"
    assert line in message and all(word in message for word in words), message


@pytest.mark.parametrize("name", ["Timestamp", "unixReviewTime", "TS", "Date", "event_time"])
def test_one_list_of_names_of_the_time_for_frames_and_files(tmp_path, name):
    wanted = build(two_each(time=[2, 1, 4, 3])).hash
    assert build(two_each(**{name: [2, 1, 4, 3]})).hash == wanted
    assert by_csv(tmp_path, two_each(**{name: [2, 1, 4, 3]})).hash == wanted
    with pytest.raises(DataError, match=f"2 columns of times, .*{name}"):
        build(two_each(**{name: [2, 1, 4, 3]}, datetime=[1, 2, 3, 4]))


def test_rows_without_a_time_are_warned_of_and_those_sorted_by_item_refused(caplog):
    rng = np.random.default_rng(0)
    drawn = np.array([rng.permutation(30)[:6] for _ in range(10)])  # (users, items)
    items = {"item_id": range(30), "title": [f"thing {i}" for i in range(30)]}

    def rows(of_users):
        return {"user_id": np.repeat(range(10), 6), "item_id": of_users.ravel()}

    found = build(rows(drawn), items)
    assert re.search("no column of a time or position.*rows is taken as that of time", caplog.text)
    assert any("order of the rows is taken" in note for note in found.account["notes"])
    same_time = rows(np.sort(drawn)) | {"date": ["2020-01-01"] * 60}
    by_text = np.array([sorted(user, key=str) for user in drawn])
    for events in (rows(np.sort(drawn)), rows(np.sort(drawn)[:, ::-1]), rows(by_text), same_time):
        with pytest.raises(DataError, match="in the order of the item ids"):
            build(events, items)
    caplog.clear()
    kept = build(rows(np.sort(drawn)), items, reading=Reading(rows_in_order=True))
    assert shapes(kept) == np.sort(drawn).tolist()
    ties = build(rows(drawn) | {"time": np.repeat(range(30), 2)}, items)
    assert caplog.text == ""
    assert any("30 of 50 neighbours" in note for note in ties.account["notes"])
    by_day = np.sort(drawn.reshape(10, 3, 2)).reshape(10, 6)  # two a day, sorted by item
    build(rows(by_day) | {"time": np.repeat(range(30), 2)}, items)
    assert re.search("30 of 50 neighbours.*of the item ids", caplog.text)


# Rows


def test_a_sequence_id_numbered_per_user_merges_nobody():
    events = {
        "user_id": ["u", "u", "u", "u", "v", "v"],
        "sequence_id": [1, 1, 2, 2, 1, 1],
        "item_id": list("abcdca"),
        "time": range(6),
    }
    found = build(events)
    assert shapes(found) == [[0, 1], [2, 3], [2, 0]]
    assert any("pair of user_id and sequence_id" in note for note in found.account["notes"])
    # Where the number says it all, nothing changes, and a session may be nobody's.
    alone = build(events | {"sequence_id": [1, 1, 2, 2, 3, 3], "user_id": ["", None, *"uuvv"]})
    assert shapes(alone) == [[0, 1], [2, 3], [2, 0]]


def test_every_row_is_accounted_for(tmp_path):
    write(
        tmp_path,
        items="item_id,title\na,one\n\n,lost\nb,two\nc,three\n\n",
        interactions="user_id,item_id,time\nu,a,1\nu,b,2\n,a,3\nu,,4\nw,c,5\n  \nu,c,6\n\n",
    )
    found = import_tables(tmp_path, "shop", text=["title"])
    assert shapes(found) == [[0, 1, 2]]
    assert found.account["rows"] == {
        "items": {
            "read": 6,
            "kept": 3,
            "dropped": {"line without any value": 2, "no item_id": 1},
        },
        "interactions": {
            "read": 8,
            "kept": 3,
            "dropped": {
                "line without any value": 2,
                "no item_id": 1,
                "no user_id": 1,
                "in a sequence of fewer than 2 items": 1,
            },
        },
        "sequences": {"read": 2, "kept": 1, "dropped": {"fewer than 2 items": 1}},
    }


HEAD = "user_id,item_id,time\n"


@pytest.mark.parametrize(
    ("events", "items", "words"),
    [
        (HEAD + 'u,"a,1\nu,b,2\nu,c,3\n', "", ["interactions.csv, line 2", "close every quote"]),
        (HEAD + 'u,"a,1\nu,b",2\n', "", ["interactions.csv, line 2", "swallows"]),
        (HEAD + "u,a,1\nu,b\n", "", ["interactions.csv, line 3", "2 fields", "3"]),
        (HEAD + "u,a,1,9\nu,b,2,9\n", "", ["interactions.csv, line 2", "4 fields"]),
        (HEAD + "u,a,1\n\nu,x,2\n", "", ["interactions.csv, line 4", "'x'", "not in the table"]),
        ("", 'a,"one\nb,"two"\n', ["items.csv, line 2", "close every quote"]),
        ("", 'a,one\nb,"two\nc,three\nd,5"\n', ["items.csv, line 3", "2 line(s) below"]),
        ("", 'a,"one,\nand more"\nb,2\nb,3\n', ["items.csv, line 5", "'b'", "first in line 4"]),
        ("user_id,item_id,item_id\n", "", ["interactions.csv, line 1", "two columns 'item_id'"]),
        (HEAD, "", ["interactions.csv is empty"]),
        (HEAD + "u,a,1\nv,b,2\n", "a,1\nb,2\n", ["no row is left", "fewer than 2"]),
        ("\n" + HEAD, "", ["interactions.csv, line 1 is empty"]),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, events, items, words):
    write(
        tmp_path,
        interactions=events or HEAD + "u,a,1\n",
        items="item_id,title\n" + (items or "a,one\n"),
    )
    with pytest.raises(DataError) as error:
        import_tables(tmp_path, "shop", text=["title"])
    assert all(word in str(error.value) for word in words), error.value


def test_texts_of_several_lines_are_texts(tmp_path):
    long = "Bolt, blue,\n5 inches, of steel.\r\nFits all"
    found = by_csv(
        tmp_path, two_each(time=[1, 2, 3, 4]), ITEMS | {"title": [long, 'x "y"', "z", ""]}
    )
    assert found.items["text"].tolist() == [long, 'x "y"', "z", ""]


def test_the_first_bytes_of_excel_are_no_part_of_a_name(tmp_path):
    write(tmp_path, interactions=two_each(time=[1, 2, 3, 4]), items="\ufeffitem_id,title\na,1\n")
    with pytest.raises(DataError, match="line 3: item_id 'b' is not in"):
        import_tables(tmp_path, "shop", text=["title"])
