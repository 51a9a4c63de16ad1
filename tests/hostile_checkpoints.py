"""Hostile checkpoints: files that a stranger could send, for ``mamp convert``; each with what must come of it.

``"error"``: an error of the package. ``"equal"``: what the sound file gives. ``"either"``: one of the two.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mamp import MAMPConfig, MAMPEncoder

CONFIG = MAMPConfig(dim_feat=16, depth=1, num_heads=4, num_frames=8)
ARGS = {"model_args": {"num_heads": 4}, "train_feeder_args": {"data_path": "data/NTU60_XSub.npz"}}


class Case(NamedTuple):
    """A file, and what must come of it."""

    name: str
    content: bytes
    expect: str = "error"


def sound_state() -> dict[str, Tensor]:
    """Weights that every floating-point type holds exactly."""
    generator = torch.Generator().manual_seed(0)
    state = MAMPEncoder(CONFIG).state_dict()
    return {name: torch.randint(-32, 33, x.shape, generator=generator) / 64 for name, x in state.items()}


@dataclass
class Global:
    """A name that the pickle asks for."""

    module: str
    name: str


@dataclass
class Call:
    """A call that the pickle makes, and the state that it sets on what it gets."""

    function: Any
    args: Any = ()
    state: Any = None


@dataclass
class Raw:
    """Bytes of the pickle as they are."""

    code: bytes


@dataclass
class Persistent:
    """An object that lies outside the pickle."""

    value: Any


class Pickler(pickle._Pickler):  # type: ignore[misc]
    """Writes what no honest pickler writes."""

    def persistent_id(self, value: Any) -> Any:
        return value.value if isinstance(value, Persistent) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Raw):
            self.write(value.code)
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.args)
            self.write(pickle.REDUCE)
            if value.state is not None:
                self.save(value.state)
                self.write(pickle.BUILD)
        else:
            super().save(value, save_persistent_id)


def pickled(value: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


class Builder:
    """Writes a checkpoint piece by piece."""

    def __init__(self) -> None:
        self.storages: dict[str, bytes] = {}

    def tensor(self, value: Tensor | bytes, **lies: Any) -> Call:
        """A tensor in the file; ``lies`` are its ``key``, ``kind``, ``count``, ``offset``, ``size`` and ``stride``."""
        if isinstance(value, bytes):
            value = torch.frombuffer(bytearray(value), dtype=torch.float32)
        value = value.contiguous()
        key = lies.get("key", str(len(self.storages)))
        if key not in self.storages:
            self.storages[key] = value.numpy().tobytes()
        kind = Global("torch", lies.get("kind", "FloatStorage"))
        place = Persistent(("storage", kind, key, "cpu", lies.get("count", value.numel())))
        size, stride = lies.get("size", tuple(value.shape)), lies.get("stride", tuple(value.stride()))
        hooks = Call(Global("collections", "OrderedDict"))
        return Call(REBUILD, (place, lies.get("offset", 0), size, stride, False, hooks))

    def state(self, **changes: Any) -> dict[Any, Any]:
        """The sound state with some entries changed; ``None`` removes one."""
        changes = {name.replace("__", "."): value for name, value in changes.items()}
        whole = {name: changes.get(name, self.tensor(x)) for name, x in sound_state().items() if name not in changes}
        return whole | {name: value for name, value in changes.items() if value is not None}

    def file(self, content: Any, protocol: int = 2) -> bytes:
        return zipped({"data.pkl": pickled(content, protocol), **self.records()})

    def records(self) -> dict[str, bytes]:
        return {
            "byteorder": b"little",
            **{f"data/{key}": data for key, data in self.storages.items()},
            "version": b"3\n",
        }


def zipped(records: dict[str, bytes], root: str = "archive/", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in records.items():
            archive.writestr(root + name, data)
    return buffer.getvalue()


def saved(state: dict[str, Any], legacy: bool = False, **more: Any) -> bytes:
    buffer = io.BytesIO()
    content = {"model": state, "epoch": 3, "args": ARGS, **more}
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def built(state: dict[Any, Any] | None = None, builder: Builder | None = None, **more: Any) -> bytes:
    builder = builder or Builder()
    return builder.file({"model": builder.state() if state is None else state, "args": ARGS, **more})


def flipped(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def regions(data: bytes) -> dict[str, range]:
    """Where the parts of a zip lie."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        places = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        start = archive.start_dir
    found: dict[str, range] = {}
    for name, info in places.items():
        names, extra = struct.unpack("<HH", data[info.header_offset + 26 : info.header_offset + 30])
        at = info.header_offset + 30 + names + extra
        part = "pickle" if name == "data.pkl" else "storage" if name.startswith("data/") else ""
        if part and len(range(at, at + info.file_size)) > len(found.get(part, ())):
            found[part], found["header"] = range(at, at + info.file_size), range(info.header_offset, at)
    return found | {"directory": range(start, len(data) - 22), "end": range(len(data) - 22, len(data))}


def flips(rng: random.Random, rounds: int) -> Iterator[Case]:
    data = saved(sound_state(), optimizer={"state": {0: {"exp_avg": torch.ones(500)}}})
    yield Case("sound", data, "equal")
    for part, places in regions(data).items():
        for i in range(rounds):
            at = rng.choice(places)
            expect = "error" if part in ("pickle", "storage") else "either"
            yield Case(f"flip in {part} {i}", flipped(data, at, rng), expect)
    for i in range(rounds):
        yield Case(f"flip anywhere {i}", flipped(data, rng.randrange(len(data)), rng), "either")
    for i in range(rounds):
        at, end = sorted(rng.randrange(len(data)) for _ in range(2))
        changed = rng.choice(
            (data[:at], data[at:], data[:at] + data[end:], data[:end] + data[at:], data[:at] + b"x" + data[at:])
        )
        yield Case(f"cut or pasted {i}", changed, "either")
    for keep in (0, 1, 4, 22, 100, len(data) - 1, len(data) - 22):
        yield Case(f"first {keep} bytes", data[:keep])
    yield Case("bytes behind", data + bytes(100_000), "either")
    yield Case("bytes before", b"#!/bin/sh\n" + data)


def code(ran: Path) -> Iterator[Case]:
    mark = str(ran)
    calls = {
        "os.system": Call(Global("os", "system"), (f"touch {mark}",)),
        "posix.system": Call(Global("posix", "system"), (f"touch {mark}",)),
        "os.mkdir": Call(Global("os", "mkdir"), (mark,)),
        "eval": Call(Global("builtins", "eval"), (f"open({mark!r}, 'w')",)),
        "exec": Call(Global("builtins", "exec"), (f"open({mark!r}, 'w')",)),
        "old builtins": Call(Global("__builtin__", "eval"), (f"open({mark!r}, 'w')",)),
        "open": Call(Global("io", "open"), (mark, "w")),
        "getattr": Call(Global("builtins", "getattr"), (Global("torch", "FloatStorage"), "__class__")),
        "subprocess": Call(Global("subprocess", "Popen"), (["touch", mark],)),
        "import": Call(Global("importlib", "import_module"), ("this",)),
        "runpy": Call(Global("runpy", "_run_code"), (f"open({mark!r}, 'w')", {})),
        "pickle.loads": Call(Global("pickle", "loads"), (pickle.dumps(1),)),
        "torch.load": Call(Global("torch", "load"), (mark,)),
        "torch.save": Call(Global("torch", "save"), (1, mark)),
        "dotted name": Call(Global("torch", "serialization.os.system"), (f"touch {mark}",)),
        "numpy.load": Call(Global("numpy", "load"), (mark,)),
        "torch.hub": Call(Global("torch.hub", "load"), ("a/b", "c")),
        "reconstructor": Call(Global("copyreg", "_reconstructor"), (Global("builtins", "object"),) * 2 + (None,)),
        "partial": Call(Global("functools", "partial"), (Global("os", "mkdir"), mark)),
        "path that writes": Call(Global("pathlib", "Path.touch"), (mark,)),
        "numpy f2py": Call(Global("numpy.f2py.diagnose", "run_command"), (f"touch {mark}",)),
        "ctypes": Call(Global("ctypes", "CDLL"), ("libc.so.6",)),
    }
    for name, call in calls.items():
        yield Case(f"code in args: {name}", built(args=call))
    evil = calls["os.system"]
    builder = Builder()
    yield Case("code in the model", builder.file({"model": builder.state(norm__weight=evil)}))
    yield Case("code as the model", Builder().file({"model": evil}))
    yield Case("code as everything", Builder().file(evil))
    builder = Builder()
    yield Case("code as a key", builder.file({"model": builder.state(), "x": {1: [evil]}}))
    storage = Persistent(("storage", evil, "0", "cpu", 3))
    yield Case(
        "code as a storage type", Builder().file({"model": {"a": Call(REBUILD, (storage, 0, (3,), (1,), False, 0))}})
    )
    hooks = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 0))
    yield Case("code in hooks", Builder().file({"model": {"a": Call(REBUILD, (hooks, 0, (0,), (1,), False, evil))}}))
    yield Case("persistent id of code", Builder().file({"model": Persistent(evil)}))
    yield Case("persistent id of text", Builder().file({"model": Persistent("module\nos")}))
    yield Case(
        "state of a function", Builder().file(Call(Global("_codecs", "encode"), ("a", "latin1"), {"__code__": 1}))
    )
    yield Case("codec", built(args=Call(Global("_codecs", "encode"), ("a" * 1000, "idna"))))
    yield Case("instance", Builder().file(Raw(b"(S'touch " + mark.encode() + b"'\nios\nsystem\n")))
    yield Case("object", Builder().file(Raw(b"(cos\nsystem\nS'touch " + mark.encode() + b"'\no")))
    yield Case("stack global", Builder().file(Raw(b"\x8c\x02os\x8c\x06system\x93\x8c\x07touch x\x85R")))
    yield Case("new object", Builder().file(Raw(b"cos\nsystem\n(S'touch x'\nt\x81")))
    yield Case("extension", Builder().file(Raw(b"\x82\x01")))
    yield Case("legacy with code", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickled(evil))
    for name in ("_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor",
                 "_rebuild_qtensor", "_rebuild_wrapper_subclass", "_rebuild_device_tensor_from_numpy",
                 "_import_dotted_name", "_rebuild_from_type_v2"):  # fmt: skip
        yield Case(f"torch {name}", built(args=Call(Global("torch._utils", name), (1, 2, 3))))


def sizes() -> Iterator[Case]:
    x = sound_state()["norm.weight"]
    lies: dict[str, dict[str, Any]] = {
        "stride 0": {"stride": (0,), "count": 16},
        "stride 0 of one": {"stride": (0,), "count": 1, "key": "one"},
        "850 million by stride 0": {"size": (850_000_000,), "stride": (0,)},
        "a terabyte": {"size": (1 << 38,), "stride": (1,)},
        "more than 64 bits": {"size": (1 << 40, 1 << 40), "stride": (1, 1)},
        "negative size": {"size": (-16,)},
        "negative stride": {"stride": (-1,)},
        "negative offset": {"offset": -4},
        "offset behind the end": {"offset": 1},
        "offset of 2^63": {"offset": 1 << 63},
        "stride of 2^62": {"stride": (1 << 62,)},
        "size of 2^70": {"size": (1 << 70,)},
        "truth as a size": {"size": (True,)},
        "float as a size": {"size": (16.0,)},
        "text as a size": {"size": "16"},
        "list as a size": {"size": [16]},
        "100 axes": {"size": (1,) * 99 + (16,), "stride": (1,) * 100},
        "fewer strides": {"stride": ()},
        "count too large": {"count": 17},
        "count too small": {"count": 15},
        "count of 2^40": {"count": 1 << 40},
        "negative count": {"count": -16},
        "count as text": {"count": "16"},
        "storage that is missing": {"key": "no such"},
        "storage outside": {"key": "../data.pkl"},
        "storage as a number": {"key": 0},
        "unknown type": {"kind": "ComplexFloatStorage"},
        "quantised type": {"kind": "QInt8Storage"},
        "double": {"kind": "DoubleStorage"},
        "half": {"kind": "HalfStorage"},
        "integers": {"kind": "IntStorage"},
        "bytes": {"kind": "ByteStorage", "count": 64},
        "truths": {"kind": "BoolStorage", "count": 64},
        "type that is a class": {"kind": "nn.Module"},
        "type that is a function": {"kind": "Size"},
    }
    for name, lie in lies.items():
        builder = Builder()
        if name.startswith("storage that"):
            data = builder.file({"model": builder.state(norm__weight=builder.tensor(x, **lie)), "args": ARGS})
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                records = {n.partition("/")[2]: archive.read(n) for n in archive.namelist() if "no such" not in n}
            yield Case(name, zipped(records))
            continue
        if name == "stride 0 of one":
            builder.storages["one"] = x[:1].numpy().tobytes()
        expect = "either" if name == "storage outside" else "error"  # a name in the archive, and no place on the disk
        state = builder.state(norm__weight=builder.tensor(x, **lie))
        yield Case(name, builder.file({"model": state, "args": ARGS}), expect)
    builder = Builder()  # each fits, and all together are a thousand times what is there
    shared = {f"decoder_x{i}": builder.tensor(torch.zeros(100_000), key="shared") for i in range(1000)}
    yield Case("decoder that shares", builder.file({"model": builder.state() | shared, "args": ARGS}), "equal")
    shared = {f"blocks.{i}.x": builder.tensor(torch.zeros(100_000), key="shared") for i in range(1000)}
    yield Case("blocks that share", builder.file({"model": builder.state() | shared, "args": ARGS}))
    builder = Builder()
    turned = builder.tensor(sound_state()["blocks.0.attn.proj.weight"].T, size=(16, 16), stride=(1, 16))
    state = builder.state(blocks__0__attn__proj__weight=turned)
    yield Case("transposed", builder.file({"model": state, "args": ARGS}), "equal")
    builder = Builder()
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (builder.tensor(x), True, None))
    yield Case("parameter", builder.file({"model": builder.state(norm__weight=parameter), "args": ARGS}), "equal")
    builder = Builder()
    yield Case("parameter of a parameter of nothing", builder.file(
        {"model": builder.state(norm__weight=Call(Global("torch._utils", "_rebuild_parameter"), (5,)))}))  # fmt: skip


def archives() -> Iterator[Case]:
    builder = Builder()
    program = pickled({"model": builder.state(), "args": ARGS})
    records = builder.records()
    whole = {"data.pkl": program, **records}
    deflate = {"compression": zipfile.ZIP_DEFLATED}
    yield Case("other root", zipped(whole, root="checkpoint-399/"), "equal")
    yield Case("compressed", zipped(whole, **deflate))
    yield Case("zip bomb", zipped({**whole, "data/99": bytes(20 << 20)}, **deflate))
    yield Case("zip bomb as the pickle", zipped({**whole, "data.pkl": bytes(20 << 20)}, **deflate))
    yield Case("zip bomb as a model", zipped({**whole, "data/0": bytes(1 << 20)}, compression=zipfile.ZIP_BZIP2))
    yield Case("no pickle", zipped(records))
    yield Case("two pickles", _appended(zipped(whole), {"other/data.pkl": program}))
    yield Case("record twice", _appended(zipped(whole), {"archive/data/0": b"other"}))
    yield Case("pickle twice", _appended(zipped(whole), {"archive/data.pkl": program}))
    yield Case("big-endian", zipped({**whole, "byteorder": b"big"}))
    yield Case("byte order of 5 MB", zipped({**whole, "byteorder": bytes(5 << 20)}))
    yield Case("20,001 records", zipped({f"x/{i}": b"" for i in range(20_001)}))
    yield Case("a directory of 5 MB", zipped({f"{i:060000d}": b"" for i in range(90)}))
    yield Case("pickle of 5 MB", zipped({**whole, "data.pkl": program[:-1] + b"0]" * (5 << 19) + b"."}))
    yield Case("paths that lead out", zipped({**whole, "../../evil": b"x"}), "equal")
    yield Case("stray record", zipped({**whole, "code/__torch__.py": b"import os"}), "equal")
    data = bytearray(zipped(whole))
    start = data.rindex(b"PK\x01\x02")
    for name, at, value in (("encrypted", 8, 1), ("compression 99", 10, 99), ("compression 8", 10, 8)):
        yield Case(name, bytes(data[: start + at] + bytes([value, 0]) + data[start + at + 2 :]))
    for name, at in (("checksum", 16), ("size", 20), ("size too", 24), ("offset", 42), ("length of a name", 28)):
        lie = bytes(data[: start + at] + b"\x7f\x01" + data[start + at + 2 :])
        yield Case(f"lie about the {name}", lie, "either" if "length" in name else "error")
    overlap = bytearray(data)  # every record is the first one
    at = overlap.index(b"PK\x01\x02")
    while at >= 0:
        overlap[at + 42 : at + 46] = bytes(4)
        at = overlap.find(b"PK\x01\x02", at + 1)
    yield Case("records on top of each other", bytes(overlap))
    for name, at in (("number of records", 10), ("size of the directory", 12), ("place of the directory", 16)):
        end = len(data) - 22 + at
        yield Case(f"lie about the {name}", bytes(data[:end] + b"\xff\xff" + data[end + 2 :]), "either")
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones(3))
    yield Case("npz", buffer.getvalue())


def _appended(data: bytes, records: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")  # a name that is there already
        for name, content in records.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _laughs(levels: int, width: int = 1000) -> list[Any]:
    found: list[Any] = ["x"] * width
    for _ in range(levels):
        found = [found] * width
    return found


def bombs() -> Iterator[Case]:
    deep = b"]" * 1_000_000 + b"a" * 999_999
    extras: dict[str, tuple[Any, str]] = {
        "bytearray of a terabyte": (Call(Global("builtins", "bytearray"), (1 << 40,)), "error"),
        "bytes of a terabyte": (Call(Global("builtins", "bytes"), (1 << 40,)), "error"),
        "range": (Call(Global("builtins", "range"), (1 << 60,)), "error"),
        "bytearray with a length": (Raw(b"\x96" + (1 << 33).to_bytes(8, "little")), "error"),
        "text with a length": (Raw(b"X" + b"\xff\xff\xff\x7f"), "error"),
        "long text with a length": (Raw(b"\x8d" + (1 << 40).to_bytes(8, "little")), "error"),
        "number with a length": (Raw(b"\x8b" + b"\xff\xff\xff\x7f"), "error"),
        "frame with a length": (Raw(b"\x95" + (1 << 40).to_bytes(8, "little")), "error"),
        "memo of 2^31": (Raw(b"Nr\xff\xff\xff\x7f"), "equal"),
        "lists, a million deep": (Raw(deep), "equal"),
        "tuples, a million deep": (Raw(b")" + b"\x85" * 1_000_000), "equal"),
        "tuples as a key": (Raw(b"}(" + b")" + b"\x85" * 1_000_000 + b"Nu"), "error"),
        "lists in lists in lists": (_laughs(20), "equal"),
        "dicts in dicts in dicts": ({"a": _laughs(6), "b": {"c": _laughs(9, 10)}}, "equal"),
        "numbers that collide": (Raw(b"}(" + b"".join(
            b"\x8a\x0b" + (i * ((1 << 61) - 1)).to_bytes(11, "little") + b"N" for i in range(1, 100_000)
        ) + b"u"), "error"),
        "a number of a million digits": (10**1_000_000, "equal"),
        "a million lists": (Raw(b"(" + b"]" * 3_000_000 + b"l"), "equal"),
        "a million dicts": (Raw(b"(" + b"}" * 3_000_000 + b"l"), "equal"),
        "a million marks": (Raw(b"(" * 3_000_000), "error"),
        "text made again and again": (Raw(
            b"c_codecs\nencode\nq\x01X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000
            + b"X\x06\x00\x00\x00latin1\x86q\x020(" + b"h\x01h\x02R" * 50_000 + b"l"), "error"),
        "paths made again and again": (Raw(
            b"cpathlib\nPosixPath\nq\x01(" + b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x03" + b"h\x03" * 900
            + b"tq\x020(" + b"h\x01h\x02R" * 100_000 + b"l"), "error"),
        "sets": (Raw(b"\x8f(K\x01K\x02\x90"), "error"),
        "array that lies": (Call(Global("numpy._core.multiarray", "scalar"), (
            Call(Global("numpy", "dtype"), ("f8", False, True)), b"12345")), "error"),
        "type of objects": (Call(Global("numpy._core.multiarray", "scalar"), (
            Call(Global("numpy", "dtype"), ("O8", False, True)), b"12345678")), "error"),
        "long type": (Call(Global("numpy", "dtype"), ("f8," * 100_000,)), "error"),
        "namespace of a namespace": (Call(Global("argparse", "Namespace"), (), {
            "a": Call(Global("argparse", "Namespace"), (), {"model_args": {"num_heads": 4}})}), "either"),
        "namespace without names": (Call(Global("argparse", "Namespace"), (), {1: 2}), "error"),
        "ordered dict of pairs": (Call(Global("collections", "OrderedDict"), ([["a", 1]],)), "error"),
    }  # fmt: skip
    for name, (value, expect) in extras.items():
        builder = Builder()
        yield Case(name, builder.file({"model": builder.state(), "args": ARGS, "more": value}, 4), expect)
        if not isinstance(value, Raw) or expect == "equal":
            builder = Builder()
            yield Case(f"{name}, as args", builder.file({"model": builder.state(), "args": value}, 4), "any")
    own = {"dim_feat": 16}
    for name, value in {
        "lists in lists": _laughs(20), "a number": 10**5000, "a field": {"x" * 1_000_000: 1}, "nothing": None,
    }.items():  # fmt: skip
        fields = value if isinstance(value, dict) else {**own, "pooling": value, "preprocessing": {"unit": value}}
        yield Case(f"configuration of {name}", built(encoder=fields))
        yield Case(f"preprocessing of {name}", built(encoder={"preprocessing": fields}))
    itself: list[Any] = []
    itself.append(itself)
    yield Case("a list that holds itself", built(args={"a": itself, "b": ARGS}), "any")
    yield Case("epoch of many digits", built(epoch=10**5000), "equal")
    yield Case("heads of many digits", built(args={"num_heads": 10**5000}))
    for heads in (0, -1, 3, "8", 2.5, True, None, 10**9, 16):
        expect = "any" if heads in (16, "8", 2.5, None) else "error"  # what is no number is not looked at
        yield Case(f"{heads!r} heads", built(args={"num_heads": heads}), expect)


def weights(heavy: bool) -> Iterator[Case]:
    for name in ("norm.weight", "temp_embed", "blocks.0.attn.qkv.bias", "joints_embed.proj.weight"):
        for value in (float("nan"), float("inf"), -float("inf"), 1e37, -1e37, 2e6):
            state = sound_state()
            state[name].view(-1)[1] = value
            yield Case(f"{value} in {name}", saved(state))
        state = sound_state()
        del state[name]
        yield Case(f"without {name}", saved(state), "any" if "qkv.bias" in name else "error")
        for kind in (torch.int32, torch.bool, torch.complex64, torch.uint8):
            state = sound_state()
            state[name] = state[name].to(kind)
            yield Case(f"{name} of {kind}", saved(state))
        state = sound_state()
        state[name] = state[name][..., :0]
        yield Case(f"{name} of nothing", saved(state))
        state = sound_state()
        state[name] = state[name].unsqueeze(0)
        yield Case(f"{name} with one more axis", saved(state))
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        yield Case(f"all of {kind}", saved({name: x.to(kind) for name, x in sound_state().items()}), "equal")
    for name, kind in (("sparse", "to_sparse"), ("compressed", "to_sparse_csr")):
        state = sound_state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls them new
            state["blocks.0.attn.proj.weight"] = getattr(state["blocks.0.attn.proj.weight"], kind)()
        yield Case(f"{name} tensor", saved(state))
    yield Case("meta tensors", saved({name: x.to("meta") for name, x in sound_state().items()}))
    yield Case("expanded", saved(sound_state() | {"norm.weight": torch.zeros(1).expand(16)}))
    names: dict[str, Any] = {
        "extra": {"cls_token": torch.zeros(1)},
        "3,000 blocks": {f"blocks.{i}.norm1.weight": torch.zeros(16) for i in range(3000)},
        "999 blocks": {f"blocks.{i}.norm1.weight": torch.zeros(16) for i in range(999)},
        "many numbers": {f"blocks.{'9' * 5000}.norm1.weight": torch.zeros(16)},
        "a stray number": {"blocks.99999999.norm1.weight": torch.zeros(16)},
        "a negative number": {"blocks.-1.norm1.weight": torch.zeros(16)},
        "other digits": {"blocks.\u0661.norm1.weight": torch.zeros(16)},
        "no name": {"": torch.zeros(16)},
        "a name of a megabyte": {"x" * 1_000_000: torch.zeros(16)},
        "control characters": {"\x1b[2J\n\0": torch.zeros(16)},
        "half a character": {"blocks.\ud800": torch.zeros(16)},
        "a number for a name": {7: torch.zeros(16)},
        "a name twice": {"module.norm.weight": torch.zeros(16)},
        "text": {"norm.weight": "text"},
        "a list": {"norm.weight": [1.0] * 16},
        "a wide layer": {"blocks.0.mlp.fc1.weight": torch.zeros(1_000_000, 1)},
        "a number in place of a layer": {"blocks.0.mlp.fc1.weight": torch.tensor(1.0)},
        "other joints": {"pos_embed": torch.zeros(1, 1, 17, 16)},
        "a million joints": {"pos_embed": torch.zeros(1, 1, 1_000_000, 16)[..., :1].contiguous()},
        "a long clip": {"temp_embed": torch.zeros(1, 1_000_000, 1, 1)},
        "wide tokens": {"joints_embed.proj.weight": torch.zeros(1_000_000, 1, 1, 1)},
        "no frames": {"joints_embed.proj.weight": torch.zeros(16, 3, 0, 1)},
    }
    for name, change in names.items():
        yield Case(f"weights with {name}", saved({**sound_state(), **change}))
    deep = {**sound_state()}
    block = {name.partition("blocks.0.")[2]: x for name, x in deep.items() if name.startswith("blocks.0.")}
    for depth, expect in ((1000, "any"), (1001, "error")) if heavy else ():
        blocks = {f"blocks.{i}.{name}": x.clone() for i in range(depth) for name, x in block.items()}
        yield Case(f"{depth} whole blocks", saved(deep | blocks), expect)
    heads: dict[str, dict[str, Tensor]] = {
        "a million classes": {"fc.1.weight": torch.zeros(1_000_000, 1)},
        "a million hidden units": {"fc1.weight": torch.zeros(1_000_000, 1), "fc2.weight": torch.zeros(3, 1_000_000)},
        "no hidden layer": {"fc2.weight": torch.zeros(3, 3)},
        "nothing": {"fc.1.weight": torch.tensor(1.0)},
        "infinity": {"fc.1.weight": torch.full((3, 16), torch.inf), "fc.1.bias": torch.zeros(3)},
        "strange names": {"x": torch.zeros(3)},
    }
    for name, head in heads.items():
        state = sound_state() | {f"head.{key}": x for key, x in head.items()}
        yield Case(f"head of {name}", saved(state), "equal")  # the head is left out, with a warning
    yield Case("head of integers", saved(sound_state() | {"head.fc.1.weight": torch.zeros(3, 16).int()}))


def others(rng: random.Random) -> Iterator[Case]:
    values = {
        "a list": [1],
        "a number": 3,
        "text": "x",
        "nothing": None,
        "no model": {},
        "an empty model": {"model": {}},
    }
    for name, value in values.items():
        buffer = io.BytesIO()
        torch.save(value, buffer)
        yield Case(f"checkpoint of {name}", buffer.getvalue())
        yield Case(f"pickle of {name}", pickle.dumps(value))
    for name, content in {
        "nothing": b"", "text": b"hello", "JSON": json.dumps(ARGS).encode(), "zeros": bytes(100_000),
        "noise": rng.randbytes(100_000), "a picture": b"\x89PNG\r\n\x1a\n" + rng.randbytes(1000),
        "gzip": b"\x1f\x8b\x08" + rng.randbytes(1000), "a page": b"<!DOCTYPE html><html>not found</html>",
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    }.items():  # fmt: skip
        yield Case(f"file of {name}", content)
    legacy = saved(OrderedDict(sound_state()), legacy=True)
    yield Case("older format", legacy, "equal")
    for i, cut in enumerate((100, 300, len(legacy) // 2, len(legacy) - 1)):
        yield Case(f"older format, cut {i}", legacy[:cut])
    yield Case("older format, longer", legacy + b"x")
    first = _first_count(legacy)
    for count in (0, 1, 1 << 32, 1 << 62, (1 << 64) - 1):
        lie = legacy[:first] + struct.pack("<Q", count) + legacy[first + 8 :]
        yield Case(f"older format, a storage of {count}", lie)
    for i in range(10):
        yield Case(f"older format, flip in the pickle {i}", flipped(legacy, rng.randrange(first), rng), "any")


def _first_count(legacy: bytes) -> int:
    """Where the first storage of an older file says how long it is."""
    file = io.BytesIO(legacy)
    for _ in range(3):
        pickle.load(file)
    unpickler = pickle._Unpickler(file)  # type: ignore[attr-defined]
    unpickler.persistent_load = lambda pid: None
    unpickler.find_class = lambda module, name: lambda *args: None if "rebuild" in name else {}
    unpickler.load()
    pickle.load(file)
    return file.tell()


def cases(ran: Path, seed: int, rounds: int) -> Iterator[Case]:
    """All hostile checkpoints; ``rounds`` of each kind of random damage."""
    rng = random.Random(seed)
    kinds: list[Callable[[], Iterator[Case]]] = [
        lambda: flips(rng, rounds), lambda: code(ran), sizes, archives, bombs,
        lambda: weights(rounds > 9), lambda: others(rng),
    ]  # fmt: skip
    for kind in kinds:
        yield from kind()
