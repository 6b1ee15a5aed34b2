"""Damage to files, as hypothesis draws it: bits, ends, lines, columns, encodings, numbers."""

import gzip
import struct

from hypothesis import strategies as st

DEEP = 100_000
ODD = [
    b"", b" ", b"NaN", b"nan", b"inf", b"-Infinity", b"1e999", b"-1", b"0", b"1.5", b"7" * 5000,
    b"9" * 25, b"1_0", b"0x10", b"null", b"true", b"[]", b"{}", b'"x"', b"'", b'"', b",", b"\0",
    b"\xff\xfe", b"\xed\xa0\x80", b'"\\ud800"', b"\r", b"\n", "ünï".encode(),
    "日本".encode("utf-16"),
    b"../../etc/passwd", b"2020-01-01", b"31/12/2019", b"1e5", b"=1+1", b"a" * 200_000,
    b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP,
]  # fmt: skip
ENCODINGS = ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037"]


@st.composite
def damage(draw, content: bytes) -> bytes:
    """One to three changes of a file's content."""
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        content = draw(st.sampled_from(CHANGES))(draw, content)
    return content


@st.composite
def damaged(draw, files: dict[str, bytes]) -> tuple[str, bytes | None]:
    """The name and the new content of one of the files; None is a file that is gone.

    Packed files are changed inside or outside, tensors in their header or anywhere.
    """
    name = draw(st.sampled_from(sorted(files)))
    content, inside = files[name], draw(st.booleans())
    if draw(st.integers(0, 49)) == 0:
        return name, None
    if inside and name.endswith(".gz"):
        return name, gzip.compress(draw(damage(gzip.decompress(content))), mtime=0)
    if inside and name.endswith(".safetensors"):
        size = int.from_bytes(content[:8], "little")
        header = draw(damage(content[8 : 8 + size]))
        return name, struct.pack("<Q", len(header)) + header + content[8 + size :]
    return name, draw(damage(content))


def _place(draw, content):
    return draw(st.integers(0, max(0, len(content) - 1)))


def _bits(draw, content):
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8)) if content else 0):
        changed[_place(draw, content)] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _cut(draw, content):
    return content[: _place(draw, content)]


def _insert(draw, content):
    place, new = _place(draw, content), draw(st.sampled_from(ODD) | st.binary(max_size=12))
    return content[:place] + new + content[place:]


def _lines(draw, content):
    lines = content.split(b"\n")
    one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    change = draw(st.sampled_from(["drop", "twice", "swap", "blank", "join"]))
    if change == "drop":
        del lines[one]
    elif change == "twice":
        lines.insert(other, lines[one])
    elif change == "swap":
        lines[one], lines[other] = lines[other], lines[one]
    elif change == "blank":
        lines.insert(one, b"")
    else:
        lines[one : one + 2] = [b"".join(lines[one : one + 2])]
    return b"\n".join(lines)


def _field(draw, content):
    lines = content.split(b"\n")
    row = draw(st.integers(0, len(lines) - 1))
    mark = next((mark for mark in (b",", b": ", b" ", b":") if mark in lines[row]), b",")
    fields = lines[row].split(mark)
    fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(ODD))
    lines[row] = mark.join(fields)
    return b"\n".join(lines)


def _column(draw, content):
    rows = [line.split(b",") for line in content.split(b"\n")]
    one, other = (draw(st.integers(0, len(rows[0]) - 1)) for _ in range(2))
    change = draw(st.sampled_from(["drop", "twice", "swap", "header", "same"]))
    odd = draw(st.sampled_from(ODD))
    for number, row in enumerate(rows):
        if max(one, other) >= len(row):
            continue
        if change == "drop":
            del row[one]
        elif change == "twice":
            row.insert(other, row[one])
        elif change == "swap":
            row[one], row[other] = row[other], row[one]
        elif change == "header" and number == 0:
            row[one] = odd
        elif change == "same" and number:
            row[one] = odd
    return b"\n".join(b",".join(row) for row in rows)


def _encode(draw, content):
    try:
        return content.decode().encode(draw(st.sampled_from(ENCODINGS)))
    except UnicodeError:
        return content[::-1]


def _nothing(draw, content):
    return draw(st.sampled_from([b"", b"\0" * 4096, b"\n", b"[]", b"3", b"null", b"{}"]))


CHANGES = [_bits, _cut, _insert, _lines, _field, _field, _column, _encode, _nothing]
