"""Ways to damage a file: bytes, tokens and lines of any file, and the structure of those that have one."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Mutation = Callable[[bytes, random.Random], bytes]

TOKENS = (
    b"nan", b"inf", b"-inf", b"1e999", b"-0", b"", b"0", b"-1", b"1e308", b"1e-320", b"9" * 30, b"1" + b"0" * 400,
    b"1e9", b"-", b".", b"1,5", b"0x10", b"1_000", b"True", b"null", b"\0", b"\xff", b" ", b"\n", b"\t", b",", b";",
    b"{", b"}", b"[", b"]", b'"', b"<", b"&x;", b"\xe2\x80\xa8", b"\x1b[31m", b"\xed\xa0\x80", b"\xef\xbc\x91", b"%s",
    b"../x", b"NaN", b"Infinity", b"2147483648", b"-9223372036854775808", b"65535", b"3", b"1.#QNAN",
)  # fmt: skip
WORDS = (
    *(struct.pack(order + "H", word) for word in (0, 1, 2, 255, 0x7FFF, 0x8000, 0xFFFF) for order in "<>"),
    *(struct.pack(order + "I", word) for word in (0, 1, 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0) for order in "<>"),
    *(struct.pack("<Q", word) for word in (0, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)),
    *(struct.pack(order + kind, value) for value in (np.nan, np.inf, 1e38, -0.0, 1e-40) for order, kind in ("<f", ">f",
      "<d")),
    struct.pack("<d", 1e308), struct.pack("<Q", 0x7FF0000000000001), struct.pack("<I", 0x7F800001),
)  # fmt: skip
NUMBER = re.compile(rb"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 10**400, 1e308, float("nan"), float("inf"), "", "30", "\ud800", [], {}, [[]], [None],
    {"": 0}, "x" * 3000, 1 << 63, -0.0, 2**31, [1e999] * 3, "../../x",
)  # fmt: skip
TYPES = ("<f8", "<f4", "<f2", ">f8", "<i8", "|u1", "|b1", "<c16", "<f16", "|O", "|V8", "|S5", "<U3", "<U0", "<M8[s]")
PICKLED = (
    b"cos\nsystem\n(X\x05\0\0\0falsetR", b"cbuiltins\neval\n(X\x01\0\0\x001tR", b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\nscalar\n", b"c_codecs\nencode\n", b"Ppersistent\n", b"Q", b"\x82\1",
    b"i__main__\nx\n", b"j\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f", b"F1e999\n",
    b"B\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 8, b"I" + b"9" * 5000 + b"\n",
    b"\x95" + b"\xff" * 8, b"\x80\xff", b"h\0", b"h\7", b"q\0",
    *(bytes([one]) for one in b"()]}tldRbaesu012N.\x81\x85\x86\x87\x88\x8f\x90\x93\x94\x97\x98"),
)  # fmt: skip


def spans(data: bytes, rng: random.Random) -> tuple[int, int]:
    """The begin and end of a block, more often a short one."""
    at = rng.randrange(len(data) + 1)
    return at, min(len(data), at + rng.choice((1, 2, 4, 8, 50, 500, len(data))))


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def remove(data: bytes, rng: random.Random) -> bytes:
    at, end = spans(data, rng)
    return data[:at] + data[end:]


def duplicate(data: bytes, rng: random.Random) -> bytes:
    at, end = spans(data, rng)
    times = rng.choice((1, 1, 2, 20)) if end - at < 1000 else 1
    return data[:end] + data[at:end] * times + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(TOKENS) * rng.choice((1, 1, 1, 500)) + data[at:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Some binary number, in the first bytes more often, becomes an extreme one."""
    at = rng.randrange(min(len(data), rng.choice((64, 1024, 1 << 30))) or 1)
    word = rng.choice(WORDS)
    at -= at % len(word) if rng.random() < 0.7 else 0
    return data[:at] + word + data[at + len(word) :]


def number(data: bytes, rng: random.Random) -> bytes:
    """Some number of a text, or all of some digits, becomes something else."""
    found = NUMBER.search(data, rng.randrange(len(data) + 1)) or NUMBER.search(data)
    if found is None:
        return insert(data, rng)
    token = rng.choice(TOKENS)
    if rng.random() < 0.1:
        return data.replace(found[0], token)
    return data[: found.start()] + token + data[found.end() :]


def words(data: bytes, rng: random.Random) -> bytes:
    """Two words change places, or one is lost or stands twice."""
    separator = rng.choice((b" ", b",", b"\t", b'"', b"_"))
    parts = data.split(separator)
    return separator.join(_rearranged(parts, rng))


def lines(data: bytes, rng: random.Random) -> bytes:
    return b"\n".join(_rearranged(data.split(b"\n"), rng))


def columns(data: bytes, rng: random.Random) -> bytes:
    """A column of a table is lost, repeated, or becomes something else in every row."""
    separator = rng.choice((b",", b"\t", b" "))
    table = [row.split(separator) for row in data.split(b"\n")]
    at, what, token = rng.randrange(max(map(len, table))), rng.randrange(3), rng.choice(TOKENS)
    for row in table:
        if at < len(row):
            row[at : at + 1] = ([], [row[at]] * 2, [token])[what]
    return b"\n".join(separator.join(row) for row in table)


def _rearranged(parts: list[Any], rng: random.Random) -> list[Any]:
    at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(4):
        case 0:
            parts[at], parts[other] = parts[other], parts[at]
        case 1:
            del parts[at]
        case 2:
            parts.insert(other, parts[at])
        case 3:
            del parts[min(at, other) : max(at, other)]
    return parts


def of_json(data: bytes, rng: random.Random) -> bytes:
    """A value, key or level of JSON changes; a file of lines counts as a list."""
    try:
        content = json.loads(data)
    except ValueError:
        return lines(data, rng)
    for _ in range(rng.choice((1, 1, 3))):
        content = _changed(content, rng)
    try:
        text = json.dumps(content).encode()
    except RecursionError:  # it is deep enough
        return data
    return text.replace(b"NaN", b"1e999") if rng.random() < 0.1 else text


def _changed(content: Any, rng: random.Random) -> Any:
    """The same with a change at some place below."""
    below = isinstance(content, dict | list) and content and rng.random() < 0.85
    if not below:
        return _replaced(content, rng)
    if isinstance(content, list):
        if rng.random() < 0.15:
            return _rearranged(content, rng)
        at = rng.randrange(len(content))
        content[at] = _changed(content[at], rng)
        return content
    key = rng.choice(list(content))
    match rng.randrange(12):
        case 0:
            del content[key]
        case 1:
            content[rng.choice(("", key + "s", key.upper(), "x" * 3000, "\0", "\x1b[2J"))] = content.pop(key)
        case 2:
            other = rng.choice(list(content))
            content[key], content[other] = content[other], content[key]
        case _:
            content[key] = _changed(content[key], rng)
    return content


def _replaced(value: Any, rng: random.Random) -> Any:
    match rng.randrange(10):
        case 0:
            return [value]
        case 1:
            return {"x": value}
        case 2:
            return [value] * rng.choice((2, 100))
        case 3 if isinstance(value, dict):
            return list(value.values())
        case 4:
            deep: Any = value
            for _ in range(rng.choice((40, 400))):
                deep = [deep]
            return deep
        case 5 if isinstance(value, int | float) and abs(value) < 1e9:
            return value * rng.choice((-1, 1e3, 1e12))
        case 6 if isinstance(value, int | float) and abs(value) < 1e9:
            return int(value) + rng.choice((-1, 1, 1000))
    return copy.deepcopy(rng.choice(VALUES))


def of_npy(data: bytes, rng: random.Random) -> bytes:
    """The shape, type or order in the header changes, or a number."""
    if len(data) < 12 or rng.random() < 0.4:
        return overwrite(data, rng)
    size = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + size], data[10 + size :]
    match rng.randrange(4):
        case 0:
            header = re.sub(rb"'descr': '[^']*'", f"'descr': {rng.choice(TYPES)!r}".encode(), header)
        case 1:
            header = re.sub(rb"True|False", rng.choice((b"True", b"False", b"1", b"None")), header)
        case 2:
            shape = ",".join(str(rng.choice((0, 1, 2, 3, 25, 60, -1, True, 10**12, 10**40))) for _ in range(9))
            shape = ",".join(shape.split(",")[: rng.randrange(9)])
            header = re.sub(rb"\([\d, ]*\)", f"({shape},)".replace("(,)", "()").encode(), header)
        case 3:
            header = number(header, rng)
    return data[:8] + (len(header) & 0xFFFF).to_bytes(2, "little") + header + body


def of_npz(data: bytes, rng: random.Random) -> bytes:
    """A member of a zip file changes, is lost, goes by another name, or is another array; whole, but for that."""
    members = _members(data)
    if not members:
        return overwrite(data, rng)
    name = rng.choice(list(members))
    match rng.randrange(6):
        case 0:
            del members[name]
        case 1:
            new = ("NULNAME.npy", "../x.npy", "x" * 3000 + ".npy", rng.choice(list(members)), "joints.npy", "fps.npy")
            members[rng.choice(new)] = members.pop(name)
        case 2:
            members[rng.choice((name, "fps.npy", "layout.npy", "joints.npy", "unit.npy", "up.npy"))] = some_array(rng)
        case _:
            change = rng.choice((of_npy, overwrite, flip, cut))
            members[name] = change(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, content in members.items():
            archive.writestr(member or "NULNAME.npy", content)
    return buffer.getvalue().replace(b"NULNAME", b"\0ULNAME")  # zipfile writes no such name


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:  # it was damaged before
        return {}


def some_array(rng: random.Random) -> bytes:
    shape = rng.choice(((), (0,), (1,), (3,), (3, 60), (3, 20, 3), (2, 3, 25, 3), (3, 0, 3), (1,) * 9, (3, 25, 2)))
    value = rng.choice((0, 1, 1e3, 1e38, np.nan, np.inf, -1, "x", "ntu25", b"mm", True, 1j))
    buffer = io.BytesIO()
    np.save(buffer, np.full(shape, value))
    return buffer.getvalue()


def of_mat(data: bytes, rng: random.Random) -> bytes:
    """A tag or number inside the packed matrix of a MATLAB file changes."""
    head, body = data[:128], data[128:]
    if body[:4] != struct.pack("<I", 15):
        return head + rng.choice((overwrite, flip))(body, rng)
    try:
        inner = zlib.decompress(body[8:])
    except zlib.error:
        return overwrite(data, rng)
    packed = zlib.compress(rng.choice((overwrite, overwrite, flip, cut, remove, duplicate))(inner, rng), 1)
    return head + struct.pack("<II", 15, len(packed)) + packed


def of_glb(data: bytes, rng: random.Random) -> bytes:
    """The JSON or the numbers of a GLB change, within chunks of the right length."""
    size = int.from_bytes(data[12:16], "little")
    text, numbers = data[20 : 20 + size], data[28 + size :]
    if rng.random() < 0.3:
        numbers = rng.choice((overwrite, flip, cut))(numbers, rng)
    else:
        text = of_json(text, rng)
        text = text.ljust(-(-len(text) // 4) * 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(numbers).to_bytes(4, "little") + b"BIN\0" + numbers
    return data[:8] + (12 + len(chunks)).to_bytes(4, "little") + chunks


def of_c3d(data: bytes, rng: random.Random) -> bytes:
    """A word of the header, or of the parameters, or a number behind them changes."""
    at = rng.choice((rng.randrange(0, 26, 2), rng.randrange(512, 2048), rng.randrange(len(data) or 1)))
    if rng.random() < 0.2:
        at = max(0, data.find(rng.choice((b"USED", b"FRAMES", b"SCALE", b"RATE", b"UNITS", b"LABELS"))))
        at += rng.randrange(12)
    word = rng.choice(WORDS)[: rng.choice((1, 2, 4))]
    return data[:at] + word + data[at + len(word) :]


def of_pickle(data: bytes, rng: random.Random) -> bytes:
    """Opcodes of a pickle are lost, repeated, put elsewhere, or others stand between them."""
    places: list[int] = []
    with contextlib.suppress(Exception):  # what of it is a pickle
        for _, _, place in pickletools.genops(data):
            places.append(place or 0)
    if len(places) < 2 or rng.random() < 0.3:
        return rng.choice((overwrite, flip))(data, rng)
    parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    if rng.random() < 0.5:
        parts.insert(rng.randrange(len(parts)), rng.choice(PICKLED) * rng.choice((1, 1, 300)))
    else:
        parts = _rearranged(parts, rng)
    return b"".join(parts)


def of_bvh(data: bytes, rng: random.Random) -> bytes:
    """A block of joints is repeated or nested, or the channels, frames or rate change."""
    match rng.randrange(6):
        case 0:
            return duplicate(data, rng) if b"JOINT" not in data else data.replace(b"JOINT", rng.choice((b"ROOT",
                   b"End Site", b"JOINT x { JOINT")), rng.choice((1, 3, -1)))  # fmt: skip
        case 1:
            channel = rng.choice((b"Xposition", b"Yrotation", b"Zposition"))
            return data.replace(
                channel, rng.choice((b"Xposition", b"Zrotation", b"Wrotation", b"")), rng.choice((1, -1))
            )
        case 2:
            return re.sub(rb"CHANNELS \d+", b"CHANNELS " + rng.choice(TOKENS), data, count=rng.choice((0, 1)))
        case 3:
            return re.sub(rb"Frames: *\S+", b"Frames: " + rng.choice(TOKENS), data)
        case 4:
            return re.sub(rb"Frame Time: *\S+", b"Frame Time: " + rng.choice(TOKENS), data)
        case _:
            return re.sub(rb"OFFSET.*", b"OFFSET " + b" ".join(rng.choice(TOKENS) for _ in "xyz"), data, count=1)


def of_xml(data: bytes, rng: random.Random) -> bytes:
    """Entities, elements and attributes of XML."""
    bomb = b'<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]>'
    match rng.randrange(5):
        case 0:
            return data.replace(b"?>", b"?>" + bomb, 1).replace(b">", b">&c;", rng.choice((1, 2, 5)))
        case 1:
            outside = b'<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
            return data.replace(b"?>", b"?>" + outside, 1).replace(b">", b">&a;", 3)
        case 2:
            return data.replace(b"<", b"<a>" * rng.choice((1, 5000)) + b"<", 2)
        case 3:
            return re.sub(rb'="[^"]*"', b'="' + rng.choice(TOKENS) + b'"', data, count=rng.choice((1, 3, 0)))
        case _:
            return words(data, rng)


def of_gzip(data: bytes, rng: random.Random) -> bytes:
    """What is packed changes, or what packs it."""
    try:
        inner = gzip.decompress(data)
    except Exception:  # it was damaged before
        return overwrite(data, rng)
    return gzip.compress(rng.choice((number, lines, duplicate, remove, flip))(inner, rng), 1)


BYTES: tuple[Mutation, ...] = (flip, cut, remove, duplicate, insert, overwrite)
TEXT: tuple[Mutation, ...] = (
    number,
    number,
    number,
    words,
    lines,
    lines,
    columns,
    columns,
    insert,
    remove,
    duplicate,
    flip,
    cut,
)
STRUCTURE: dict[str, Mutation] = {
    ".json": of_json, ".jsonl": of_json, ".gltf": of_json, ".npy": of_npy, ".npz": of_npz, ".mat": of_mat,
    ".glb": of_glb, ".c3d": of_c3d, ".pkl": of_pickle, ".bvh": of_bvh, ".mvnx": of_xml, ".gz": of_gzip, ".zip": of_npz,
}  # fmt: skip


def mutate(data: bytes, suffix: str, others: list[bytes], rng: random.Random) -> bytes:
    """Damage a file once to four times; ``others`` are files that parts of may be spliced in."""
    binary = b"\0" in data[:4096]
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        choice = rng.random()
        if choice < 0.7 and suffix in STRUCTURE and len(data) > 30:
            data = STRUCTURE[suffix](data, rng)
        elif choice < 0.04 or 0.7 <= choice < 0.74:
            other = rng.choice(others)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
        else:
            data = rng.choice(BYTES if binary else TEXT)(data, rng)
        data = data[: 4 << 20]
    return data
