"""The readout: what it does to a set of clips, in weights that are saved and loaded, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_helpers import make_store

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton
from mamp.cli import main
from mamp.data import ClipStore
from mamp.errors import ConfigError, DataError, WeightsError
from mamp.hub import fingerprint
from mamp.train.average import average_encoders
from mamp.train.readout import ReadoutSettings, add_readout, fit_embeddings, fit_readout

SETTINGS = ReadoutSettings(dim=6, clips=64, window=(8, 24))
ALL = Preprocessing(max_people=None, absent_person="none", crop=1.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


def make(**changes: Any) -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(
        MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, preprocessing=ALL, **changes)
    ).eval()


def recordings(count: int = 3, people: int = 1) -> list[Skeleton]:
    rng = np.random.default_rng(0)
    return [
        Skeleton(rng.normal(size=(people, 20 + 5 * i, 25, 3)).cumsum(axis=1) / 10, "ntu25", 30) for i in range(count)
    ]


def test_whitened_embeddings_have_zero_mean_and_unit_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(500, 12, generator=generator) @ torch.randn(12, 12, generator=generator) + 7
    weight, bias = fit_readout(mixed, 5)
    found = mixed @ weight.T + bias
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.T.cov(), torch.eye(5), rtol=0, atol=1e-3)
    plain = mixed @ fit_readout(mixed, 5, whitening=0.0)[0].T
    variance = plain.var(dim=0)
    assert (variance.diff() < 0).all() and variance[0] > 2 * variance[4], "the largest directions first"
    standard = (mixed - mixed.mean(dim=0)) / mixed.std(dim=0)
    torch.testing.assert_close(variance, torch.linalg.eigvalsh(standard.T.cov()).flip(0)[:5], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain / variance.sqrt(), mixed @ weight.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dim", [0, 13, 20])
def test_lengths_that_cannot_be(dim: int) -> None:
    with pytest.raises(ConfigError, match=rf"length from 1 to 12, .*20 clips of 12 numbers; found {dim}"):
        fit_readout(torch.randn(20, 12), dim)


@pytest.mark.parametrize("whitening", [-1.0, float("nan"), float("inf")])
def test_strengths_of_whitening_that_cannot_be(whitening: float) -> None:
    with pytest.raises(ConfigError, match="whitening: expected a number of at least 0"):
        fit_readout(torch.randn(20, 12), 3, whitening)


def test_clips_that_are_all_alike() -> None:
    with pytest.raises(ConfigError, match="differ in fewer than 3 directions"):
        fit_readout(torch.randn(20, 2) @ torch.randn(2, 12), 3)


def test_embeddings_are_read_out(store: Path, tmp_path: Path) -> None:
    encoder = make(pooling="max")
    given = add_readout(encoder, ClipStore(store), SETTINGS)
    assert given.config.pooling == "mean+max+std" and given.config.pooled_dim == 48 and given.config.embedding_dim == 6
    assert set(given.state_dict()) - set(encoder.state_dict()) == {"readout.weight", "readout.bias"}
    clips = recordings(people=2)
    for clip in clips:
        tokens = given.encode(clip, pool="tokens")
        np.testing.assert_array_equal(tokens, encoder.encode(clip, pool="tokens"))
        flat = torch.from_numpy(np.asarray(tokens)).flatten(1, 2)
        pooled = torch.cat([flat.mean(1), flat.amax(1), flat.std(1, correction=0)], dim=1)
        expected = (pooled @ given.readout.weight.T + given.readout.bias).detach().numpy()
        np.testing.assert_allclose(given.encode(clip, pool="person"), expected, atol=1e-4)
        np.testing.assert_allclose(given.encode(clip), expected.mean(axis=0), atol=1e-4)
    shapes = {pool: np.asarray(given.encode(clips[0], pool=pool)).shape for pool in ("frame", "joint", "tokens")}
    assert shapes == {"frame": (20, 6), "joint": (25, 6), "tokens": (2, 4, 25, 16)}
    windows = given.encode(clips[2], window=10)
    assert np.asarray(windows).shape == (3, 6) and np.asarray(given.encode([])).shape == (0, 6)
    assert given.encode(clips[0], token_share=0.5).shape == (6,)
    given.save_pretrained(tmp_path / "saved")
    again = MAMPEncoder.from_pretrained(tmp_path / "saved")
    assert fingerprint(again) == fingerprint(given) != fingerprint(encoder)
    np.testing.assert_array_equal(again.encode(clips), given.encode(clips))
    half = MAMPEncoder.from_pretrained(tmp_path / "saved", dtype=torch.float64)
    np.testing.assert_allclose(half.encode(clips), given.encode(clips), atol=1e-3)


def test_the_crops_it_was_fitted_to_are_white(store: Path) -> None:
    """Embeddings of recordings like those of the store have about zero mean and about unit spread."""
    given = add_readout(make(), ClipStore(store), SETTINGS)
    data = ClipStore(store)
    found = np.asarray(given.encode([data.recording(i) for i in range(len(data))], pool="clip"))
    assert np.abs(found.mean(axis=0)).max() < 1.5 and 0.2 < found.std(axis=0).mean() < 3
    plain = np.asarray(make().encode([data.recording(i) for i in range(len(data))]))
    assert mean_cosine(found) < 0.3 < mean_cosine(plain), "without it, all clips are alike"


def test_it_is_fitted_to_the_training_clips_of_a_protocol(tmp_path: Path) -> None:
    split = ["train"] * 16 + ["test"] * 8
    data = ClipStore(make_store(tmp_path / "store", split=["test"] * 24, split_xsub=split))
    seen: set[int] = set()
    read = data.read_rows
    data.read_rows = lambda first, *rest, **into: (  # type: ignore[method-assign]
        seen.update((np.searchsorted(data.columns["first_row"], first, side="right") - 1).tolist()),
        read(first, *rest, **into),
    )[1]
    add_readout(make(), data, replace(SETTINGS, split="train", protocol="xsub"))
    assert len(seen) > 8 and max(seen) < 16
    with pytest.raises(DataError, match="keeps 8 of them for testing"):
        add_readout(make(), data, replace(SETTINGS, protocol="xsub"))


def mean_cosine(x: np.ndarray) -> float:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return float((unit @ unit.T)[np.triu_indices(len(x), 1)].mean())


def test_without_it_the_blocks_are_the_same(store: Path) -> None:
    encoder = make()
    given = add_readout(encoder, ClipStore(store), SETTINGS)
    plain = given.without_readout()
    assert plain.config.readout_dim is None and fingerprint(plain) == fingerprint(encoder)
    assert encoder.without_readout() is encoder
    again = add_readout(given, ClipStore(store), SETTINGS)
    assert fingerprint(again) == fingerprint(given), "the same clips give the same readout"


def test_a_file_without_it(store: Path, tmp_path: Path) -> None:
    given = add_readout(make(), ClipStore(store), SETTINGS)
    given.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["readout_dim"] == 6 and config["pooling"] == "mean+max+std"
    (tmp_path / "config.json").write_text(json.dumps(config | {"readout_dim": None}))
    with pytest.raises(WeightsError, match=r"readout.* is not part of the model"):
        MAMPEncoder.from_pretrained(tmp_path)


def test_command(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make().save_pretrained(tmp_path / "plain")
    command = ["readout", str(tmp_path / "out"), "--data", str(store), "--weights", str(tmp_path / "plain")]
    options = ["--dim", "6", "--clips", "64", "--window", "8", "24"]
    assert main([*command, *options, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    found = MAMPEncoder.from_pretrained(tmp_path / "out")
    assert facts["fingerprint"] == fingerprint(found) and facts["settings"]["dim"] == 6
    assert fingerprint(found) == fingerprint(add_readout(make(), ClipStore(store), SETTINGS))
    assert main([*command, "--dim", "64", "--clips", "64"]) == 1
    assert "more than the length of the embedding (64), found 64" in capsys.readouterr().err
    assert main([*command, "--pooling", "median"]) == 1
    assert "config.pooling: expected mean, max, std" in capsys.readouterr().err
    (tmp_path / "file").touch()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for place, message in (("file", "found a file"), ("file/out", "cannot write here"), ("run", "run/readout, say")):
        assert main(["readout", str(tmp_path / place), *command[2:]]) == 1
        assert message in capsys.readouterr().err, place


@pytest.mark.parametrize("absent", ["zeros", "copy"])
def test_absent_people_count_for_nothing(store: Path, absent: str) -> None:
    """A readout is fitted to people who are there; nobody's tokens, read out, would be a large constant."""
    filled = make()
    filled.config = filled.config.replace(
        preprocessing=Preprocessing(max_people=2, absent_person=absent, crop=1.0)  # type: ignore[arg-type]
    )
    given, clips = add_readout(filled, ClipStore(store), SETTINGS), recordings()
    assert given.config.preprocessing.absent_person == "none"
    alone = add_readout(make(), ClipStore(store), SETTINGS)
    np.testing.assert_allclose(given.encode(clips), alone.encode(clips), atol=1e-6)


@pytest.mark.parametrize(
    ("stored", "expected", "message"),
    [
        ({}, {"unit": "cm"}, "expect clips with unit cm, these have m"),
        ({}, {"up": "z"}, "up z, these have y"),
        ({}, {"height": 1.7}, "height 1.7, these have None"),
        ({}, {"center_joint": "head"}, "centred on head"),
        ({"center": "clip"}, {"center": "none"}, "cannot be undone"),
        ({"facing": True}, {"facing": False}, "cannot be undone"),
    ],
)
def test_clips_prepared_for_another_encoder(
    store: Path, stored: dict[str, Any], expected: dict[str, Any], message: str
) -> None:
    data, encoder = ClipStore(store), make()
    data.info = {**data.info, "preprocessing": {"center": "none", "facing": False, **stored}}
    encoder.config = encoder.config.replace(preprocessing=replace(ALL, **expected))
    with pytest.raises(ConfigError, match=message):
        add_readout(encoder, data, SETTINGS)


@pytest.mark.parametrize("clips", [7, 17, 40])
def test_it_is_fitted_to_as_many_crops_as_named(store: Path, clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def count(pooled: torch.Tensor, *rest: Any) -> Any:
        fitted.append(len(pooled))
        return fit_readout(pooled, *rest)

    monkeypatch.setattr("mamp.train.readout.fit_readout", count)
    add_readout(make(), ClipStore(store), replace(SETTINGS, clips=clips))
    assert fitted == [clips]


def test_other_joints_are_refused(store: Path) -> None:
    encoder = make()
    encoder.config = encoder.config.replace(preprocessing=Preprocessing(layout="kinect20"))
    with pytest.raises(DataError, match="expected joints of layout 'kinect20', found 'ntu25'"):
        add_readout(encoder, ClipStore(store), SETTINGS)


def varied(seed: int, **changes: Any) -> MAMPEncoder:
    encoder = make(**changes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) / 10)
    return encoder


def test_mean_of_weights(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = varied(1), varied(2, pooling="std")
    mean = average_encoders([one, one, two]).state_dict()
    for name, value in mean.items():
        torch.testing.assert_close(value, (2 * one.state_dict()[name] + two.state_dict()[name]) / 3)
    read_out = average_encoders([add_readout(one, ClipStore(store), SETTINGS), two])
    assert read_out.config.readout_dim is None and not read_out.training
    pooled = [add_readout(one, ClipStore(store), replace(SETTINGS, pooling=how)) for how in ("mean+std", "std+mean")]
    assert average_encoders(pooled).config.readout_dim is None
    with pytest.raises(ConfigError, match="another pooling mean\\+std and std\\+mean"):
        average_encoders(pooled, readout=True)
    assert fingerprint(average_encoders([one])) == fingerprint(one)

    for name, encoder in {"one": one, "two": two, "deep": varied(1, mlp_ratio=2)}.items():
        encoder.save_pretrained(tmp_path / name)
    command = ["readout", str(tmp_path / "out"), "--data", str(store), "--weights", str(tmp_path / "one")]
    options = ["--dim", "6", "--clips", "64", "--window", "8", "24", "--json", "--average"]
    assert main([*command, *options, str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    facts = json.loads(capsys.readouterr().out)
    expected = add_readout(average_encoders([one, one, two]), ClipStore(store), SETTINGS)
    assert facts["fingerprint"] == fingerprint(expected) and len(facts["average"]) == 2
    assert main([*command, *options, str(tmp_path / "two"), str(tmp_path / "deep")]) == 1
    assert "weights 3 cannot be averaged with the first ones, which have another mlp_ratio 4" in capsys.readouterr().err


@pytest.mark.parametrize("pose", [True, False])
def test_like_gives_the_embeddings_of_another_encoder(store: Path, tmp_path: Path, pose: bool) -> None:
    """The same blocks give them exactly, longer tokens about; what the other takes of poses is taken over."""
    other = add_readout(make(), ClipStore(store), replace(SETTINGS, pose=pose))
    same = add_readout(make(), ClipStore(store), replace(SETTINGS, ridge=1e-9), like=other)
    assert same.config == other.config
    for clip in recordings():
        np.testing.assert_allclose(same.encode(clip), other.encode(clip), atol=1e-2)
    torch.manual_seed(1)
    longer = MAMPEncoder(make().config.replace(t_patch_size=8)).eval()
    found = add_readout(longer, ClipStore(store), replace(SETTINGS, dim=3), like=other)
    assert (found.config.readout_dim, found.config.readout_pose, found.config.t_patch_size) == (6, pose, 8)
    if pose:
        assert found.pose is not None and other.pose is not None
        torch.testing.assert_close(found.pose.state_dict(), other.pose.state_dict(), rtol=0, atol=0)
    apart = add_readout(longer, ClipStore(store), replace(SETTINGS, ridge=1e6), like=other)
    clips = recordings(20)
    errors = [np.square(one.encode(clips) - other.encode(clips)).mean() for one in (found, apart)]
    assert errors[0] < 0.9 * errors[1], "the regression explains something of them"


def test_like_needs_a_readout_and_the_same_clips(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"like: .*found no readout"):
        add_readout(make(), ClipStore(store), SETTINGS, like=make())
    other = MAMPEncoder(make().config.replace(num_frames=32, readout_dim=6))
    with pytest.raises(ConfigError, match=r"like: .*found another num_frames"):
        add_readout(make(), ClipStore(store), SETTINGS, like=other)
    with pytest.raises(ConfigError, match="ridge: expected a number above zero, found 0"):
        fit_embeddings(torch.randn(9, 4), torch.randn(9, 2), 0.0)


def test_regression_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 7, generator=generator), torch.randn(50, 3, generator=generator) + 5
    weight, bias = fit_embeddings(x, y, 0.2)
    standard = ((x - x.mean(0)) / x.std(0)).double().numpy()
    expected = linear_model.Ridge(alpha=10.0).fit(standard, y.double().numpy()).predict(standard)
    np.testing.assert_allclose((x @ weight.T + bias).numpy(), expected, atol=1e-4)


def test_command_like(store: Path, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "plain")
    add_readout(make(), ClipStore(store), SETTINGS).save_pretrained(tmp_path / "other")
    words = f"readout {tmp_path / 'out'} --weights {tmp_path / 'plain'} --like {tmp_path / 'other'} --data {store}"
    assert main([*words.split(), "--clips", "64", "--window", "8", "24"]) == 0
    assert MAMPEncoder.from_pretrained(tmp_path / "out").config.readout_dim == 6
