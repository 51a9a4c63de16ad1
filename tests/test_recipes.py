"""The recipes: that each parses and builds, and that the published ones are the published ones."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from mamp.errors import ConfigError
from mamp.options import override, settings, show
from mamp.train.config import TrainConfig
from mamp.train.recipes import ALIASES, OPENMOCAP, RECIPES, get_recipe

# Decoder depth, tau, centring, absent person, training clips: SPEC, sections 1, 5 and the data preparation.
TABLE = {
    "ntu60-xsub": (3, 0.80, "clip", "zeros", 40091),
    "ntu60-xview": (3, 0.80, "clip", "zeros", 37646),
    "ntu120-xsub": (5, 0.75, "clip", "copy", 63026),
    "ntu120-xset": (5, 0.75, "clip", "copy", 54468),
    "pku1-xsub": (5, 0.80, "none", "zeros", None),
    "pku2-xsub": (5, 0.80, "none", "zeros", None),
}
PARAMETERS = {3: 8_789_004, 5: 10_368_524}


def test_names() -> None:
    versions = {f"openmocap-v{number}" for number in (1, 2, 3, 5)}
    stages = {"openmocap-prediction", "openmocap-agreement", "openmocap-once"}
    ours = {"openmocap", *versions, *stages, "openmocap-small", "forecast", "smoke"}
    assert set(RECIPES) == {*TABLE, *(f"{name}-mae" for name in TABLE), *ours}
    assert all(recipe.name == name and recipe.description and recipe.source for name, recipe in RECIPES.items())
    for alias, name in ALIASES.items():
        assert get_recipe(alias) is RECIPES[name]
    assert get_recipe("openmocap").config is OPENMOCAP


@pytest.mark.parametrize(("name", "near"), [("ntu60xsub", "ntu60-xsub"), ("smok", "smoke"), ("openmocab", "openmocap")])
def test_unknown_name_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown recipe '{name}'. Did you mean '{near}'"):
        get_recipe(name)


@pytest.mark.parametrize("suffix", ["", "-mae"])
@pytest.mark.parametrize("name", TABLE)
def test_published_recipes_have_the_published_settings(name: str, suffix: str) -> None:
    depth, tau, center, absent, clips = TABLE[name]
    recipe = RECIPES[name + suffix]
    config = recipe.config
    encoder, objective, augment, optim = config.encoder, config.objective, config.augment, config.optim
    assert recipe.clips == clips
    assert (encoder.dim_feat, encoder.depth, encoder.num_heads, encoder.mlp_ratio) == (256, 8, 8, 4)
    assert (encoder.num_frames, encoder.num_joints, encoder.t_patch_size, encoder.patch_size) == (120, 25, 4, 1)
    assert encoder.qkv_bias and encoder.num_tokens == 750
    expected = encoder.preprocessing
    assert (expected.layout, expected.unit, expected.up, expected.center_joint) == ("ntu25", "m", "y", "spine_mid")
    assert (expected.center, expected.max_people, expected.absent_person) == (center, 2, absent)
    assert (expected.crop, expected.facing, expected.stream) == (0.95, False, "joint")
    if suffix:
        assert (objective.target, objective.masking) == ("joints", "random")
    else:
        assert (objective.target, objective.masking, objective.motion_aware_tau) == ("motion", "motion", tau)
    assert (objective.mask_ratio, objective.motion_stride, objective.norm_target) == (0.9, 1, True)
    assert (objective.decoder_dim_feat, objective.decoder_depth, objective.decoded_tokens) == (256, depth, None)
    assert (objective.joints_weight, objective.agreement_weight, config.init) == (0, 0, None)
    assert (encoder.pooling, encoder.readout_dim) == ("mean", None)
    assert (optim.batch_size, optim.epochs, optim.warmup_epochs, optim.lr, optim.min_lr) == (128, 400, 20, 1e-3, 5e-4)
    assert (optim.betas, optim.weight_decay, optim.clip_grad, optim.ema) == ((0.9, 0.95), 0.05, None, None)
    assert (augment.crop_share, augment.crop_min, augment.window, augment.rotation) == ((0.5, 1.0), 64, None, 0.3)
    off = {"center": False, "facing": False, "view_rotation": 0, "mirror": 0, "scale": (1, 1), "speed": (1, 1)}
    off |= {"joint_dropout": 0, "person_dropout": 0, "noise": 0, "wobble": 0, "proportions": 0}
    assert {field: getattr(augment, field) for field in off} == off
    assert set(off) | {"crop_share", "crop_min", "window", "rotation"} == {f.name for f in dataclasses.fields(augment)}
    assert (config.run.precision, config.data.split, config.data.samples_per_epoch) == ("float32", "train", None)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_parses_and_builds(name: str) -> None:
    config = RECIPES[name].config
    # Its own values, written as a user would type them, give the same configuration.
    typed = {setting.name: shlex.split(show(setting.default)) for setting in settings(config)}
    assert override(config, typed) == config == TrainConfig(**config.to_dict())
    model = config.build_model()
    # 80 % of 750 masked, 30 % of 250, half of 400; else 90 %
    kept = dict.fromkeys(("openmocap", "openmocap-v5", "openmocap-agreement", "openmocap-once"), 149)
    kept |= {"openmocap-small": 175, "forecast": 200}
    assert model.num_kept == kept.get(name, 74)
    if name in TABLE:
        assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[TABLE[name][0]]
    assert all(setting.help.endswith((".", ")")) for setting in settings(config)), "a field without documentation"
