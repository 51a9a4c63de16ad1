"""Heads are kept: classifiers of evaluations and of published checkpoints, in Python and on the command line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closed_form import config_of, to_ours
from evaluate_helpers import CLASSES, make_store, make_weights
from supervised_helpers import FINETUNE, LINEAR

from mamp import MAMPClassifier, MAMPEncoder, Skeleton
from mamp.cli.main import main
from mamp.data import ClipStore
from mamp.errors import WeightsError
from mamp.evaluate.predictions import Predictions
from mamp.evaluate.runner import evaluate
from mamp.hub import convert_checkpoint
from mamp.readers.ntu import CLASSES as NTU
from mamp.readers.pku import CLASSES as PKU


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def results(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a linear probe and of fine-tuning."""
    folder = tmp_path_factory.mktemp("results")
    weights = make_weights(folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mamp.evaluate.result._draw", lambda *args: [])
        for protocol, settings in (("linear", LINEAR), ("finetune", FINETUNE)):
            words = {name: str(value) for name, value in settings.items() if not isinstance(value, (tuple, dict))}
            evaluate(protocol, str(weights), store, folder / protocol, overrides={**words, "workers": "0"})
    return folder


def recordings(store: Path, split: str = "test") -> tuple[list[Skeleton], list[str]]:
    clips = ClipStore(store)
    chosen = np.flatnonzero(clips.columns["split"] == split)
    return [clips.recording(int(clip)) for clip in chosen], [str(clips.columns["name"][clip]) for clip in chosen]


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_an_evaluation_leaves_a_classifier_that_says_the_same(results: Path, store: Path, protocol: str) -> None:
    classifier = MAMPClassifier.from_pretrained(results / protocol)
    assert classifier.classes == tuple(CLASSES)
    clips, names = recordings(store)
    labels, probabilities = classifier.predict(iter(clips), batch_size=4)
    table = Predictions.read(results / protocol / "predictions.npz")
    order = [table.clip.tolist().index(name) for name in names]
    assert table.scores is not None
    np.testing.assert_allclose(probabilities, torch.from_numpy(table.scores[order]).softmax(dim=1).numpy(), atol=1e-5)
    assert labels == [CLASSES[k] for k in table.scores[order].argmax(axis=1)]
    one = classifier.predict(clips[0])
    assert one.labels == labels[0] and one.probabilities.shape == (3,)
    assert classifier.predict([]).probabilities.shape == (0, 3)
    folder = results / protocol / "seed=0" / "classifier"
    encoder = MAMPEncoder.from_pretrained(folder)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, classifier.state_dict()[name])


def test_saved_and_read_back(results: Path, store: Path, tmp_path: Path) -> None:
    first = MAMPClassifier.from_pretrained(results / "finetune")
    first.save_pretrained(tmp_path / "copy")
    second = MAMPClassifier.from_pretrained(tmp_path / "copy")
    clips, _ = recordings(store)
    np.testing.assert_array_equal(first.predict(clips).probabilities, second.predict(clips).probabilities)
    assert second.classes == first.classes


def test_files_that_do_not_belong_together(results: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected a classifier, found an encoder without head.json"):
        MAMPClassifier.from_pretrained(results / "encoder")
    folder = shutil.copytree(results / "linear" / "seed=0" / "classifier", tmp_path / "mixed")
    shutil.copy(results / "finetune" / "seed=0" / "encoder" / "model.safetensors", folder)
    with pytest.raises(WeightsError, match=r"expected the weights of config.json"):
        MAMPClassifier.from_pretrained(folder)
    shutil.copy(results / "finetune" / "seed=0" / "encoder" / "config.json", folder)
    with pytest.raises(WeightsError, match="the head was trained on another encoder"):
        MAMPClassifier.from_pretrained(folder)
    (folder / "head.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        MAMPClassifier.from_pretrained(folder)
    two = shutil.copytree(results / "linear", tmp_path / "two")
    shutil.copytree(two / "seed=0", two / "seed=1")
    with pytest.raises(WeightsError, match=r"expected one classifier, found several: .*seed=0.*seed=1"):
        MAMPClassifier.from_pretrained(two)


def test_command(results: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, names = recordings(store)
    files = []
    for clip, name in zip(clips, names, strict=True):
        files.append(str(tmp_path / f"{name}.npy"))
        np.save(files[-1], clip.positions)
    options = ["--weights", str(results / "finetune"), "--layout", "ntu25", "--fps", "30", "--unit", "m"]
    assert main(["predict", *files, *options, "-o", str(tmp_path / "out.csv"), "--top", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    expected = MAMPClassifier.from_pretrained(results / "finetune").predict(clips)
    assert [one["label"] for one in found] == expected.labels and len(found[0]["classes"]) == 2
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == expected.labels and set(CLASSES) < set(rows[0])
    assert float(rows[0][CLASSES[0]]) == pytest.approx(float(expected.probabilities[0, 0]), abs=1e-4)
    assert main(["predict", str(tmp_path / "absent.bvh"), files[0], *options]) == 1
    said = capsys.readouterr()
    assert "absent.bvh" in said.err and f"{files[0]}: {expected.labels[0]} " in said.out


# Heads of published checkpoints


def golden_arrays(*files: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in files:
        with np.load(path) as file:
            found |= dict(file)
    return found


def published(arrays: dict[str, Any], kind: str) -> dict[str, torch.Tensor]:
    """State dict of a published linear or fine-tuned checkpoint."""
    prefixes = ("linprobe/sd/", "linprobe_bn/sd/") if kind == "linear" else ("finetune/sd/",)
    state = {
        name.removeprefix(prefix): torch.tensor(arrays[name])
        for prefix in prefixes
        for name in arrays
        if name.startswith(prefix)
    }
    return {name: value for name, value in state.items() if name not in ("head.fc.weight", "head.fc.bias")}


@pytest.mark.parametrize("kind", ["linear", "finetune"])
def test_logits_of_converted_heads(golden: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "linear":
        arrays = golden_arrays(golden / "encoder.npz", golden / "heads.npz")
    else:  # too large to keep with the tests
        arrays = golden_arrays(request.getfixturevalue("shared") / "reference" / "golden" / "encoder.npz")
    state = published(arrays, kind)
    torch.save({"model": state, "args": {"num_heads": config_of(str(arrays["cfg"])).num_heads}}, tmp_path / "c.pth")
    result = convert_checkpoint(tmp_path / "c.pth", tmp_path / "out", preset="ntu60-xsub")
    assert result.num_classes == 60 and not result.dropped
    classifier = MAMPClassifier.from_pretrained(tmp_path / "out")
    assert classifier.classes == NTU[:60] and classifier.classes[0] == "drink water"
    expected = arrays["linprobe_bn/logits" if kind == "linear" else "finetune/logits"]
    with torch.no_grad():
        np.testing.assert_allclose(classifier(to_ours(arrays["x"])).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("preset", "outputs"), [("ntu120-xsub", 120), ("pku2-xsub", 51), ("pku1-xsub", 60)])
def test_class_names_of_published_sets(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str, outputs: int
) -> None:
    state = published(golden_arrays(golden / "encoder.npz", golden / "heads.npz"), "linear")
    state |= {"head.fc.1.weight": torch.randn(outputs, 32), "head.fc.1.bias": torch.zeros(outputs)}
    torch.save({"model": state, "args": {"num_heads": 4}}, tmp_path / "c.pth")
    assert main(["convert", str(tmp_path / "c.pth"), str(tmp_path / "out"), "--preset", preset]) == 0
    assert f"encoder and head of {outputs} classes" in capsys.readouterr().out
    names = MAMPClassifier.from_pretrained(tmp_path / "out").classes
    known = NTU if preset.startswith("ntu") else PKU
    assert len(NTU) == 120 and len(PKU) == 51 and len(names) == len(set(names)) == outputs
    assert names[: len(known)] == tuple(known) and names[51:] in ((), tuple(map(str, range(51, 60))), NTU[51:])
