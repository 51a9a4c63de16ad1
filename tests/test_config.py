"""Configurations refuse what makes no sense, and survive being written down."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from mamp import MAMPConfig, Preprocessing
from mamp.errors import ConfigError, MAMPError


def test_defaults_are_the_published_model() -> None:
    config = MAMPConfig()
    assert (config.dim_in, config.dim_feat, config.depth, config.num_heads, config.mlp_ratio) == (3, 256, 8, 8, 4)
    assert (config.num_frames, config.num_joints, config.patch_size, config.t_patch_size) == (120, 25, 1, 4)
    assert config.qkv_bias is True
    assert config.grid == (30, 25) and config.num_tokens == 750 and config.patch_values == 12
    assert config.preprocessing == Preprocessing(
        layout="ntu25",
        unit="m",
        up="y",
        center="clip",
        center_joint="spine_mid",
        facing=False,
        max_people=2,
        absent_person="zeros",
        crop=0.95,
        stream="joint",
    )


@pytest.mark.parametrize(
    "config",
    [
        MAMPConfig(),
        MAMPConfig(dim_feat=64, depth=0, num_heads=4, mlp_ratio=2.5, num_frames=60, t_patch_size=5, qkv_bias=False),
        MAMPConfig(preprocessing=Preprocessing(center="none", facing=True, max_people=None, absent_person="none")),
    ],
)
def test_round_trip(config: MAMPConfig) -> None:
    written = json.loads(json.dumps(config.to_dict()))
    assert MAMPConfig.from_dict(written) == config
    assert isinstance(written["preprocessing"], dict)


def test_frozen() -> None:
    config: Any = MAMPConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3


def test_replace_checks_again() -> None:
    config = MAMPConfig()
    assert config.replace(depth=4).depth == 4 and config.depth == 8
    with pytest.raises(ConfigError, match=r"config\.depth"):
        config.replace(depth=-1)


@pytest.mark.parametrize(
    "values, message",
    [
        (
            {"dim_feet": 3},
            r"config: unknown field 'dim_feet'\. Did you mean 'dim_feat'\? Known fields: dim_in, dim_feat",
        ),
        ({"zzzzzz": 3}, r"config: unknown field 'zzzzzz'\. Known fields"),
        (
            {"preprocessing": {"absent": "zeros"}},
            r"preprocessing: unknown field 'absent'\. Did you mean 'absent_person'",
        ),
        ({"preprocessing": 3}, r"config.preprocessing: expected Preprocessing or a dict, found 3"),
        ({"dim_feat": "256"}, r"config.dim_feat: expected a whole number of at least 1, found '256'"),
        ({"dim_feat": 256.0}, r"config.dim_feat: expected a whole number"),
        ({"dim_feat": 0}, r"config.dim_feat: .*found 0"),
        ({"dim_in": True}, r"config.dim_in: .*found True"),
        ({"depth": -1}, r"config.depth: expected a whole number of at least 0, found -1"),
        ({"mlp_ratio": math.nan}, r"config.mlp_ratio: expected a number of at least 1e-06, found nan"),
        ({"mlp_ratio": math.inf}, r"config.mlp_ratio: .*found inf"),
        ({"mlp_ratio": 0}, r"config.mlp_ratio: .*found 0"),
        ({"mlp_ratio": None}, r"config.mlp_ratio: .*found None"),
        ({"qkv_bias": "yes"}, r"config.qkv_bias: expected one of True, False; found 'yes'"),
        ({"num_heads": 7}, r"config.dim_feat: expected a multiple of num_heads \(7\), found 256"),
        ({"num_frames": 30}, r"config.num_frames: expected a multiple of t_patch_size \(4\), found 30"),
        ({"patch_size": 2}, r"config.num_joints: expected a multiple of patch_size \(2\), found 25"),
        (
            {"preprocessing": {"center": "frame"}},
            r"preprocessing.center: expected one of 'clip', 'none'; found 'frame'",
        ),
        ({"preprocessing": {"unit": "feet"}}, r"preprocessing.unit: expected one of 'm', 'cm', 'mm'; found 'feet'"),
        ({"preprocessing": {"up": "x"}}, r"preprocessing.up: expected one of 'y', 'z'; found 'x'"),
        ({"preprocessing": {"stream": "speed"}}, r"preprocessing.stream: expected one of 'joint', 'bone', 'motion'"),
        ({"preprocessing": {"absent_person": "ones"}}, r"preprocessing.absent_person: expected one of 'zeros', 'copy'"),
        ({"preprocessing": {"facing": "no"}}, r"preprocessing.facing: expected one of True, False; found 'no'"),
        (
            {"preprocessing": {"max_people": 0}},
            r"preprocessing.max_people: expected a whole number of at least 1, found 0",
        ),
        ({"preprocessing": {"max_people": None}}, r"absent_person: 'zeros' needs a number in max_people, found None"),
        ({"preprocessing": {"crop": 0}}, r"preprocessing.crop: expected a share in \(0, 1\], found 0"),
        ({"preprocessing": {"crop": 1.01}}, r"preprocessing.crop: expected a share in \(0, 1\], found 1.01"),
        ({"preprocessing": {"crop": "all"}}, r"preprocessing.crop: expected a number"),
        ([1, 2], r"config: expected an object of fields, found list"),
        (None, r"config: expected an object of fields, found NoneType"),
    ],
)
def test_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        MAMPConfig.from_dict(values)
    assert isinstance(caught.value, MAMPError) and isinstance(caught.value, ValueError)


def test_where_is_said() -> None:
    with pytest.raises(ConfigError, match=r"weights/config\.json: unknown field"):
        MAMPConfig.from_dict({"wide": 1}, where="weights/config.json")
