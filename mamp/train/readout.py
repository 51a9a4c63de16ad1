"""The readout: a linear map from pooled tokens to embeddings, fitted to unlabelled clips after training.

Pooled tokens have a large common component, and a few directions dominate, such as the camera's. The readout subtracts
the mean and scales the principal directions, so that embeddings can be compared directly. It is not part of the paper;
whitening is common for embeddings of text (Su et al. 2021) and image retrieval (Jegou and Chum 2012). It can take the
pose of the body beside the tokens (:mod:`mamp.pose`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from mamp.config import MAMPConfig
from mamp.data.augment import Augmentation, augment
from mamp.data.loader import TrainingBatches, clip_weights, training_clips
from mamp.data.store import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError
from mamp.pose import PoseReadout
from mamp.train.recipes import OPENMOCAP
from mamp.transformer import reduce_present

BATCH = 16
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
    disturbed: bool = True
    weight_by: str = "name"
    weights: tuple[str, ...] = ()
    seed: int = 0
    split: str | None = None
    protocol: str | None = None


def add_readout(
    encoder: MAMPEncoder, store: ClipStore, settings: ReadoutSettings, progress: bool = False
) -> MAMPEncoder:
    """A new encoder with the same blocks and a readout fitted to crops of a store.

    Raises:
        DataError: The store has a different layout, or too few clips.
        ConfigError: A setting is invalid.
    """
    config = encoder.config.replace(pooling=settings.pooling, readout_dim=settings.dim, readout_pose=settings.pose)
    expected = config.preprocessing
    if store.layout.name != expected.layout:
        raise DataError(f"{store.path}: expected joints of layout {expected.layout!r}, found {store.layout.name!r}.")
    if settings.clips <= settings.dim:
        raise ConfigError(
            f"clips: expected more than the length of the embedding ({settings.dim}), found {settings.clips}."
        )
    plain = encoder.without_readout()
    with torch.random.fork_rng(devices=[]):
        result = MAMPEncoder(config)
    found = torch.cat(list(crop_numbers(plain, result.pose, config, store, settings, progress)))
    weight, bias = fit_readout(found, settings.dim, settings.whitening)
    fitted = {"readout.weight": weight[:, : config.pooled_dim], "readout.bias": bias}
    if settings.pose:
        mean, weight = found[:, config.pooled_dim :].mean(dim=0), weight[:, config.pooled_dim :]
        fitted |= {"readout.bias": bias + weight @ mean, "pose.weight": weight, "pose.mean": mean}
    result.load_state_dict(plain.state_dict() | fitted)
    return result.to(encoder.device, encoder.dtype).eval()


@torch.no_grad()
def crop_numbers(
    encoder: MAMPEncoder,
    pose: PoseReadout | None,
    config: MAMPConfig,
    store: ClipStore,
    settings: ReadoutSettings,
    progress: bool,
) -> Iterator[Tensor]:
    """Pooled tokens, and the pose if asked, [n, F] of crops of the first person, as the encoder expects them."""
    expected = config.preprocessing
    placed = dataclasses.replace(
        DISTURBED if settings.disturbed else PLAIN,
        window=settings.window,
        center=expected.center == "clip",
        facing=expected.facing,
    )
    weights = clip_weights(store, settings.weight_by, settings.weights)
    batches = TrainingBatches(
        store,
        placed,
        min(BATCH, settings.clips),
        1,
        "none",
        settings.seed,
        0,
        weights=weights,
        samples_per_epoch=settings.clips,
        clips=training_clips(store, settings.split, settings.protocol),
    )
    encoder.eval()
    for batch in tqdm(batches.load(0), total=len(batches), unit="batch", disable=not progress):
        x = augment(batch[0].to(encoder.device), placed, store.layout, config.num_frames, expected.stream).x
        tokens = encoder(x.to(encoder.dtype)).flatten(1, 3)
        pooled = reduce_present(tokens.float().cpu(), 1, config.pooling)
        yield pooled if pose is None else torch.cat([pooled, pose.numbers(x[:, 0].float().cpu())], dim=1)


def fit_readout(pooled: Tensor, dim: int, whitening: float = 1.0) -> tuple[Tensor, Tensor]:
    """Fit weight [E, F] and bias [E] of a readout to pooled tokens [N, F], or to these and poses.

    Features are standardised, projected on their E principal directions, and divided by the standard deviation along
    each to the power of ``whitening``.

    Raises:
        ConfigError: ``dim`` exceeds F, N - 1, or the rank of the features.
    """
    count, width = pooled.shape
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
