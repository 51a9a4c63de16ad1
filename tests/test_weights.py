"""The weights inside the package: they are what their manifest and card say, and give the embeddings they gave."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mamp import MAMPEncoder, load
from mamp.hub import describe, fingerprint
from mamp.hub.manifest import Release, load_manifest, weights_folder
from mamp.synthetic import write_recordings

REVISIONS = {"v1": 6_336_000, **{f"v{number}": 3_373_824 for number in range(2, 7)}}  # parameters
RELEASES = {
    **{f"openmocap@{revision}": size for revision, size in REVISIONS.items()},
    **dict.fromkeys(("openmocap-small@v1", "openmocap-small@v2"), 2_585_088),
}
EMBEDDINGS = "openmocap-embeddings.json"


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(release: str) -> Path:
    folder = weights_folder() / str(released(release).folder)
    assert folder.is_dir()
    return folder


@pytest.fixture(scope="module")
def encoder(release: str) -> MAMPEncoder:
    return MAMPEncoder.from_pretrained(release)


def released(release: str) -> Release:
    name, _, revision = release.partition("@")
    entry = load_manifest().find(name)
    assert entry is not None
    return entry.revisions[revision]


def test_every_release_in_the_tree_is_tested() -> None:
    entries = load_manifest().entries.values()
    found = {f"{entry.name}@{revision}" for entry in entries for revision in entry.revisions if entry.redistributable}
    assert found == set(RELEASES)


def test_file_is_the_one_of_the_manifest(release: str, folder: Path) -> None:
    assert released(release).sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_size_and_storage(release: str, folder: Path, encoder: MAMPEncoder) -> None:
    assert sum(p.numel() for p in encoder.parameters()) == RELEASES[release]
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    assert encoder.dtype == torch.float32
    assert not encoder.training
    assert encoder.config.embedding_dim == 256


def test_card_tells_the_fingerprint_and_no_blank_is_left(folder: Path, encoder: MAMPEncoder) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert fingerprint(encoder) in card
    assert "To be filled in" not in card
    assert re.search(r"licen[cs]e", card)


def test_the_newest_is_the_default() -> None:
    prints = {name: fingerprint(MAMPEncoder.from_pretrained("openmocap", revision=name)) for name in REVISIONS}
    assert fingerprint(MAMPEncoder.from_pretrained()) == prints["v6"] and len(set(prints.values())) == len(prints)


def test_embeddings_are_those_they_were(release: str, encoder: MAMPEncoder, golden, tmp_path) -> None:
    """Stored beside the other golden files; a new release of the weights comes with new ones."""
    stored = json.loads((golden / EMBEDDINGS).read_text(encoding="utf-8"))[release]
    assert stored["fingerprint"] == fingerprint(encoder)
    assert describe(release)["fingerprint"] == stored["fingerprint"]
    paths = {path.name: path for path in write_recordings(tmp_path, variations=1)}
    for name, expected in stored["embeddings"].items():
        vector = encoder.encode(load(paths[name]))
        np.testing.assert_allclose(vector[: len(expected)], expected, atol=2e-4, err_msg=name)


def test_embeddings_of_different_actions_are_apart(tmp_path) -> None:
    """The readout takes out what all clips have in common: cosines need no centring first."""
    files = [
        path for path in write_recordings(tmp_path, variations=2) if path.stem.split("-")[0] in ("walk", "bow", "jump")
    ]
    recordings = [load(path) for path in files]
    unit = np.asarray(MAMPEncoder.from_pretrained().encode(recordings))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    same = np.array([[a.stem.split("-")[0] == b.stem.split("-")[0] for a in files] for b in files])
    cosine, others = unit @ unit.T, ~np.eye(len(files), dtype=bool)
    assert cosine[same & others].min() > cosine[~same].max() + 0.1


def test_half_precision_storage_keeps_the_embedding(encoder: MAMPEncoder, tmp_path) -> None:
    """As if unrounded: weights moved by up to half a unit in the last place of float16, saved in 16 bits, loaded."""
    generator = torch.Generator().manual_seed(0)
    unrounded = MAMPEncoder.from_pretrained()
    with torch.no_grad():
        for parameter in unrounded.parameters():
            parameter *= 1 + 2.0**-11 * (torch.rand(parameter.shape, generator=generator) - 0.5)
    unrounded.save_pretrained(tmp_path / "half", dtype=torch.float16)
    rounded = MAMPEncoder.from_pretrained(tmp_path / "half")
    recordings = [load(path) for path in write_recordings(tmp_path / "files", variations=1)]
    a, b = np.asarray(unrounded.encode(recordings)), np.asarray(rounded.encode(recordings))
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() >= 0.9999
    assert not np.array_equal(a, b)
