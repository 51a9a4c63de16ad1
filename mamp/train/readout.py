"""The readout: a linear map from pooled tokens to embeddings, fitted to unlabelled clips after training.

Pooled tokens have a large common component, and a few directions dominate, such as the camera's. The readout subtracts
the mean and scales the principal directions, so that embeddings can be compared directly. It is not part of the paper;
whitening is common for embeddings of text (Su et al. 2021) and image retrieval (Jegou and Chum 2012). It can take the
pose of the body beside the tokens (:mod:`mamp.pose`). Instead of whitening, it can give the embeddings of another
encoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from mamp.config import MAMPConfig, Preprocessing
from mamp.data.augment import Augmentation, augment
from mamp.data.loader import TrainingBatches, clip_weights, training_clips
from mamp.data.store import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError
from mamp.train.recipes import OPENMOCAP
from mamp.train.start import training_augmentation
from mamp.transformer import reduce_present

BATCH = 16
_NAMES = ("readout.weight", "readout.bias")
DISTURBED = OPENMOCAP.augment
PLAIN = Augmentation(rotation=0.0)


@dataclass(frozen=True)
class ReadoutSettings:
    """Options of fitting a readout.

    Attributes:
        dim: Length of an embedding, E.
        pooling: Pooling of the tokens, as in :class:`mamp.MAMPConfig`.
        clips: Number of crops to fit to, drawn with replacement.
        window: Range of their length in frames.
        pose: Also take the pose of the body, as ``readout_pose`` in :class:`mamp.MAMPConfig`.
        whitening: Strength of whitening: 1 equalises all directions, 0 keeps their scale.
        ridge: Penalty of the regression on the embeddings of another encoder, per clip, for standardised features.
        disturbed: Augment the crops like the recipe ``openmocap``, which scales down the directions that augmentation
            changes.
        weight_by: Column whose groups are weighted; clips are drawn in proportion to their length.
        weights: ``group=weight`` pairs; the default weight is 1.
        seed: Random seed.
        split: Split to use; none takes all clips.
        protocol: Protocol of the split, if the store has several; its test clips are never used.
    """

    dim: int = 256
    pooling: str = "mean+max+std"
    clips: int = 2048
    window: tuple[int, int] = (30, 150)
    pose: bool = False
    whitening: float = 1.0
    ridge: float = 0.15
    disturbed: bool = True
    weight_by: str = "name"
    weights: tuple[str, ...] = ()
    seed: int = 0
    split: str | None = None
    protocol: str | None = None


def add_readout(
    encoder: MAMPEncoder,
    store: ClipStore,
    settings: ReadoutSettings,
    progress: bool = False,
    like: MAMPEncoder | None = None,
) -> MAMPEncoder:
    """A new encoder with the same blocks and a readout fitted to crops of a store.

    It is fitted to the first person of each clip, so the new encoder leaves absent people out of an embedding,
    whatever was put in their place before.

    Args:
        encoder: The encoder; a readout that it has is replaced.
        store: Clips, without labels.
        settings: Options.
        progress: Show a progress bar.
        like: Fit the embeddings of this encoder, which has a readout, by ridge regression, instead of whitening; their
            length and what it takes of poses are taken over, so that those settings do not apply.

    Raises:
        DataError: The store has a different layout, or too few clips.
        ConfigError: A setting is invalid, ``like`` does not fit the encoder, or the clips were prepared otherwise than
            the encoder expects them.
    """
    config = encoder.config.replace(
        pooling=settings.pooling,
        readout_dim=settings.dim,
        readout_pose=settings.pose,
        preprocessing=dataclasses.replace(encoder.config.preprocessing, absent_person="none"),
    )
    if like is not None:
        config = _as_like(config, like.config)
    expected = config.preprocessing
    if store.layout.name != expected.layout:
        raise DataError(f"{store.path}: expected joints of layout {expected.layout!r}, found {store.layout.name!r}.")
    if settings.clips <= config.embedding_dim:
        raise ConfigError(
            f"clips: expected more than the length of the embedding ({config.embedding_dim}), found {settings.clips}."
        )
    plain = encoder.without_readout().eval()
    with torch.random.fork_rng(devices=[]):
        result = MAMPEncoder(config)
    pooled, poses, wanted = [], [], []
    for x in crops(config, store, settings, progress):
        pooled.append(pool(plain, x, config.pooling))
        if like is None and result.pose is not None:
            poses.append(result.pose.numbers(x[:, 0]))
        if like is not None:
            wanted.append(like.read_out(pool(like, x, like.config.pooling)))
    if like is not None:
        weight, bias = fit_embeddings(torch.cat(pooled), torch.cat(wanted), settings.ridge)
        fitted = {"readout.weight": weight, "readout.bias": bias}
        fitted |= {name: value for name, value in like.state_dict().items() if name.startswith("pose.")}
    elif poses:
        fitted = _fit_with_pose(torch.cat(pooled), torch.cat(poses), settings)
    else:
        fitted = dict(zip(_NAMES, fit_readout(torch.cat(pooled), settings.dim, settings.whitening), strict=True))
    result.load_state_dict(plain.state_dict() | fitted)
    return result.to(encoder.device, encoder.dtype).eval()


def _as_like(config: MAMPConfig, like: MAMPConfig) -> MAMPConfig:
    """A configuration with the readout of another encoder, which must expect the same clips."""
    same, theirs = (
        {
            "num_frames": one.num_frames,
            "preprocessing": dataclasses.replace(one.preprocessing, apart=False, absent_person="none"),
        }
        for one in (config, like)
    )
    if like.readout_dim is None or same != theirs:
        raise ConfigError(
            "like: expected an encoder with a readout, and with the num_frames and preprocessing of this one; found "
            f"{'no readout' if like.readout_dim is None else 'another ' + _first_of(same, theirs)}."
        )
    return config.replace(
        readout_dim=like.readout_dim, readout_pose=like.readout_pose, preprocessing=like.preprocessing
    )


def _first_of(mine: dict[str, object], other: dict[str, object]) -> str:
    return next(name for name in mine if mine[name] != other[name])


def _fit_with_pose(pooled: Tensor, poses: Tensor, settings: ReadoutSettings) -> dict[str, Tensor]:
    """Tensors of a readout that is fitted to pooled tokens [N, F] and poses [N, G] side by side."""
    weight, bias = fit_readout(torch.cat([pooled, poses], dim=1), settings.dim, settings.whitening)
    tokens, pose = weight.split([pooled.shape[1], poses.shape[1]], dim=1)
    mean = poses.mean(dim=0)
    return {**dict(zip(_NAMES, (tokens, bias + pose @ mean), strict=True)), "pose.weight": pose, "pose.mean": mean}


@torch.no_grad()
def pool(encoder: MAMPEncoder, x: Tensor, pooling: str) -> Tensor:
    """Pooled tokens [n, F] of clips [n, 1, T, V, C]."""
    tokens = encoder(x.to(encoder.device, encoder.dtype)).flatten(1, 3)
    return reduce_present(tokens.float().cpu(), 1, pooling)


def crops(config: MAMPConfig, store: ClipStore, settings: ReadoutSettings, progress: bool) -> Iterator[Tensor]:
    """Crops [n, 1, T, V, C] of the first person, as the encoder expects them, on the CPU."""
    expected = config.preprocessing
    placed = placing(expected, store, settings)
    weights = clip_weights(store, settings.weight_by, settings.weights)
    left = settings.clips
    batches = TrainingBatches(
        store,
        placed,
        BATCH,
        1,
        "none",
        settings.seed,
        0,
        weights=weights,
        samples_per_epoch=-(-left // BATCH) * BATCH,
        clips=training_clips(store, settings.split, settings.protocol),
    )
    for batch in tqdm(batches.load(0), total=len(batches), unit="batch", disable=not progress):
        x = augment(batch[0], placed, store.layout, config.num_frames, expected.stream).x.float()
        yield x[:left]
        left -= len(x)


def placing(expected: Preprocessing, store: ClipStore, settings: ReadoutSettings) -> Augmentation:
    """The augmentation of crops, which places each of them anew, as ``encode`` does with a recording.

    Raises:
        ConfigError: That cannot be done with these clips.
    """
    found = store.info.get("preprocessing", {})
    if (found.get("center") == "clip" and expected.center == "none") or (found.get("facing") and not expected.facing):
        raise ConfigError(
            f"{store.path}: the weights expect clips where they were recorded, these were centred or turned to the "
            "camera, and that cannot be undone. Prepare the data for these weights."
        )
    placed = dataclasses.replace(DISTURBED if settings.disturbed else PLAIN, window=settings.window)
    placed = training_augmentation(dataclasses.replace(placed, center=False, facing=False), expected, store)
    if expected.center == "clip" and store.layout.center_of(expected.center_joint) != store.layout.center:
        raise ConfigError(
            f"{store.path}: the weights expect clips centred on {expected.center_joint}; crops for a readout can be "
            f"centred on {store.layout.center} only. Take weights that expect that."
        )
    return dataclasses.replace(placed, center=expected.center == "clip", facing=expected.facing)


def fit_readout(pooled: Tensor, dim: int, whitening: float = 1.0) -> tuple[Tensor, Tensor]:
    """Fit weight [E, F] and bias [E] of a readout to pooled tokens [N, F], or to these and poses.

    Features are standardised, projected on their E principal directions, and divided by the standard deviation along
    each to the power of ``whitening``.

    Raises:
        ConfigError: ``dim`` exceeds F, N - 1, or the rank of the features; or ``whitening`` is below 0.
    """
    count, width = pooled.shape
    if not 0 <= whitening < float("inf"):
        raise ConfigError(f"whitening: expected a number of at least 0, found {whitening:g}.")
    if not 1 <= dim <= min(width, count - 1):
        raise ConfigError(
            f"readout: expected a length from 1 to {min(width, count - 1)}, since there are {count} clips of {width} "
            f"numbers; found {dim}."
        )
    x = pooled.double()
    mean, deviation = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
    variance, directions = torch.linalg.eigh(((x - mean) / deviation).T.cov())
    variance, directions = variance.flip(0)[:dim], directions.flip(1)[:, :dim]
    if variance[-1] <= 1e-9 * variance[0]:
        raise ConfigError(f"readout: the clips differ in fewer than {dim} directions; choose a shorter one.")
    weight = (directions / variance ** (whitening / 2)).T / deviation
    # The solver determines directions up to their sign: make the largest weight of each positive.
    largest = weight.abs().argmax(dim=1, keepdim=True)
    weight = weight * weight.gather(1, largest).sign()
    return weight.float(), (-weight @ mean).float()


def fit_embeddings(pooled: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weight [E, F] and bias [E] that map pooled tokens [N, F] to embeddings [N, E], by ridge regression.

    Raises:
        ConfigError: ``ridge`` is not above zero.
    """
    if not ridge > 0:
        raise ConfigError(f"ridge: expected a number above zero, found {ridge:g}.")
    x, y = pooled.double(), wanted.double()
    mean, deviation = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
    standard, centre = (x - mean) / deviation, y.mean(dim=0)
    inner = standard.T @ standard + ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(inner, standard.T @ (y - centre)).T / deviation
    return weight.float(), (centre - weight @ mean).float()
