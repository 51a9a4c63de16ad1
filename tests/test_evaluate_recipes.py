"""The published protocols, key by key; and that the recipes do what they say."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluate_helpers import make_job, make_store, make_weights
from supervised_helpers import FINETUNE, LINEAR

from mamp.config import Preprocessing
from mamp.data import ClipStore, StoreWriter
from mamp.errors import ConfigError
from mamp.evaluate.cli import main
from mamp.evaluate.finetune import FinetuneConfig
from mamp.evaluate.linear import LinearConfig
from mamp.evaluate.recipes import RECIPES, get_evaluation_recipe
from mamp.evaluate.registry import PROTOCOLS
from mamp.evaluate.representation import preprocessing_of
from mamp.evaluate.result import read_results
from mamp.evaluate.runner import evaluate
from mamp.evaluate.supervised import source_of
from mamp.heads import BatchNorm, set_norm_clips
from mamp.options import override
from mamp.train.recipes import RECIPES as PRETRAINING

# What the published scripts and configurations set; the batch is that of all GPUs, norm_clips that of one of two.
SHARED = {
    "epochs": 100,
    "num_frames": None,  # those of the weights: 120
    "clip_grad": None,
    "precision": "float32",
    "eval_every": 1,
    "augmentation.crop_share": (0.5, 1.0),
    "augmentation.crop_min": 64,
    "augmentation.rotation": 0.3,
    "augmentation.mirror": 0.0,
    "augmentation.noise": 0.0,
}
LINEAR_SHARED = {**SHARED, "warmup_epochs": 0, "min_lr": 0.0, "momentum": 0.9, "weight_decay": 0.0, "augment": "train"}
LINEAR_SETS = {
    "ntu60-xsub": {"batch_size": 256, "norm_clips": 128, "lr": 0.1},
    "ntu60-xview": {"batch_size": 256, "norm_clips": 128, "lr": 0.1},
    "ntu120-xsub": {"batch_size": 256, "norm_clips": 128, "lr": 0.1},
    "ntu120-xset": {"batch_size": 256, "norm_clips": 128, "lr": 0.1},
    "pku1-xsub": {"batch_size": 128, "norm_clips": 64, "lr": 0.1},
    "pku2-xsub": {"batch_size": 32, "norm_clips": 16, "lr": 0.01},
}
FINETUNE_SHARED = {
    **SHARED,
    "batch_size": 48,
    "norm_clips": 24,
    "warmup_epochs": 5,
    "lr": 3e-4,
    "min_lr": 1e-5,
    "betas": (0.9, 0.999),
    "weight_decay": 0.05,
    "layer_decay": 0.8,
    "smoothing": 0.1,
    "drop_path": 0.3,
    "dropout": 0.3,
    "hidden": 2048,
}
PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    **{("linear", name): {**LINEAR_SHARED, **values} for name, values in LINEAR_SETS.items()},
    **{("finetune", name): FINETUNE_SHARED for name in LINEAR_SETS},
    **{("scratch", name): {**FINETUNE_SHARED, "layer_decay": 1.0} for name in LINEAR_SETS},
    **{("semi", name): {**FINETUNE_SHARED, "balanced": False} for name in LINEAR_SETS},
    **{("transfer", name): {**FINETUNE_SHARED, "preprocessing": name} for name in LINEAR_SETS},
}
PRETRAINING_SHARED = {
    "objective.mask_ratio": 0.9,
    "objective.motion_stride": 1,
    "objective.norm_target": True,
    "objective.decoder_dim_feat": 256,
    "optim.batch_size": 128,
    "optim.epochs": 400,
    "optim.warmup_epochs": 20,
    "optim.lr": 1e-3,
    "optim.min_lr": 5e-4,
    "optim.betas": (0.9, 0.95),
    "optim.weight_decay": 0.05,
    "encoder.dim_feat": 256,
    "encoder.depth": 8,
    "encoder.num_heads": 8,
    "encoder.mlp_ratio": 4,
    "encoder.num_frames": 120,
    "encoder.t_patch_size": 4,
    "encoder.preprocessing.crop": 0.95,
    "encoder.preprocessing.max_people": 2,
    "augment.crop_share": (0.5, 1.0),
    "augment.crop_min": 64,
    "augment.rotation": 0.3,
}
# Decoder blocks, temperature, centring, and what takes the place of an absent person.
PRETRAINING_SETS = {
    "ntu60-xsub": (3, 0.80, "clip", "zeros"),
    "ntu60-xview": (3, 0.80, "clip", "zeros"),
    "ntu120-xsub": (5, 0.75, "clip", "copy"),
    "ntu120-xset": (5, 0.75, "clip", "copy"),
    "pku1-xsub": (5, 0.80, "none", "zeros"),
    "pku2-xsub": (5, 0.80, "none", "zeros"),
}


def field(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize(("protocol", "name"), PUBLISHED)
def test_protocols_as_published(protocol: str, name: str) -> None:
    recipe = get_evaluation_recipe(name, protocol)
    config = override(PROTOCOLS[protocol].config, recipe.settings[protocol])
    expected = PUBLISHED[protocol, name]
    assert {key: field(config, key) for key in expected} == expected
    assert recipe.split == name.partition("-")[2]
    changed = {one.name for one in dataclasses.fields(config)} - {"preprocessing"}
    assert set(recipe.settings[protocol]) - {"preprocessing"} <= changed & {key.partition(".")[0] for key in expected}


def test_every_published_run_has_a_recipe() -> None:
    assert {(protocol, name) for name, recipe in RECIPES.items() for protocol in recipe.settings} == set(PUBLISHED)
    assert RECIPES["ntu60-xsub"].seeds == {"semi": (0, 1, 2, 3, 4)}
    with_notes = {(protocol, name) for name, recipe in RECIPES.items() for protocol in recipe.notes}
    assert with_notes == {("linear", "pku1-xsub"), ("linear", "pku2-xsub"), ("transfer", "pku2-xsub")}


@pytest.mark.parametrize("name", PRETRAINING_SETS)
def test_pre_training_as_published(name: str) -> None:
    config = PRETRAINING[name].config
    depth, tau, center, absent = PRETRAINING_SETS[name]
    expected = PRETRAINING_SHARED | {
        "objective.decoder_depth": depth,
        "objective.motion_aware_tau": tau,
        "encoder.preprocessing.center": center,
        "encoder.preprocessing.absent_person": absent,
        "data.protocol": name.partition("-")[2],
    }
    assert {key: field(config, key) for key in expected} == expected


def test_unknown_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'ntu60-xsup'. Did you mean 'ntu60-xsub'"):
        get_evaluation_recipe("ntu60-xsup", "linear")
    words = ["knn", "--recipe", "pku1", "--weights", "poses", "--data", "d", "--output", str(tmp_path)]
    assert main(words) == 2
    assert "recipe pku1: expected one of linear" in capsys.readouterr().err


# Batch norm over as many clips as one GPU had


@pytest.mark.parametrize("affine", [True, False])
def test_groups_are_normalised_as_on_gpus_of_their_own(affine: bool) -> None:
    torch.manual_seed(0)
    ours = BatchNorm(5, affine=affine)
    gpus = [torch.nn.BatchNorm1d(5, affine=affine) for _ in range(2)]
    set_norm_clips(torch.nn.Sequential(ours), 6)
    for _ in range(3):
        x = torch.randn(12, 5) * 3 + 1
        found = ours(x)
        for gpu, part, expected in zip(gpus, x.split(6), found.split(6), strict=True):
            torch.testing.assert_close(gpu(part), expected)
    state = gpus[0].state_dict()  # the buffers of the first one are broadcast to the others
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[key])
    x = torch.randn(4, 5)
    torch.testing.assert_close(ours.eval()(x), gpus[0].eval()(x))
    ours.train()
    ours.group = None
    torch.testing.assert_close(ours(x), torch.nn.BatchNorm1d(5, affine=affine)(x))


def test_groups_that_do_not_divide_the_batch(tmp_path: Path) -> None:
    store, weights = make_store(tmp_path / "store"), make_weights(tmp_path / "w")
    for protocol, config in (
        ("linear", LinearConfig(**LINEAR, norm_clips=4)),
        ("finetune", FinetuneConfig(**FINETUNE, norm_clips=5)),
    ):
        with pytest.raises(ConfigError, match="norm_clips: expected a divisor of the 6 clips"):
            PROTOCOLS[protocol].run(make_job(store, weights, tmp_path / protocol, config))


# Transfer: coordinates and absent people as in the runs of the set


def test_transfer_takes_the_preprocessing_of_the_set(tmp_path: Path) -> None:
    store, weights = (
        make_store(tmp_path / "store"),
        make_weights(tmp_path / "w", preprocessing=Preprocessing(absent_person="copy")),
    )
    config = FinetuneConfig(**FINETUNE, preprocessing="pku2-xsub")
    _, encoder = source_of(make_job(store, weights, tmp_path / "out", config), 0)
    assert encoder.config.preprocessing == preprocessing_of("pku2-xsub")
    assert (encoder.config.preprocessing.center, encoder.config.preprocessing.absent_person) == ("none", "zeros")
    _, plain = source_of(make_job(store, weights, tmp_path / "out", FinetuneConfig(**FINETUNE)), 0)
    for name, value in plain.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe decides split, settings and seeds; what is typed wins."""
    monkeypatch.setattr("mamp.evaluate.result._draw", lambda *args: [])
    plain = ClipStore(make_store(tmp_path / "store", per_class=12))
    with StoreWriter(tmp_path / "xsub", plain.layout, plain.info) as writer:
        for clip, name in enumerate(plain.columns["name"]):
            label, split = int(plain.columns["label"][clip]), str(plain.columns["split"][clip])
            writer.add(str(name), plain.read(clip), 30.0, label=label, split_xsub=split, split_xview="train")
    weights = make_weights(tmp_path / "w")
    small = ["--batch_size", "4", "--epochs", "2", "--warmup_epochs", "0", "--hidden", "8", "--workers", "0"]
    words = ["semi", "--recipe", "pku2", "--weights", str(weights), "--data", str(tmp_path / "xsub"), *small]
    words += ["--output", str(tmp_path / "out"), "--norm_clips", "2", "--share", "0.5", "--device", "cpu"]
    assert main(words) == 0
    found = read_results(tmp_path / "out")
    assert [trial["seed"] for trial in found["trials"]] == [0, 1, 2, 3, 4]
    assert found["data"]["protocol"] == "xsub" and found["settings"]["norm_clips"] == 2
    assert found["notes"][0] == "Settings of the published runs on PKU-MMD phase 2, cross-subject (recipe pku2-xsub)."
    typed = {option[2:]: word for option, word in zip(small[::2], small[1::2], strict=True)}
    typed |= {"norm_clips": "2", "share": "0.5"}
    same = evaluate(
        "semi", str(weights), tmp_path / "xsub", tmp_path / "out", range(5), split_protocol="xsub", overrides=typed
    )
    assert same == found


def test_page_of_deviations() -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "deviations_page.py"
    spec = importlib.util.spec_from_file_location("deviations_page", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run python benchmarks/deviations_page.py"
