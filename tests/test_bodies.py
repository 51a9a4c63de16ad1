"""Other bodies than a person's, end to end: layouts of one's own, stores, training, evaluation, pictures, weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mamp.layouts.layout as registry
from mamp import Layout, MAMPConfig, MAMPEncoder, Preprocessing, Skeleton, get_layout, load, register_layout
from mamp.data import ClipStore
from mamp.data.augment import Augmentation
from mamp.errors import ConfigError, DataError, LayoutError
from mamp.evaluate.cli import main as evaluate
from mamp.geometry import body_height, mirrored_joints, to_the_right
from mamp.layouts import MODEL_LAYOUT, read_layout, write_layout
from mamp.layouts.tables import NTU25_BONES
from mamp.prepare.__main__ import main as prepare
from mamp.preprocessing import normalize, to_stream
from mamp.pretraining import MAMPForPretraining
from mamp.synthetic.bodies import BODIES, DOG, synthesize_body, write_bodies
from mamp.train.cli import main as train
from mamp.train.engine import start_from

SMALL = [
    "--optim.epochs", "2", "--optim.warmup_epochs", "1", "--optim.batch_size", "8", "--data.samples_per_epoch", "16",
    "--encoder.num_frames", "40", "--encoder.depth", "1", "--encoder.dim_feat", "16", "--encoder.num_heads", "2",
    "--objective.decoder_dim_feat", "16", "--objective.motion_stride", "1", "--run.device", "cpu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process, which knows the layouts of the package only."""
    for name in set(registry.REGISTRY) - {"ntu25", "hand21", "kinect20"}:
        monkeypatch.delitem(registry.REGISTRY, name)


def dog(action: str = "walk", seed: int = 0, seconds: float = 2.0) -> Skeleton:
    register_layout("dog12", DOG.joints, parents=DOG.parents, pairs=DOG.pairs, parts=DOG.parts, overwrite=True)
    return Skeleton(synthesize_body("dog", action, np.random.default_rng(seed), seconds), "dog12", fps=30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stores and trained weights of a hand and of a dog, made by the commands."""
    folder = tmp_path_factory.mktemp("bodies")
    write_layout(DOG, folder / "dog12.json")
    for body, name in (("hand", "hand21"), ("dog", str(folder / "dog12.json"))):
        raw, store, run = (folder / f"{body}-{kind}" for kind in ("raw", "store", "run"))
        write_bodies(raw, body, 4)
        given = ["--labels", str(raw / "labels.csv"), "--unit", "m", "--up", "y", "--body", name, "--workers", "1"]
        assert prepare(["folder", str(raw), str(store), *given]) == 0
        more = ["--objective.masking", "parts", "--encoder.preprocessing.stream", "bone"] if body == "hand" else [
            "--augment.mirror", "0.5", "--augment.facing", "true", "--augment.proportions", "0.1",
            "--augment.joint_dropout", "0.1", "--objective.missing_parts", "0.5",
            "--encoder.preprocessing.facing", "true",
        ]  # fmt: skip
        assert train(["smoke", "--data", str(store), "--output", str(run), *SMALL, *more]) == 0
    registry.REGISTRY.pop("dog12")
    yield folder
    registry.REGISTRY.pop("dog12", None)


@pytest.mark.parametrize(("body", "layout"), [("hand", "hand21"), ("dog", "dog12")])
@pytest.mark.parametrize(
    "protocol", [["knn"], ["linear", "--epochs", "1", "--warmup_epochs", "0", "--batch_size", "4"]]
)
def test_evaluate(runs: Path, body: str, layout: str, protocol: list[str], capsys: Any, monkeypatch: Any) -> None:
    forget(monkeypatch)
    given = ["--weights", str(runs / f"{body}-run"), "--data", str(runs / f"{body}-store"), "--json"]
    assert evaluate([*protocol, *given, "--output", str(runs / f"{body}-{protocol[0]}"), "--seeds", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"]["layout"] == layout and found["data"]["test_clips"] == 8
    assert set(found["data"]["classes"]) == set(BODIES[body][2])


def test_poses_of_other_bodies(runs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline without an encoder takes what the weights are for, and by itself people."""
    forget(monkeypatch)
    given = ["--data", str(runs / "dog-store"), "--seeds", "0", "--json"]
    weights = f"poses:{runs / 'dog-run'}"
    assert evaluate(["knn", "--weights", weights, *given, "--output", str(runs / "poses")]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["layout"] == "dog12"
    assert evaluate(["knn", "--weights", "poses", *given, "--output", str(runs / "people")]) == 1
    assert "the weights expect the layout ntu25, the clips have dog12" in capsys.readouterr().err


def test_packed_corpus(tmp_path: Path) -> None:
    """Many recordings of one body in one file, named as its joints are."""
    write_layout(DOG, tmp_path / "dog12.json")
    rng = np.random.default_rng(0)
    clips = [synthesize_body("dog", action, rng) for action in ("walk", "trot", "walk", "trot")]
    offsets = np.cumsum([0, *map(len, clips)])
    joints, parents, label = np.array(DOG.joints), np.array(DOG.parents), np.array([0, 1, 0, 1])
    x = np.concatenate(clips).astype(np.float32)
    np.savez(tmp_path / "dogs.npz", positions=x, offsets=offsets, joints=joints, parents=parents, fps=30.0, label=label)
    given = [str(tmp_path / "dogs.npz"), str(tmp_path / "store"), "--body", str(tmp_path / "dog12.json")]
    assert prepare(["packed", *given, "--max-speed", "none"]) == 0
    store = ClipStore(tmp_path / "store")
    assert store.layout.name == "dog12" and len(store) == 4
    np.testing.assert_allclose(store.read(1)[0], clips[1], atol=1e-5)


def test_weights_know_their_body(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the weights say what a dog is, its recordings are embedded, and others refused by name."""
    forget(monkeypatch)
    encoder = MAMPEncoder.from_pretrained(runs / "dog-run")
    assert encoder.config.preprocessing.layout == "dog12" and encoder.config.num_joints == 12
    assert "| Body | `dog12` |" in (runs / "dog-run" / "encoder" / "README.md").read_text()
    recording = Skeleton(synthesize_body("dog", "trot", np.random.default_rng(1)), "dog12", fps=30)
    assert get_layout("dog12").parts == DOG.parts
    for pool, shape in (("clip", (16,)), ("joint", (12, 16)), ("frame", (90, 16))):
        found = encoder.encode(recording, pool=pool)  # type: ignore[call-overload]
        assert found.shape == shape and np.isfinite(found).all()
    hand = Skeleton(synthesize_body("hand", "fist", np.random.default_rng(1)), "hand21", fps=30)
    with pytest.raises(LayoutError, match="expected the body 'dog12', found layout 'hand21' of the body 'hand21'"):
        encoder.encode(hand)
    person = Skeleton(np.random.default_rng(0).normal(size=(9, 20, 3)), "kinect20", fps=30)
    with pytest.raises(LayoutError, match="expected the body 'dog12', found layout 'kinect20' of the body 'ntu25'"):
        encoder.encode(person)
    with pytest.raises(LayoutError, match="expected the body 'ntu25', found layout 'dog12' of the body 'dog12'"):
        MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2)).encode(recording)
    hands = MAMPEncoder.from_pretrained(runs / "hand-run")
    assert np.isfinite(hands.encode(hand)).all()


def test_stores_and_weights_of_other_bodies_are_refused(runs: Path, tmp_path: Path, capsys: Any) -> None:
    given = ["--weights", str(runs / "dog-run"), "--data", str(runs / "hand-store"), "--output", str(tmp_path / "e")]
    assert evaluate(["knn", *given]) == 1
    assert "the weights expect the layout dog12, the clips have hand21" in capsys.readouterr().err
    model = MAMPForPretraining(MAMPConfig(preprocessing=Preprocessing(layout="hand21"), num_joints=21))
    with pytest.raises(ConfigError, match="are weights for the body 'dog12', these clips are of 'hand21'"):
        start_from(model, str(runs / "dog-run"))
    given = [
        "--data",
        str(runs / "dog-store"),
        "--output",
        str(tmp_path / "run"),
        "--encoder.preprocessing.layout",
        "hand21",
    ]
    assert train(["smoke", *given]) == 1
    assert "layout" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_store_carries_its_layout(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    store = ClipStore(runs / "dog-store")
    assert store.layout.parts == DOG.parts and store.layout.pairs == DOG.pairs and store.layout.center == "pelvis"
    assert store.info["preprocessing"]["center_joint"] == "pelvis"
    assert not store.read(0)[0, 0, 0].any(), "centred on the pelvis"
    assert "body" not in ClipStore(runs / "hand-store").info, "every copy of the package knows hands"
    registry.REGISTRY["dog12"] = replace(DOG, center="tail")
    with pytest.raises(LayoutError, match="a different layout is registered as 'dog12'"):
        ClipStore(runs / "dog-store")


def test_pictures(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from mamp.cli.main import main

    raw = runs / "dog-raw" / "walk-0.csv"
    given = ["--layout", str(runs / "dog12.json"), "--unit", "m", "--up", "y"]
    assert main(["plot", str(raw), "-o", str(tmp_path / "a.png"), *given]) == 0
    assert (
        main(
            [
                "view",
                str(raw),
                "-o",
                str(tmp_path / "a.html"),
                "--weights",
                str(runs / "dog-run"),
                "--no-browser",
                *given,
            ]
        )
        == 0
    )
    assert main(["info", str(raw), "--picture", str(tmp_path / "b.png"), *given]) == 0
    embeddings = str(tmp_path / "e.npz")
    assert (
        main(
            [
                "embed",
                str(raw),
                str(raw.with_name("trot-0.csv")),
                "-o",
                embeddings,
                "--weights",
                str(runs / "dog-run"),
                *given,
            ]
        )
        == 0
    )
    assert main(["map", embeddings, "-o", str(tmp_path / "m.html"), *given]) == 0
    assert all(path.stat().st_size > 5000 for path in tmp_path.glob("*.png"))
    assert '"pelvis"' in (tmp_path / "a.html").read_text() or (tmp_path / "a.html").stat().st_size > 50_000


def test_labels_from_examples(runs: Path) -> None:
    from mamp.label import FewShotClassifier

    layout = read_layout(runs / "dog12.json")
    labels = ["walk", "bound"] * 3
    recordings = [
        Skeleton(synthesize_body("dog", one, np.random.default_rng(i)), layout, 30) for i, one in enumerate(labels)
    ]
    model = FewShotClassifier(MAMPEncoder.from_pretrained(runs / "dog-run")).fit(recordings, labels)
    assert set(model.predict(recordings)) <= {"walk", "bound", "unknown"}


def test_ntu25_is_one_of_the_bodies() -> None:
    assert MODEL_LAYOUT.bones == NTU25_BONES
    assert MODEL_LAYOUT.is_body and MODEL_LAYOUT.center == "spine_mid"
    assert all(one.body in ("ntu25", "hand21") for one in registry.REGISTRY.values())


def test_hands_of_openxr_are_those_of_mediapipe() -> None:
    x = np.random.default_rng(0).normal(size=(3, 26, 3)).astype(np.float32)
    hand = Skeleton(x, "openxr26", fps=30).to_layout("hand21")
    assert hand.tracked.all() and hand.layout.name == "hand21"
    for ours, theirs in (("wrist", "wrist"), ("index_finger_pip", "index_intermediate"), ("pinky_tip", "little_tip")):
        at = get_layout("openxr26").joints.index(theirs)
        assert np.array_equal(hand.positions[0, :, hand.layout.joints.index(ours)], x[:, at])
    fingers = get_layout("hand21").part_of
    assert fingers == (0, 0, 0, 0, 0, *(1 + number // 4 for number in range(16)))


def test_geometry_of_a_body() -> None:
    """Facing by the pairs, size by the longest chain, mirrored by the pairs, bones by the tree."""
    recording = dog()
    clip = normalize(
        recording, Preprocessing(layout="dog12", facing=True, height=2.0, max_people=1, absent_person="none")
    )
    right = to_the_right(clip.positions[0], DOG).mean(axis=0)
    assert abs(right[2]) < 1e-2 * abs(right[0]) and right[0] > 0, "faces negative z, the right side at larger x"
    assert body_height(clip.positions[0], clip.tracked[0], DOG) == pytest.approx(2.0, rel=1e-4)
    order = mirrored_joints(DOG)
    assert DOG.joints[order[DOG.joints.index("left_knee")]] == "right_knee" and order[0] == 0
    x = clip.positions
    bones = to_stream(x, "bone", DOG)
    elbow, chest = DOG.joints.index("left_elbow"), DOG.joints.index("chest")
    np.testing.assert_array_equal(bones[..., elbow, :], x[..., elbow, :] - x[..., chest, :])
    assert not bones[..., 0, :].any(), "a root has no bone"


def test_parts_are_branches_unless_said() -> None:
    plain = replace(DOG, parts={})
    names = {part: {j for j, p in zip(DOG.joints, plain.part_of, strict=True) if p == part} for part in plain.part_of}
    assert names[0] >= {"pelvis", "chest", "head", "left_elbow", "right_forepaw"} and names[1] == {"tail"}
    assert len(names) == 4, "two hind legs are a part each"


def test_objects_without_sides() -> None:
    box = register_layout("box4", ["a", "b", "c", "d"])
    assert box.is_body and box.center == "a" and not box.pairs
    recording = Skeleton(np.random.default_rng(0).normal(size=(8, 4, 3)), box, fps=30)
    clip = normalize(recording, Preprocessing(layout="box4", height=1.0))
    assert np.isfinite(clip.positions).all()
    with pytest.raises(LayoutError, match="'box4' has no pairs of left and right joints"):
        normalize(recording, Preprocessing(layout="box4", facing=True))


def test_rig_with_more_joints_is_taken_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another layout of a body: names of a rig, more joints, another order."""
    recording = dog()
    names = [*DOG.joints[::-1], "ear"]
    mapping = {joint: joint for joint in DOG.joints}
    rig = register_layout("rig13", names, mapping, body="dog12")
    positions = np.concatenate([recording.positions[:, :, ::-1], recording.positions[:, :, :1]], axis=2)
    found = Skeleton(positions, rig, fps=30).to_layout("dog12")
    np.testing.assert_array_equal(found.positions, recording.positions)
    write_layout(rig, tmp_path / "rig.json")
    del registry.REGISTRY["rig13"]
    assert read_layout(tmp_path / "rig.json").mapping == mapping
    text = "HIERARCHY\nROOT b\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\nJOINT a\n{\nOFFSET 0 1 0\n"
    text += "CHANNELS 0\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n}\nMOTION\nFrames: 2\nFrame Time: 0.1\n0 0 0\n1 0 1\n"
    (tmp_path / "two.bvh").write_text(text)
    two = register_layout("two2", ["a", "b"])
    with caplog.at_level(logging.WARNING):
        read = load(tmp_path / "two.bvh", layout=two, up="y")
    assert read.positions[0, :, :, 1].tolist() == [[1, 0], [1, 0]], "in the order of the layout, and not of the file"
    assert "neither does the size of a body like 'two2'; metres taken" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": {"a": "z"}}, "'z' is the parent of a joint, but no joint"),
        ({"joints": ["a"]}, 'expected an object with "name" and "joints"'),
        ({"parts": {"one": ["a"]}}, "expected every joint in one part; b are in none or several"),
        ({"pairs": [["a"]]}, "expected lists of pairs"),
        ({"center": "z"}, "center names the joint 'z'"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"mapping": {"nose": "a"}}, "mapping names nose, not joints of the model"),
    ],
)
def test_malformed_layout_files(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = {"name": "new", "joints": {"a": None, "b": "a"}} | change
    (tmp_path / "new.json").write_text(json.dumps(values))
    with pytest.raises(LayoutError, match=message):
        read_layout(tmp_path / "new.json")
    assert "new" not in registry.REGISTRY


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(LayoutError, match=r"nothing\.json: cannot read the layout"):
        Skeleton(np.zeros((1, 2, 3)), str(tmp_path / "nothing.json"))
    with pytest.raises(LayoutError, match="a layout of the body 'dog12' needs a mapping to its joints"):
        register_layout("other", ["a"], body="dog12")
    (tmp_path / "broken.json").write_text("{")
    assert prepare(["folder", str(tmp_path), str(tmp_path / "store"), "--body", str(tmp_path / "broken.json")]) == 1
    assert "expected a layout as JSON" in capsys.readouterr().err


def test_masks_by_parts_need_parts() -> None:
    register_layout("box4", ["a", "b"], parents=[-1, 0])
    config = MAMPConfig(num_joints=2, dim_feat=16, num_heads=2, depth=1, preprocessing=Preprocessing(layout="box4"))
    with pytest.raises(ConfigError, match="expected a body of two parts or more; box4 is one part"):
        MAMPForPretraining(config, missing_parts=0.5)
    with pytest.raises(ConfigError, match="knows the body parts of the 25 joints of ntu25"):
        MAMPForPretraining(replace(config, preprocessing=Preprocessing()), masking="parts")


def test_augmentation_centres_on_the_centre(runs: Path) -> None:
    from mamp.data.augment import augment
    from mamp.data.loader import TrainingBatches

    store = ClipStore(runs / "dog-store")
    settings = Augmentation(window=(30, 60), center=True, rotation=0.0)
    batch = TrainingBatches(store, settings, 4, 1, "none", 0, 0)[0][0]
    x = augment(batch, settings, store.layout, 40).x
    middle = x[:, 0, 0, store.layout.joints.index("pelvis")]
    torch.testing.assert_close(middle, torch.zeros_like(middle), atol=1e-5, rtol=0)


def test_layout_of_another_body_is_no_person() -> None:
    assert Layout("x", ("a",), (-1,)).body == "ntu25", "as before: what is not said is a layout of people"
    with pytest.raises(DataError):
        ClipStore("nowhere")
