"""Grids of ablations over any base recipe.

Each arm also defines a recipe: ``ntu60-xsub/mask-ratio-0.8`` is ``ntu60-xsub`` with the change of that arm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from mamp.config import suggest
from mamp.errors import ConfigError


@dataclass(frozen=True)
class Grid:
    """Values of one field, one arm each.

    Attributes:
        name: Name on the command line.
        description: One line.
        field: Dotted name of the field.
        values: Name of the arm -> value.
        given: Further fields that all arms set, so that the field has an effect.
    """

    name: str
    description: str
    field: str
    values: Mapping[str, str]
    given: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _numbered(name: str, values: tuple[str, ...]) -> dict[str, str]:
    return {f"{name}-{value}": value for value in values}


# The values are ours: they surround the published settings.
GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        Grid(
            "target",
            "what is predicted: the motion that follows, or the coordinates",
            "objective.target",
            {"target-motion": "motion", "target-joints": "joints"},
            {"objective.joints_weight": "0"},
        ),
        Grid(
            "masking",
            "which tokens are hidden: by motion, at random, whole joints, body parts",
            "objective.masking",
            {f"masking-{kind}": kind for kind in ("motion", "random", "tube", "parts")},
        ),
        Grid(
            "mask-ratio",
            "how many tokens are hidden",
            "objective.mask_ratio",
            _numbered("mask-ratio", ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95")),
        ),
        Grid(
            "temperature",
            "how strongly motion decides what is hidden: the smaller, the more",
            "objective.motion_aware_tau",
            _numbered("temperature", ("0.4", "0.6", "0.8", "1", "1.5")),
            {"objective.masking": "motion"},
        ),
        Grid(
            "decoder-depth",
            "blocks of the decoder",
            "objective.decoder_depth",
            _numbered("decoder-depth", ("1", "2", "3", "5", "7")),
        ),
        Grid(
            "stride",
            "frames between the two of which motion is the difference",
            "objective.motion_stride",
            _numbered("stride", ("1", "2", "3", "4")),
            {"objective.target": "motion"},
        ),
        Grid(
            "streams",
            "what the encoder sees: joints, bones, motion, or motion of bones",
            "encoder.preprocessing.stream",
            {f"stream-{kind.replace('_', '-')}": kind for kind in ("joint", "bone", "motion", "bone_motion")},
        ),
    )
}


def get_grid(name: str) -> Grid:
    """Return a grid by name; :class:`ConfigError` if unknown."""
    if name not in GRIDS:
        raise ConfigError(f"unknown grid {name!r}.{suggest(name, list(GRIDS))} Known grids: {', '.join(GRIDS)}.")
    return GRIDS[name]


def get_arm(name: str) -> dict[str, str]:
    """Fields that an arm sets, by dotted name; :class:`ConfigError` if no grid has such an arm."""
    for grid in GRIDS.values():
        if name in grid.values:
            return {**grid.given, grid.field: grid.values[name]}
    known = [arm for grid in GRIDS.values() for arm in grid.values]
    raise ConfigError(f"unknown arm {name!r}.{suggest(name, known)} Known arms: {', '.join(known)}.")
