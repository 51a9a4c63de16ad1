"""``forecast``: how far predicted joints are from where they come to be, beside simple forecasts of the same clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from tqdm import tqdm

from mamp.config import from_dict
from mamp.data import ClipStore
from mamp.errors import ConfigError, DataError
from mamp.evaluate.data import open_unlabelled
from mamp.evaluate.frozen import NO_SEED
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result
from mamp.evaluate.scores import REPLICATES
from mamp.forecast.baselines import (
    MLP,
    MLPSettings,
    Predict,
    constant_velocity,
    last_pose,
    make_mlp,
    mlp_predictor,
    train_mlp,
)
from mamp.forecast.forecaster import Forecaster, at_frames
from mamp.hub.tensors import read_tensors
from mamp.outputs import written_whole
from mamp.train.config import TrainConfig
from mamp.train.report import read_run_file

FloatArray = NDArray[np.float32]
NAME, LINEAR, LAST, VELOCITY, BASELINE = "forecast", "its linear part", "last pose", "constant velocity", "MLP"


@dataclass(frozen=True)
class ForecastConfig:
    """Settings of ``forecast``.

    Attributes:
        horizons: Times after the last frame seen, in milliseconds.
        stride: Seconds between the starts of the windows that are cut from a test clip.
        train_data: Store on whose training clips the MLP is trained. None: the one of the run.
        mlp: The MLP.
    """

    horizons: tuple[int, ...] = (80, 160, 320, 400, 560, 1000)
    stride: float = 1.0
    train_data: str | None = None
    mlp: MLPSettings = field(default_factory=MLPSettings)

    def __post_init__(self) -> None:
        if isinstance(self.mlp, dict):
            object.__setattr__(self, "mlp", from_dict(MLPSettings, self.mlp, "mlp"))
        if not self.horizons or min(self.horizons) <= 0:
            raise ConfigError(f"horizons: expected times above zero, in milliseconds, found {self.horizons}.")
        if not 0 < self.stride < float("inf"):
            raise ConfigError(f"stride: expected seconds above zero, found {self.stride:g}.")


@dataclass(frozen=True)
class Windows:
    """Parts of the test clips.

    Attributes:
        positions: [W, past + future, V, 3], a person each, at the rate of the model.
        clip: [W] number of the clip.
    """

    positions: FloatArray
    clip: NDArray[np.int64]


def cut_windows(store: ClipStore, clips: NDArray[np.int64], forecaster: Forecaster, stride: float) -> Windows:
    """Cut windows of past and future of each person who is there throughout.

    Raises:
        DataError: A clip has no frame rate, or all are shorter than a window.
    """
    length, step = forecaster.past + forecaster.future, max(round(stride * forecaster.fps), 1)
    parts, numbers = [], []
    for number, clip in enumerate(clips):
        fps = float(store.columns["fps"][clip])
        if fps <= 0:
            raise DataError(f"{store.path}: clip {store.columns['name'][clip]} has no frame rate.")
        frames = store.read(int(clip))
        count = int((frames.shape[1] - 1) * forecaster.fps / fps) + 1
        frames = at_frames(frames, np.arange(count) * fps / forecaster.fps)
        for first in range(0, count - length + 1, step):
            some = frames[:, first : first + length]
            some = some[(some != 0).any(axis=(2, 3)).all(axis=1)]
            parts.append(some)
            numbers += [number] * len(some)
    if not numbers:
        raise DataError(
            f"{store.path}: expected test clips of {length / forecaster.fps:.2f} seconds or more, found none."
        )
    return Windows(np.concatenate(parts), np.array(numbers))


def distances(
    predicted: FloatArray, windows: Windows, forecaster: Forecaster, horizons: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Mean distance over joints in millimetres [W, H], in place and with the centre joints moved onto each other.

    Args:
        predicted: [W, future, V, 3].
        windows: What came.
        forecaster: States past, rate and centre joint.
        horizons: [H] milliseconds after the last frame seen; positions are interpolated between frames.
    """
    last = forecaster.past - 1
    frames = np.array(horizons) * forecaster.fps / 1000
    came = at_frames(windows.positions[:, last:], frames)
    found = at_frames(np.concatenate([windows.positions[:, last : last + 1], predicted], axis=1), frames)
    error = found - came
    centre = forecaster.layout.joints.index(forecaster.model.config.preprocessing.center_joint)
    aligned = error - error[:, :, centre : centre + 1]
    in_place, alone = (1000 * np.linalg.norm(one, axis=-1).mean(axis=-1) for one in (error, aligned))
    return in_place, alone


def interval(values: NDArray[Any], clip: NDArray[np.int64], level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Interval of the mean over windows [W], by bootstrap over the clips that they are of."""
    count = np.bincount(clip)
    sums = np.bincount(clip, values.astype(np.float64))
    times = np.random.default_rng(seed).multinomial(len(count), np.full(len(count), 1 / len(count)), REPLICATES)
    low, high = np.quantile(times @ sums / (times @ count).clip(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def open_mlp(job: Job, forecaster: Forecaster) -> MLP:
    """The MLP, trained on the clips of the run, or read where it was trained before."""
    record = read_run_file(Path(job.weights))
    config, settings = TrainConfig(**record["config"]), job.config.mlp
    path = Path(job.config.train_data or record["data"])
    try:
        store = ClipStore(path)
    except DataError as error:
        raise DataError(
            f"{error} The MLP is trained on the clips of the run: name their store in train_data."
        ) from None
    facts = [store.info.get("sha256"), record["config"]["augment"], record["config"]["data"], asdict(settings)]
    facts += [record["config"]["encoder"]["num_frames"], forecaster.past]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
    kept = (job.cache or job.output.parent / "features") / f"mlp-{name}.safetensors"
    mlp = make_mlp(forecaster, settings)
    if kept.is_file():
        mlp.load_state_dict(read_tensors(kept))
        return mlp.eval()
    steps = train_mlp(mlp, config, store, settings)
    total = settings.clips // settings.batch
    for _ in tqdm(steps, total=total, unit="step", desc="MLP", delay=2, disable=None if job.progress else True):
        pass
    kept.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(kept) as file:
        file.write(safetensors.torch.save(mlp.state_dict()))
    return mlp.eval()


def run_forecast(job: Job) -> Result:
    """Run ``forecast``."""
    config, data = job.config, job.data
    source = job.representation(job.seeds[0])
    forecaster = Forecaster.from_pretrained(job.weights, device=str(job.world.device))
    longest = 1000 * forecaster.future / forecaster.fps
    if max(config.horizons) > longest:
        raise ConfigError(
            f"horizons: expected at most {longest:.0f}, what the model predicts, found {config.horizons}."
        )
    windows = cut_windows(data.store, data.test, forecaster, config.stride)
    methods: dict[str, Predict] = {
        NAME: forecaster.predict_positions,
        BASELINE: mlp_predictor(open_mlp(job, forecaster), forecaster),
        LINEAR: forecaster.extrapolate,
        VELOCITY: partial(constant_velocity, future=forecaster.future),
        LAST: partial(last_pose, future=forecaster.future),
    }
    seen = windows.positions[:, : forecaster.past]
    found = {name: distances(predict(seen), windows, forecaster, config.horizons) for name, predict in methods.items()}
    titles = ("Mean error of the joints in place, mm", "Mean error with the centre joints moved together, mm")
    tables = {title: _table([rows[i] for rows in found.values()], list(found), windows, config.horizons)
              for i, title in enumerate(titles)}  # fmt: skip
    error, aligned = found[NAME]
    metrics = {"error": float(error.mean()), "aligned": float(aligned.mean())}
    metrics |= {f"{name}: error": float(rows[0].mean()) for name, rows in found.items() if name != NAME}
    clips = np.unique(windows.clip)
    trial = Trial(job.seeds[0], data.names(data.test[clips]), data.labels[data.test[clips]], None, None, metrics)
    times = ", ".join(map(str, config.horizons))
    notes = [
        f"Mean distance between predicted and true joints, {times} ms after the last frame seen; lower is better.",
        f"{len(windows.clip):,} windows of {len(clips):,} clips: {forecaster.past / forecaster.fps:.2f} s are seen, at "
        f"{forecaster.fps:g} frames a second.",
        f"The MLP, in the manner of siMLPe, was trained on {config.mlp.clips:,} crops of the run's training clips.",
    ]
    notes += [NO_SEED] if len(job.seeds) > 1 else []
    result = job.result("error", source, [trial], notes)
    result.interval = interval(error.mean(axis=1), windows.clip)
    result.unit, result.tables = "mm", tables
    return result


def _table(errors: list[FloatArray], names: list[str], windows: Windows, horizons: Sequence[int]) -> list[list[Any]]:
    """Header and rows: the error of each method by horizon, and what the forecast differs from the MLP."""
    rows: list[list[Any]] = [["ms", *horizons]]
    for name, error in zip(names, errors, strict=True):
        rows.append([name, *(f"{mean:.1f}" for mean in error.mean(axis=0))])
    differences = errors[0] - errors[1]
    cells = [f"{column.mean():+.1f} [{low:+.1f}, {high:+.1f}]" for column in differences.T
             for low, high in [interval(column, windows.clip)]]  # fmt: skip
    return [*rows, [f"{names[0]} - {names[1]}", *cells]]


PROTOCOL = Protocol(
    name="forecast",
    description="What comes next, in millimetres: a run of the recipe forecast beside an MLP, constant velocity and "
    "the last pose. Needs no labels.",
    source="Horizons as usual for Human3.6M and CMU; the MLP after Guo et al., WACV 2023.",
    config=ForecastConfig(),
    run=run_forecast,
    open=open_unlabelled,
)
