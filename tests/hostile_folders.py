"""Hostile folders for ``from_pretrained``: safetensors, ``config.json`` and heads that a stranger could send."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from hostile_checkpoints import CONFIG, flipped, saved, sound_state

from mamp import MAMPEncoder
from mamp.heads import LinearHead
from mamp.hub.heads import save_classifier

Files = dict[str, bytes]


class Folder(NamedTuple):
    """Files of a folder, and what must come of them; see :mod:`hostile_checkpoints`."""

    name: str
    files: Files
    expect: str = "error"
    what: str = "encoder"


def sound_folder(place: Path) -> Files:
    """A classifier, which is an encoder too."""
    torch.manual_seed(0)
    encoder = MAMPEncoder(CONFIG)
    encoder.load_state_dict(sound_state())
    save_classifier(encoder, LinearHead(CONFIG.dim_feat, 3), place, ["sit", "stand", "walk"])
    return {path.name: path.read_bytes() for path in place.iterdir() if path.name != "README.md"}


def with_weights(files: Files, weights: bytes, config: dict[str, Any] | None = None) -> Files:
    """Other weights, with a configuration that says their hash, so that it is not the hash that saves the day."""
    values = json.loads(files["config.json"]) | (config or {})
    values["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    return files | {"model.safetensors": weights, "config.json": json.dumps(values).encode()}


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def headers(files: Files) -> Iterator[Folder]:
    weights = files["model.safetensors"]
    (size,) = struct.unpack("<Q", weights[:8])
    header, data = json.loads(weights[8 : 8 + size]), weights[8 + size :]
    norm = header["norm.weight"]

    def changed(**fields: Any) -> bytes:
        return packed(header | {"norm.weight": norm | fields}, data)

    lies: dict[str, bytes] = {
        "length 0": packed(header, data, 0),
        "length of 2^63": packed(header, data, 1 << 63),
        "length of all": packed(header, data, 1 << 64 - 1),
        "length behind the end": packed(header, data, len(weights)),
        "length of the file": packed(header, data, len(weights) - 8),
        "no JSON": packed(b"hello" * 100, data),
        "no text": packed(b"\xff" * 100, data),
        "deep JSON": packed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, data),
        "a list": packed([], data),
        "a number": packed(5, data),
        "nothing": packed({}, b""),
        "nothing of something": packed({}, data),
        "many metadata": packed({"__metadata__": {str(i): "x" for i in range(100_000)}, **header}, data),
        "metadata of numbers": packed({"__metadata__": {"a": 1}, **header}, data),
        "100,000 names": packed({**{f"tensor-number-{i}": entry([0], 0, 0) for i in range(100_000)}}, b""),
        "30,000 names": packed({**header, **{f"x{i}": entry([0], 0, 0) for i in range(30_000)}}, data),
        "a name of a megabyte": packed({**header, "x" * 1_000_000: entry([0], 0, 0)}, data),
        "a name twice": packed(
            json.dumps(header)[:-1].encode() + b', "norm.weight": ' + json.dumps(norm).encode() + b"}", data
        ),
        "overlap": changed(data_offsets=[0, 64]),
        "a hole": packed(header, data + bytes(64)),
        "offsets the wrong way": changed(data_offsets=norm["data_offsets"][::-1]),
        "negative offsets": changed(data_offsets=[-64, 0]),
        "offsets behind the end": changed(data_offsets=[1 << 40, (1 << 40) + 64]),
        "offsets of 2^64": changed(data_offsets=[1 << 64, 1 << 65]),
        "offsets as text": changed(data_offsets=["0", "64"]),
        "a terabyte": changed(shape=[1 << 38]),
        "more than 64 bits": changed(shape=[1 << 40, 1 << 40]),
        "a negative shape": changed(shape=[-16]),
        "a shape of floats": changed(shape=[16.0]),
        "a shape of 1,000 axes": changed(shape=[1] * 999 + [16]),
        "another shape": changed(shape=[4, 4]),
        "no such type": changed(dtype="F31"),
        "integers": changed(dtype="I32"),
        "truths": changed(dtype="BOOL", shape=[64]),
        "eight bits": changed(dtype="F8_E4M3", shape=[64]),
        "four bits": changed(dtype="F4", shape=[128]),
        "complex numbers": changed(dtype="C64", shape=[8]),
        "no type": packed(header | {"norm.weight": {"shape": [16]}}, data),
    }
    harmless = ("a name twice", "many metadata", "metadata of numbers")
    for name, content in lies.items():
        yield Folder(f"header: {name}", with_weights(files, content), "either" if name in harmless else "error")


def tensors(files: Files) -> Iterator[Folder]:
    for name in ("norm.weight", "blocks.0.mlp.fc2.bias"):
        for value in (float("nan"), -float("inf"), 1e37, -2e6):
            state = sound_state()
            state[name][3] = value
            yield Folder(f"{value} in {name}", with_weights(files, safetensors.torch.save(state)))
    changes: dict[str, Any] = {
        "missing": lambda s: s.pop("norm.bias"),
        "extra": lambda s: s.update({"x": torch.zeros(3)}),
        "999 blocks": lambda s: s.update({f"blocks.{i}.norm1.weight": torch.zeros(16) for i in range(1, 999)}),
        "empty": lambda s: s.update({"norm.bias": torch.zeros(0)}),
        "other": lambda s: s.update({"norm.bias": torch.zeros(17)}),
    }
    for name, change in changes.items():
        state = sound_state()
        change(state)
        yield Folder(f"tensors: {name}", with_weights(files, safetensors.torch.save(state)))
        yield Folder(f"tensors: {name}, deep", with_weights(files, safetensors.torch.save(state), {"depth": 999}))
    half = safetensors.torch.save({name: x.half() for name, x in sound_state().items()})
    yield Folder("half precision", with_weights(files, half), "equal")
    yield Folder("a pickle", with_weights(files, saved(sound_state())))
    yield Folder("other weights under the old hash", files | {"model.safetensors": half})


def configurations(files: Files) -> Iterator[Folder]:
    values = json.loads(files["config.json"])
    fields: list[dict[str, Any]] = [
        {name: value}
        for name in (
            "dim_feat",
            "depth",
            "num_heads",
            "num_frames",
            "num_joints",
            "patch_size",
            "readout_dim",
            "dim_in",
        )
        for value in (-1, 10**6, 10**11, 10**400, "16", 2.5, [], True)
    ]
    fields += [
        {"mlp_ratio": value} for value in (0, -1, 1e300, "4", None, [4], 10**400, float("inf"), float("nan"), 1e-9)
    ]
    fields += [{"pooling": value} for value in ("", "+", "mean+mean", "mean+" * 1000, 5, None, ["mean"], "x" * 10**5)]
    fields += [{name: "x"} for name in ("model_type", "format", "weights_sha256", "qkv_bias", "no_such", "x" * 10**5)]
    fields += [{"weights_sha256": value} for value in (0, [], {}, True, "0" * 64)]
    fields += [{"preprocessing": value} for value in (None, [], 5, "x", {"x": 1}, {"layout": None}, {"unit": []})]
    for name, value in (
        ("layout", ["ntu25"]), ("layout", {}), ("layout", 5), ("center_joint", "no such"), ("center_joint", 5),
        ("max_people", 10**9), ("max_people", 0), ("max_people", None), ("height", 1e300), ("height", -1), ("crop", 2),
        ("crop", float("nan")), ("crop", "x"), ("facing", "yes"), ("missing", 0), ("stream", "bones"), ("up", "x"),
    ):  # fmt: skip
        fields.append({"preprocessing": {name: value}})
    for change in fields:
        text = json.dumps(values | change)
        yield Folder(f"configuration: {str(change)[:60]}", files | {"config.json": text.encode()})
    whole = files["config.json"]
    texts = {
        "nothing": b"", "a brace": b"{", "a list": b"[]", "text": b'"x"', "null": b"null", "no text": b"\xff\xfe\x00",
        "deep lists": b"[" * 100_000, "deep objects": b'{"a":' * 100_000, "2 MB of blanks": b" " * (2 << 20) + whole,
        "two objects": whole + whole, "a comment": b"// x\n" + whole, "zeros": bytes(1000), "half": whole[:-30],
        "many digits": whole.replace(b'"depth": 1', b'"depth": ' + b"1" * 100_000),
        "half a character": whole.replace(b'"ntu25"', b'"\\ud800"').replace(b'"clip"', b'"\\ud800"'),
    }  # fmt: skip
    for name, content in texts.items():
        yield Folder(f"configuration of {name}", files | {"config.json": content})


def heads(files: Files) -> Iterator[Folder]:
    record, weights = json.loads(files["head.json"]), safetensors.torch.load(files["head.safetensors"])
    yield Folder("sound classifier", files, "equal", "classifier")
    changes: dict[str, Any] = {
        "format": {"format": 2}, "other encoder": {"encoder": "0" * 16}, "classes of numbers": {"classes": [1, 2, 3]},
        "classes as a number": {"classes": 5}, "classes as text": {"classes": "abc"}, "no encoder": {"encoder": None},
    }  # fmt: skip
    for name, change in changes.items():
        content = json.dumps(record | change).encode()
        yield Folder(f"head: {name}", files | {"head.json": content}, "error", "classifier")
    for name, content in {"a list": b"[]", "nothing": b"", "deep": b"[" * 100_000, "blanks": b" " * (2 << 20)}.items():
        yield Folder(f"head of {name}", files | {"head.json": content}, "error", "classifier")
    tensors: dict[str, dict[str, torch.Tensor]] = {
        "a million classes": {"fc.1.weight": torch.zeros(1_000_000, 1)},
        "a million units": {"fc1.weight": torch.zeros(1_000_000, 1), "fc2.weight": torch.zeros(3, 1_000_000)},
        "no weights": {"fc.1.bias": torch.zeros(3)},
        "a number": {"fc.1.weight": torch.tensor(1.0)},
        "infinity": {**weights, "fc.1.bias": torch.full((3,), torch.inf)},
        "one more": {**weights, "x": torch.zeros(1)},
    }
    for name, state in tensors.items():
        content = safetensors.torch.save(state)
        record.pop("fingerprint", None)  # so that it is not the hash that saves the day
        changed = files | {"head.safetensors": content, "head.json": json.dumps(record).encode()}
        yield Folder(f"head with {name}", changed, "error", "classifier")
    yield Folder(
        "no head's weights", {k: v for k, v in files.items() if k != "head.safetensors"}, "error", "classifier"
    )


def folders(place: Path, seed: int, rounds: int) -> Iterator[Folder]:
    """All hostile folders; ``rounds`` of each kind of random damage."""
    rng, files = random.Random(seed), sound_folder(place)
    yield Folder("sound", files, "equal")
    for file in ("model.safetensors", "config.json", "head.safetensors", "head.json"):
        what = "classifier" if file.startswith("head") else "encoder"
        for i in range(rounds):
            changed = flipped(files[file], rng.randrange(len(files[file])), rng)
            # No hash covers a configuration on a disk and the names of classes, nor the comments of a head's weights.
            expect = "any" if file.endswith(".json") else "either" if file.startswith("head") else "error"
            yield Folder(f"flip in {file} {i}", files | {file: changed}, expect, what)
            cut = files[file][: rng.randrange(len(files[file]))]
            yield Folder(f"cut {file} {i}", files | {file: cut}, "error", what)
    yield from headers(files)
    yield from tensors(files)
    yield from configurations(files)
    yield from heads(files)
