"""Saving and loading on this machine: round trips, names and folders, and every way in which files can be wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mamp
from mamp import MAMPClassifier, MAMPConfig, MAMPEncoder, Preprocessing
from mamp.errors import ConfigError, RecordingError, WeightsError
from mamp.hub import (
    convert_checkpoint,
    converted_folder,
    describe,
    fingerprint,
    manifest,
    resize_encoder,
    resolve,
    save_encoder,
)
from mamp.hub.serialization import read_config
from mamp.hub.tensors import LARGEST_WEIGHTS, encoder_shapes, read_tensors

TINY = MAMPConfig(
    dim_feat=32,
    depth=2,
    num_heads=4,
    num_frames=16,
    preprocessing=Preprocessing(center="none", absent_person="copy", crop=1.0),
)


@pytest.fixture
def encoder() -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(TINY).eval()


@pytest.fixture
def folder(encoder: MAMPEncoder, tmp_path: Path) -> Path:
    encoder.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def same(a: MAMPEncoder, b: MAMPEncoder) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    values = json.loads((folder / "config.json").read_text())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(values | {"weights_sha256": digest}))


# Round trips


def test_round_trip_is_bit_equal(encoder: MAMPEncoder, folder: Path) -> None:
    random_state = torch.get_rng_state()
    loaded = MAMPEncoder.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), random_state)  # loading draws nothing
    assert same(encoder, loaded)
    assert loaded.config == encoder.config
    assert not loaded.training and all(parameter.requires_grad for parameter in loaded.parameters())
    assert fingerprint(loaded) == fingerprint(encoder) == fingerprint(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    x = torch.randn(2, 2, 16, 25, 3)
    with torch.no_grad():
        assert torch.equal(encoder(x), loaded(x))


def test_sixteen_bits_load_as_float32(encoder: MAMPEncoder, tmp_path: Path) -> None:
    for kind in (torch.float16, torch.bfloat16):
        encoder.save_pretrained(tmp_path, dtype=kind)
        assert read_tensors(tmp_path / "model.safetensors")["norm.weight"].dtype == kind
        loaded = MAMPEncoder.from_pretrained(tmp_path)
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded.pos_embed, encoder.pos_embed.to(kind).float())
        assert MAMPEncoder.from_pretrained(tmp_path, dtype=kind).dtype == kind
        assert fingerprint(loaded) == fingerprint(tmp_path) != fingerprint(encoder)


def test_float64_stays_exact_when_asked_for(encoder: MAMPEncoder, tmp_path: Path) -> None:
    double = MAMPEncoder(TINY).double()
    double.save_pretrained(tmp_path)
    assert same(double, MAMPEncoder.from_pretrained(tmp_path, dtype=torch.float64))
    assert MAMPEncoder.from_pretrained(tmp_path).dtype == torch.float32


def test_a_subclass_is_loaded_as_itself(folder: Path) -> None:
    class Mine(MAMPEncoder):
        pass

    assert type(Mine.from_pretrained(folder)) is Mine


@pytest.mark.parametrize("dtype", [torch.int8, "float32"])
def test_dtype_must_be_floating(encoder: MAMPEncoder, folder: Path, dtype: Any) -> None:
    for call in (
        lambda: MAMPEncoder.from_pretrained(folder, dtype=dtype),
        lambda: save_encoder(encoder, folder, dtype=dtype),
    ):
        with pytest.raises(WeightsError, match=r"dtype: expected a floating-point torch.dtype"):
            call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that should be missing")
def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(WeightsError, match="device='cuda' cannot be used"):
        MAMPEncoder.from_pretrained(folder, device="cuda")


def test_model_card(encoder: MAMPEncoder, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: mamp\npipeline_tag: feature-extraction\n")
    for words in (
        "from_pretrained('saved')",
        "2 x 32, 4",
        "camera coordinates",
        "that person twice",
        "25 joints",
    ):
        assert words in card
    assert f"{sum(p.numel() for p in encoder.parameters()):,}" in card and fingerprint(encoder) in card
    encoder.save_pretrained(folder, dtype=torch.float16)
    assert fingerprint(folder) in (folder / "README.md").read_text()
    (folder / "README.md").write_text("my own words")
    encoder.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "my own words"


def test_a_crash_while_saving_leaves_what_was_there(
    encoder: MAMPEncoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    written = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left on device"):
        MAMPEncoder(TINY).save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_target_that_cannot_be_written(encoder: MAMPEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WeightsError, match="expected a folder that can be written"):
            encoder.save_pretrained(target)
    locked = tmp_path / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    if not os.access(locked, os.W_OK):  # root writes everywhere
        with pytest.raises(WeightsError, match="expected a folder that can be written"):
            encoder.save_pretrained(locked)


def test_weights_that_are_not_finite_are_not_saved(encoder: MAMPEncoder, tmp_path: Path) -> None:
    with torch.no_grad():
        encoder.norm.weight[3] = 1e6
    with pytest.raises(WeightsError, match=r"'norm.weight' holds 1 of 32 .* float16"):
        encoder.save_pretrained(tmp_path, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_resize_to_another_clip_length(encoder: MAMPEncoder) -> None:
    longer = resize_encoder(encoder, 32)
    assert longer.config.num_frames == 32 and not longer.training
    assert longer.temp_embed.shape == (1, 8, 1, 32) and torch.equal(longer.pos_embed, encoder.pos_embed)
    assert longer(torch.randn(1, 1, 32, 25, 3)).shape == (1, 1, 8, 25, 32)
    assert same(resize_encoder(encoder, 16), encoder)
    with pytest.raises(ConfigError, match="num_frames"):
        resize_encoder(encoder, 30)


# Files that are wrong


def drop(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(name)


def put(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("norm.weight"), r"tensor 'norm.weight' of shape \[32\] is missing"),
        (drop("temp_embed"), r"tensor 'temp_embed' of shape \[1, 4, 1, 32\] is missing"),
        (put("head.fc.bias", torch.zeros(60)), r"tensor 'head.fc.bias' of shape \[60\] is not part of the model"),
        (put("blocks.2.norm1.bias", torch.zeros(32)), r"tensor 'blocks.2.norm1.bias' .* is not part"),
        (put("norm.bias", torch.zeros(31)), r"tensor 'norm.bias': expected shape \[32\], found \[31\]"),
        (put("norm.bias", torch.zeros(1, 32)), r"tensor 'norm.bias': expected shape \[32\], found \[1, 32\]"),
        (put("norm.bias", torch.full((32,), torch.nan)), r"tensor 'norm.bias' holds 32 of 32 .* NaN or infinite"),
        (put("norm.bias", torch.full((32,), torch.inf)), r"tensor 'norm.bias' holds 32 of 32 .* NaN or infinite"),
        (put("norm.bias", torch.zeros(32, dtype=torch.int32)), r"tensor 'norm.bias': expected F16 .* found I32"),
    ],
)
def test_tensors_that_do_not_fit(folder: Path, change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    edit_tensors(folder, change)
    with pytest.raises(WeightsError, match=message):
        MAMPEncoder.from_pretrained(folder)


def test_values_too_large_for_the_asked_type(folder: Path) -> None:
    edit_tensors(folder, put("norm.bias", torch.full((32,), 1e5)))
    assert MAMPEncoder.from_pretrained(folder).norm.bias[0] == 1e5
    with pytest.raises(WeightsError, match="infinite as float16"):
        MAMPEncoder.from_pretrained(folder, dtype=torch.float16)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dim_feet": 3}, ConfigError, r"config.json: config: unknown field 'dim_feet'. Did you mean 'dim_feat'\?"),
        ({"preprocessing": {"centre": "clip"}}, ConfigError, r"config.json: .*unknown field 'centre'.*'center'"),
        ({"dim_feat": "wide"}, ConfigError, r"config.json: config.dim_feat: expected a whole number"),
        ({"num_heads": 5}, ConfigError, r"config.json: config.dim_feat: expected a multiple of num_heads"),
        ({"preprocessing": None}, ConfigError, r"config.json: config.preprocessing"),
        ({"model_type": "bert"}, ConfigError, r"config.json: expected model_type 'mamp', found 'bert'"),
        ({"format": 2}, ConfigError, r"config.json: expected format 1, found 2"),
        ({"num_frames": 20}, WeightsError, r"'temp_embed': expected shape \[1, 5, 1, 32\], found \[1, 4, 1, 32\]"),
        ({"dim_feat": 4 * 10**7}, WeightsError, r"'temp_embed': expected shape .*40000000"),
        ({"depth": 10**8}, ConfigError, r"config.json: config.depth: .* at most 1,000"),
        ({"depth": 1000}, WeightsError, r"'blocks.2.norm1.weight' .* is missing"),
        ({"depth": 1}, WeightsError, r"'blocks.1.attn.proj.bias' .* is not part of the model"),
        ({"qkv_bias": False}, WeightsError, r"'blocks.0.attn.qkv.bias' .* is not part of the model"),
    ],
)
def test_config_that_does_not_fit(folder: Path, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(error, match=message):
        MAMPEncoder.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "no json", "\x00\xff"])
def test_config_that_is_no_json_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"config\.json: "):
        MAMPEncoder.from_pretrained(folder)


def test_config_is_flat_and_every_field_is_written(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert values == {"model_type": "mamp", "format": 1, "weights_sha256": digest, **TINY.to_dict()}
    assert read_config(folder / "config.json") == TINY
    (folder / "config.json").write_text(json.dumps(TINY.to_dict()))  # written by hand
    assert read_config(folder / "config.json") == TINY


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(ran),)

    import pickle

    torch.save({"norm.weight": Evil()}, tmp_path / "zip.pth")
    for content in ((tmp_path / "zip.pth").read_bytes(), pickle.dumps(Evil())):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match="expected safetensors, found a pickle"):
            MAMPEncoder.from_pretrained(folder)
    assert not ran.exists()


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -4, -4000])
def test_a_cut_file(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"model.safetensors: expected safetensors, found a cut or damaged file"):
        MAMPEncoder.from_pretrained(folder)


def test_a_git_lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        MAMPEncoder.from_pretrained(folder)


# Names and folders


def test_folders(encoder: MAMPEncoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder.save_pretrained(tmp_path / "run" / "encoder")
    monkeypatch.chdir(tmp_path)
    for place in (folder, str(folder), "saved", "./saved", Path("saved"), "run", tmp_path / "run"):
        assert same(MAMPEncoder.from_pretrained(place), encoder)
    with pytest.raises(WeightsError, match="is a folder, which has no revision 'v1'"):
        MAMPEncoder.from_pretrained("saved", revision="v1")


def test_places_without_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-399.pth").write_bytes(b"")
    (folder / "config.json").unlink()
    for place, message in (
        (tmp_path / "nowhere", "found nothing there"),
        ("./nowhere", "found nothing there"),
        ("a/b/c", "found nothing there"),
        (folder, "missing: config.json"),
        (tmp_path, "missing: config.json, model.safetensors"),
        (folder / "model.safetensors", "is a file, expected the folder"),
        (tmp_path / "checkpoint-399.pth", "mamp convert"),
    ):
        with pytest.raises(WeightsError, match=message):
            MAMPEncoder.from_pretrained(place)


@pytest.mark.parametrize(
    ("name", "near"),
    [("ntu6O", "ntu60"), ("NTU60", "ntu60"), ("openmocp", "openmocap"), ("ntu120-xsubj", "ntu120-xsub")],
)
def test_a_misspelt_name(name: str, near: str) -> None:
    with pytest.raises(WeightsError, match=rf"{name!r} is neither .* Did you mean '{near}'\?"):
        MAMPEncoder.from_pretrained(name)


def test_list_pretrained() -> None:
    names = mamp.list_pretrained()
    assert names[0] == "openmocap" and len(set(names)) == len(names)
    assert set(names) == {
        "openmocap", "openmocap-small", "ntu60", "ntu60-xsub", "ntu60-xview", "ntu120", "ntu120-xsub", "ntu120-xset",
        "pku1", "pku1-xsub", "pku2", "pku2-xsub",
    }  # fmt: skip


def test_every_entry_of_the_manifest() -> None:
    centered = {"ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset"}
    entries = manifest.load_manifest().entries
    for name, entry in entries.items():
        assert entry.revision in entry.revisions
        if name.startswith("openmocap"):
            assert entry.redistributable and entry.revisions[entry.revision].folder == name
            continue
        assert entry.config is not None and entry.config.replace(preprocessing=Preprocessing()) == MAMPConfig()
        assert entry.config.preprocessing == Preprocessing(
            center="clip" if name in centered else "none",
            absent_person="copy" if name.startswith("ntu120") else "zeros",
        )
        assert entry.decoder_depth == (3 if name.startswith("ntu60") else 5)
        assert not entry.redistributable
        card = manifest.weights_folder() / "cards" / f"{name}.md"
        assert f"--preset {name}" in card.read_text()
    for short, full in (
        ("ntu60", "ntu60-xsub"),
        ("ntu120", "ntu120-xsub"),
        ("pku1", "pku1-xsub"),
        ("pku2", "pku2-xsub"),
    ):
        assert manifest.find_entry(short) is entries[full]


def test_every_entry_with_a_repository_is_pinned() -> None:
    """Whoever owns the namespace could serve other weights under our names."""
    for entry in manifest.load_manifest().entries.values():
        for release in entry.revisions.values():
            pinned = re.fullmatch("[0-9a-f]{40}", release.commit or "") and re.fullmatch(
                "[0-9a-f]{64}", release.sha256 or ""
            )
            assert entry.repository is None or pinned


def test_weights_beside_the_configuration_of_others(folder: Path, tmp_path: Path) -> None:
    """As a kill between the two renames of save_pretrained leaves them."""
    torch.manual_seed(1)
    MAMPEncoder(TINY).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"sha256 .* found .* write or fetch both again"):
        MAMPEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"readout_dim": 10**11},
        {"depth": 10**400},
        {"preprocessing": {"layout": ["ntu25"]}},
        {"preprocessing": {"center_joint": "no such joint"}},
        {"preprocessing": {"center_joint": {}}},
        {"preprocessing": {"max_people": 10**9}},
        {"preprocessing": {"height": 1e300}},
    ],
)
def test_hostile_configurations(folder: Path, changes: dict[str, Any]) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    with pytest.raises(ConfigError, match=r"config\.json: "):
        MAMPEncoder.from_pretrained(folder)


def test_a_readout_that_the_file_does_not_hold_is_not_built(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"readout_dim": 10**8}))
    with pytest.raises(WeightsError, match=r"'readout.weight' of shape .* is missing"):
        MAMPEncoder.from_pretrained(folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, " " * (2 << 20)])
def test_configurations_that_are_no_json(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json: expected"):
        MAMPEncoder.from_pretrained(folder)


def test_every_shape_of_an_encoder_is_known_before_it_is_built() -> None:
    for config in (TINY, TINY.replace(qkv_bias=False, depth=0), TINY.replace(readout_dim=7, pooling="mean+max")):
        assert encoder_shapes(config) == {name: tuple(x.shape) for name, x in MAMPEncoder(config).state_dict().items()}


def test_a_file_larger_than_any_encoder(folder: Path) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, LARGEST_WEIGHTS + 1)
    with pytest.raises(WeightsError, match="expected at most 335,544,320 bytes of weights, found 335,544,321"):
        MAMPEncoder.from_pretrained(folder)


NO_NAMES: list[Any] = [
    None,
    5,
    2.5,
    b"openmocap",
    [],
    {},
    "",
    "a\0b",
    "x" * 5000,
    "x/" * 3000,
    "\ud800",
    "~nobody-here/x",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(encoder: MAMPEncoder, folder: Path, name: Any) -> None:
    """Each place that takes a name or a path."""
    calls: list[Callable[[], object]] = [
        lambda: MAMPEncoder.from_pretrained(name),
        lambda: MAMPClassifier.from_pretrained(name),
        lambda: describe(name),
        lambda: encoder.save_pretrained(name),
        lambda: convert_checkpoint(name, folder),
        lambda: convert_checkpoint(folder / "config.json", name),
        lambda: fingerprint(name),
        lambda: encoder.push_to_hub(name),
    ]
    if name is not None:
        calls.append(lambda: MAMPEncoder.from_pretrained("you/one", cache_dir=name, local_files_only=True))
    for call in calls:
        with pytest.raises(WeightsError, match="expected a ") as caught:
            call()
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "options",
    [
        {"revision": 5},
        {"revision": ""},
        {"revision": "../../x"},
        {"revision": "a\nb"},
        {"revision": "x" * 300},
        {"token": 5},
        {"token": "a\nb"},
        {"token": "\u20ac"},
        {"local_files_only": "yes"},
        {"cache_dir": 5},
        {"cache_dir": __file__},
        {"dtype": 5},
        {"device": 5j},
    ],
)
def test_what_is_no_option(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=next(iter(options))):
        MAMPEncoder.from_pretrained(folder, **options)


@pytest.mark.parametrize(
    "options", [{"private": "yes"}, {"commit_message": ""}, {"commit_message": 5}, {"revision": 5}, {"token": 5}]
)
def test_what_cannot_be_pushed(encoder: MAMPEncoder, options: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=next(iter(options))):
        encoder.push_to_hub("you/one", **options)


@pytest.mark.parametrize(
    "x", [None, 5, "x", np.zeros((1, 1, 16, 25, 3), np.float32), torch.zeros(3), torch.zeros(1) * 1j]
)
def test_what_is_no_clip(encoder: MAMPEncoder, x: Any) -> None:
    with pytest.raises(RecordingError, match=r"\[B, M, T, V, C\]"):
        encoder(x)


def test_what_is_no_configuration() -> None:
    for config in (5, {"depth": 1}, "openmocap"):
        with pytest.raises(ConfigError, match=r"expected mamp\.MAMPConfig"):
            MAMPEncoder(config)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", [["cpu"], {}, "nowhere", 1.5, "meta"])
def test_devices_that_are_none(folder: Path, device: Any) -> None:
    with pytest.raises(WeightsError, match="device="):
        MAMPEncoder.from_pretrained(folder, device=device)


def test_own_runs_are_found_by_folder_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "runs" / "my run-3" / "encoder")
    monkeypatch.setenv("MAMP_WEIGHTS", str(tmp_path / "runs"))
    assert fingerprint(MAMPEncoder.from_pretrained("my run-3")) == fingerprint(folder)
    with pytest.raises(WeightsError, match="neither a folder nor the name"):
        MAMPEncoder.from_pretrained("my run-4")


def test_conversions_are_found_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="not on this machine, and is not fetched"):
        MAMPEncoder.from_pretrained("ntu60")
    shutil.copytree(folder, converted_folder("ntu60"))
    assert fingerprint(MAMPEncoder.from_pretrained("ntu60-xsub")) == fingerprint(folder)


def test_an_unknown_field_of_the_manifest() -> None:
    entry = {"description": "", "trained_on": "", "licence": "", "revision": "v1", "revisions": {"v1": {"sha": "0"}}}
    with pytest.raises(ConfigError, match=r"manifest.json: x: v1: unknown field 'sha'. Did you mean 'sha256'\?"):
        manifest.parse_manifest({"weights": {"x": entry}, "aliases": {}})


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights in two revisions, put in the place of the package's own."""
    weights = tmp_path / "weights"
    releases = {}
    for seed, name in enumerate(("v1", "v2")):
        torch.manual_seed(seed)
        MAMPEncoder(TINY).save_pretrained(weights / f"mine-{name}")
        releases[name] = {"folder": f"mine-{name}"}
    entry = {"description": "d", "trained_on": "t", "licence": "l", "revision": "v2", "revisions": releases}
    values = {"weights": {"mine": entry}, "aliases": {"m": "mine"}}
    monkeypatch.setattr(manifest, "load_manifest", lambda: manifest.parse_manifest(values))
    monkeypatch.setattr(resolve, "load_manifest", manifest.load_manifest)
    monkeypatch.setattr(resolve, "weights_folder", lambda: weights)
    return weights


def test_revisions_of_bundled_weights(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (fingerprint(bundled / f"mine-{name}") for name in ("v1", "v2"))
    for name, revision, expected in (
        ("mine", None, second), ("m", None, second), ("mine", "v1", first), ("mine@v1", None, first),
        ("m@v2", None, second), ("mine@v1", "v1", first),
    ):  # fmt: skip
        assert fingerprint(MAMPEncoder.from_pretrained(name, revision=revision)) == expected
    with pytest.raises(WeightsError, match="one of the revisions v1, v2; found 'v3'"):
        MAMPEncoder.from_pretrained("mine@v3")
    with pytest.raises(WeightsError, match="two revisions"):
        MAMPEncoder.from_pretrained("mine@v1", revision="v2")
    (bundled / "mine-v2" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"mine-v2 and are not there; the installation is damaged"):
        MAMPEncoder.from_pretrained("mine")


def test_a_release_that_only_the_source_holds(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = manifest.Release(folder="mine-v1", source_only=True)
    monkeypatch.setattr(manifest.Entry, "release", lambda self, revision: (revision or "v1", release))
    first = fingerprint(MAMPEncoder.from_pretrained("mine@v1"))  # in a checkout
    (tmp_path / "own").mkdir()
    (bundled / "mine-v1").rename(tmp_path / "mine-v1")  # as in an installed package
    with pytest.raises(WeightsError, match="Copy the folder weights/mine-v1 of the source of mamp") as raised:
        MAMPEncoder.from_pretrained("mine@v1")
    assert "to mine@v1 in a folder of your own, and name the latter: MAMP_WEIGHTS=" in str(raised.value)
    (tmp_path / "mine-v1").rename(tmp_path / "own" / "mine@v1")
    monkeypatch.setenv("MAMP_WEIGHTS", str(tmp_path / "own"))
    assert fingerprint(MAMPEncoder.from_pretrained("mine@v1")) == first


def test_bundled_weights_are_verified(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = manifest.load_manifest().entries["mine"]
    release = manifest.Release(folder="mine-v1", sha256="0" * 64)
    monkeypatch.setattr(manifest.Entry, "release", lambda self, revision: ("v1", release))
    with pytest.raises(WeightsError, match=f"expected sha256 {'0' * 64}, found"):
        MAMPEncoder.from_pretrained(entry.name)
    assert (bundled / "mine-v1" / "model.safetensors").exists()


def test_weights_variable_comes_first(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(9)
    other = MAMPEncoder(TINY)
    monkeypatch.setenv("MAMP_WEIGHTS", str(tmp_path / "own"))
    with pytest.raises(WeightsError, match=r"MAMP_WEIGHTS=.*own: expected a folder"):
        MAMPEncoder.from_pretrained("mine")
    (tmp_path / "own").mkdir()
    assert fingerprint(MAMPEncoder.from_pretrained("mine")) == fingerprint(bundled / "mine-v2")
    other.save_pretrained(tmp_path / "own" / "m")
    for name in ("m", "mine"):
        assert same(MAMPEncoder.from_pretrained(name), other)
    assert fingerprint(MAMPEncoder.from_pretrained("mine@v1")) == fingerprint(bundled / "mine-v1")
    other.save_pretrained(tmp_path / "own" / "mine@v1")
    assert same(MAMPEncoder.from_pretrained("mine@v1"), other)
    (tmp_path / "own" / "m" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"own/m: .*missing: config.json"):
        MAMPEncoder.from_pretrained("mine")


def test_describe(encoder: MAMPEncoder, folder: Path) -> None:
    facts = describe(folder)
    assert facts["available"] and facts["config"] == TINY.to_dict() and facts["fingerprint"] == fingerprint(encoder)
    assert facts["parameters"] == sum(p.numel() for p in encoder.parameters())
    json.dumps(facts)
    facts = describe("ntu120")
    assert facts["name"] == "ntu120-xsub" and facts["aliases"] == ["ntu120"] and not facts["available"]
    assert facts["config"]["preprocessing"]["absent_person"] == "copy" and "fingerprint" not in facts
    json.dumps(facts)
    with pytest.raises(WeightsError, match="Did you mean 'ntu60'"):
        describe("ntu6O")


def test_importing_the_package_does_not_import_the_client() -> None:
    import subprocess
    import sys

    code = "import mamp, sys; mamp.list_pretrained(); sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(mamp.__file__).parents[1], check=False).returncode == 0
