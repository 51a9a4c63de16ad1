"""Configurations: frozen dataclasses that reject unknown fields and invalid values."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

from mamp.errors import ConfigError

POOLINGS = ("mean", "max", "std")
Pool = Literal["clip", "person", "frame", "joint", "tokens"]  # unit of an embedding
Attending = Literal["joint", "factorised", "local"]  # which tokens attend to which

_T = TypeVar("_T")


def suggest(name: str, known: list[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name closest to ``name``, or ``""``."""
    near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    return "one of many digits" if isinstance(value, int) and value.bit_length() > 200 else reprlib.repr(value)


def from_dict(cls: type[_T], values: Any, where: str) -> _T:
    """Create the dataclass ``cls`` from a mapping; :class:`ConfigError` for unknown fields."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected an object of fields, found {type(values).__name__}.")
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{where}: unknown field {_shown(name)}.{suggest(str(name), known)} Known fields: {', '.join(known)}. "
                "A newer version of mamp may have written it: upgrade, or remove the field."
            )
    return cls(**values)


def _check_number(where: str, name: str, value: object, low: float, whole: bool, high: float = 1e9) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        large = isinstance(value, kinds) and value > high
        bound = f"at most {high:,.0f}" if large else f"at least {low:g}"
        raise ConfigError(f"{where}.{name}: expected {kind} of {bound}, found {_shown(value)}.")


def _check_choice(where: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{where}.{name}: expected one of {', '.join(map(repr, choices))}; found {_shown(value)}.")


def _check_pooling(pooling: object) -> None:
    parts = pooling.split("+") if isinstance(pooling, str) else []
    if not parts or len(set(parts)) < len(parts) or not set(parts) <= set(POOLINGS):
        raise ConfigError(
            f"config.pooling: expected {', '.join(POOLINGS)}, or several joined by '+'; found {_shown(pooling)}."
        )


@dataclass(frozen=True)
class Preprocessing:
    """Input format of a set of weights, stored in the checkpoint and applied by ``encode``.

    Coordinates are right-handed, joints in the order of ``layout``.

    Attributes:
        layout: Layout of the joints.
        unit: Unit of length: ``"m"`` (published), ``"cm"`` or ``"mm"``.
        up: Axis that points up: ``"y"`` (published) or ``"z"``.
        center: ``"clip"`` subtracts the position of ``center_joint`` in the first frame in which the first person is
            tracked from the whole clip (published for NTU RGB+D). ``"none"`` keeps camera coordinates (published for
            PKU-MMD).
        center_joint: Joint used by ``center``; the default stands for the centre of the layout where that is of another
            body than a person's.
        facing: Rotate the clip about the vertical so that the first person faces the camera (negative z) on average.
        max_people: Maximum number of people; those who move most are kept. ``None`` keeps all.
        absent_person: Padding of clips with fewer than ``max_people`` people: ``"zeros"`` (NTU-60), ``"copy"`` of the
            only person (NTU-120), or ``"none"`` to encode only those present.
        crop: Share of the frames to keep, from the middle of the clip (published for testing: 0.95).
        stream: Input of the model: ``joint`` positions, ``bone`` vectors, ``motion`` between frames (of the resized
            clip), or ``bone_motion``.
        height: Scale each clip so that the first person has this height in metres, measured from tracked trunk and
            limbs; ``None`` (published) keeps the size. Of another body, it is the length of the longest chain of bones
            from the root.
        missing: Handling of joints, frames and people that were not tracked: ``"drop"`` removes their tokens,
            ``"fill"`` interpolates them. The padding of ``absent_person`` is encoded either way.
        apart: Centre, turn and scale each person alone instead of all as the first. Embeddings of clips with several
            people then also hold how these stand to each other (:mod:`mamp.relation`), if the weights have a readout,
            which makes embeddings of about the same size as those numbers. Training places people by the first in any
            case.
    """

    layout: str = "ntu25"
    unit: Literal["m", "cm", "mm"] = "m"
    up: Literal["y", "z"] = "y"
    center: Literal["clip", "none"] = "clip"
    center_joint: str = "spine_mid"
    facing: bool = False
    max_people: int | None = 2
    absent_person: Literal["zeros", "copy", "none"] = "zeros"
    crop: float = 0.95
    stream: Literal["joint", "bone", "motion", "bone_motion"] = "joint"
    height: float | None = None
    missing: Literal["drop", "fill"] = "drop"
    apart: bool = False

    def __post_init__(self) -> None:
        where = "preprocessing"
        for name in ("layout", "center_joint"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{where}.{name}: expected a name, found {type(getattr(self, name)).__name__}.")
        _check_choice(where, "unit", self.unit, ("m", "cm", "mm"))
        _check_choice(where, "up", self.up, ("y", "z"))
        _check_choice(where, "center", self.center, ("clip", "none"))
        _check_choice(where, "absent_person", self.absent_person, ("zeros", "copy", "none"))
        _check_choice(where, "stream", self.stream, ("joint", "bone", "motion", "bone_motion"))
        _check_choice(where, "missing", self.missing, ("drop", "fill"))
        if self.height is not None:
            _check_number(where, "height", self.height, 1e-3, whole=False, high=1000)
        _check_choice(where, "facing", self.facing, (True, False))
        _check_choice(where, "apart", self.apart, (True, False))
        if self.apart and self.absent_person != "none":
            raise ConfigError(f"{where}.absent_person: expected 'none' with apart, found {self.absent_person!r}.")
        if self.max_people is not None:
            _check_number(where, "max_people", self.max_people, 1, whole=True, high=1000)
        elif self.absent_person != "none":
            raise ConfigError(
                f"{where}.absent_person: {self.absent_person!r} needs a number in max_people, found None; "
                "set max_people (published: 2) or absent_person='none'."
            )
        _check_number(where, "crop", self.crop, 0.0, whole=False)
        if not 0 < self.crop <= 1:
            raise ConfigError(f"{where}.crop: expected a share in (0, 1], found {self.crop!r}.")

    def changed(self, changes: Preprocessing | Mapping[str, Any]) -> Preprocessing:
        """Return a copy with some fields changed; :class:`ConfigError` for unknown fields."""
        if isinstance(changes, Preprocessing):
            return changes
        if not isinstance(changes, Mapping):
            raise ConfigError(
                "preprocessing: expected an object of fields, such as {'facing': True}, found "
                f"{type(changes).__name__}."
            )
        return from_dict(Preprocessing, dataclasses.asdict(self) | dict(changes), "preprocessing")


@dataclass(frozen=True)
class MAMPConfig:
    """Architecture and preprocessing of the encoder.

    The defaults are the published model: 8 blocks of width 256, 120 frames of 25 joints, tokens of 4 frames of a joint.
    Field names are those of the published configuration files.

    Attributes:
        dim_in: Coordinates per joint, C.
        dim_feat: Width of a token, D.
        depth: Number of transformer blocks, at most 1,000.
        num_heads: Number of attention heads, H; divides ``dim_feat``.
        mlp_ratio: Hidden width of the feed-forward layers relative to ``dim_feat``.
        num_frames: Number of frames of a clip, T; a multiple of ``t_patch_size``.
        num_joints: Number of joints, V; a multiple of ``patch_size``.
        patch_size: Joints per token (published: 1).
        t_patch_size: Frames per token (published: 4).
        qkv_bias: Whether queries, keys and values have a bias.
        pooling: Reduction of tokens, per channel: ``mean`` (published), ``max``, ``std``, or several of these joined by
            ``+``, which are concatenated.
        readout_dim: Length E of an embedding if a linear map follows the pooling (see :mod:`mamp.train.readout`). None
            (published) uses the pooled tokens.
        readout_pose: Whether that map also takes the pose of the body: where each joint is relative to the centre of
            the layout, on average over the clip and how far it strays (:mod:`mamp.pose`).
        attention: Tokens that attend to each other: ``joint`` (published), all of a body; ``factorised``, those of the
            same joint in half of the heads, those of the same time in the others; ``local``, those at most
            ``attention_window`` steps apart. See :mod:`mamp.attention`.
        attention_window: Reach of ``local`` attention, in tokens over time (4 are 16 frames).
        preprocessing: Input format; a :class:`Preprocessing` or a dict of its fields.
    """

    dim_in: int = 3
    dim_feat: int = 256
    depth: int = 8
    num_heads: int = 8
    mlp_ratio: float = 4
    num_frames: int = 120
    num_joints: int = 25
    patch_size: int = 1
    t_patch_size: int = 4
    qkv_bias: bool = True
    pooling: str = "mean"
    readout_dim: int | None = None
    readout_pose: bool = False
    attention: Attending = "joint"
    attention_window: int = 4
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def __post_init__(self) -> None:
        if isinstance(self.preprocessing, dict):
            object.__setattr__(self, "preprocessing", from_dict(Preprocessing, self.preprocessing, "preprocessing"))
        elif not isinstance(self.preprocessing, Preprocessing):
            raise ConfigError(
                f"config.preprocessing: expected Preprocessing or a dict, found {_shown(self.preprocessing)}."
            )
        for name in ("dim_in", "dim_feat", "num_heads", "num_frames", "num_joints", "patch_size", "t_patch_size"):
            _check_number("config", name, getattr(self, name), 1, whole=True)
        _check_number("config", "depth", self.depth, 0, whole=True, high=1000)
        _check_number("config", "mlp_ratio", self.mlp_ratio, 1e-6, whole=False)
        _check_choice("config", "qkv_bias", self.qkv_bias, (True, False))
        _check_pooling(self.pooling)
        if self.readout_dim is not None:
            _check_number("config", "readout_dim", self.readout_dim, 1, whole=True)
        _check_choice("config", "readout_pose", self.readout_pose, (True, False))
        if self.readout_pose and (self.readout_dim is None or self.preprocessing.stream != "joint"):
            raise ConfigError(
                "config.readout_pose: expected a readout_dim and preprocessing.stream 'joint', found "
                f"{self.readout_dim} and {self.preprocessing.stream!r}: poses are read out, and are of positions."
            )
        _check_choice("config", "attention", self.attention, get_args(Attending))
        _check_number("config", "attention_window", self.attention_window, 0, whole=True)
        if self.attention == "factorised" and self.num_heads % 2:
            raise ConfigError(
                f"config.num_heads: expected an even number for attention 'factorised', found {self.num_heads}."
            )
        for name, part in (("dim_feat", "num_heads"), ("num_frames", "t_patch_size"), ("num_joints", "patch_size")):
            whole, by = getattr(self, name), getattr(self, part)
            if whole % by:
                raise ConfigError(f"config.{name}: expected a multiple of {part} ({by}), found {whole}.")

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Number of tokens over time and over joints, ``(T / t_patch_size, V / patch_size)``."""
        return self.num_frames // self.t_patch_size, self.num_joints // self.patch_size

    @cached_property
    def num_tokens(self) -> int:
        """Number of tokens per person, L (published: 30 x 25 = 750)."""
        t, v = self.grid
        return t * v

    @property
    def pooled_dim(self) -> int:
        """Length of pooled tokens: D for each part of ``pooling``."""
        return self.dim_feat * len(self.pooling.split("+"))

    @property
    def pose_dim(self) -> int:
        """How many numbers a pose has: mean and standard deviation of each coordinate of each joint."""
        return 2 * self.num_joints * self.dim_in

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return self.pooled_dim if self.readout_dim is None else self.readout_dim

    @property
    def patch_values(self) -> int:
        """Number of input values per token (published: 4 frames x 1 joint x 3 coordinates = 12)."""
        return self.t_patch_size * self.patch_size * self.dim_in

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as in ``config.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any, where: str = "config") -> MAMPConfig:
        """Create from plain values; :class:`~mamp.errors.ConfigError` for unknown fields."""
        return from_dict(cls, values, where)

    def replace(self, **changes: Any) -> MAMPConfig:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def without_readout(self) -> MAMPConfig:
        """Return a copy whose embeddings are what is pooled, with people placed by the first of them."""
        return self.replace(
            readout_dim=None, readout_pose=False, preprocessing=dataclasses.replace(self.preprocessing, apart=False)
        )
