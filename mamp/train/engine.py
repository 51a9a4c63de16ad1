"""Pre-training by masked prediction, or by distillation from a teacher, on the shared training loop."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from mamp.data.augment import PackedBatch, TrainingClips, augment
from mamp.data.crops import to_device
from mamp.data.loader import TrainingBatches, clip_weights, generator_for, training_clips
from mamp.data.store import ClipStore
from mamp.distillation import Distillation
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError, TrainingError
from mamp.layouts import get_layout
from mamp.masking import mask_ratio_between, missing_tokens
from mamp.outputs import one_writer
from mamp.pretraining import MAMPForPretraining, PretrainingOutput
from mamp.train.config import TrainConfig
from mamp.train.distributed import World, world
from mamp.train.loop import Loop, Share
from mamp.train.memory import available_bytes, clips_at_a_time
from mamp.train.pictures import draw_prediction, predict_clip
from mamp.train.record import recorded_per_device, write_run_file
from mamp.transformer import choose_blocks, lengthen_tokens, resize_temp_embed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

# Clips that a thread takes at a time; their number changes the sums of gradients in the last bit.
CLIPS_AT_ONCE = 4
FITTED = 1024  # clips to which the linear part of a forecast is fitted


class Trainer(Loop):
    """One pre-training run in this process.

    Args:
        config: The run.
        data: The store of clips.
        output: Folder of the run: ``run.json``, ``metrics.jsonl``, ``checkpoints/``, ``encoder/``.
        world: The processes.
        at_a_time: Clips per micro-batch if the configuration does not set them; by default as many as fit in memory.
    """

    section = "optim."
    keeps_best = True
    tensorboard = True
    model: MAMPForPretraining | Distillation

    def __init__(
        self, config: TrainConfig, data: Path, output: Path, world: World, at_a_time: int | None = None
    ) -> None:
        self.config = config
        self.independent = not config.objective.agreement_weight
        store = ClipStore(data)
        optim = replace(config.optim, per_device_batch=at_a_time or choose_per_device(config, store, world))
        super().__init__(optim, config.run, store, config.encoder, output, world, config.data.workers)
        expected = config.encoder.preprocessing
        if self.store.layout.name != expected.layout:
            raise DataError(
                f"{data}: expected joints of layout {expected.layout!r} (encoder.preprocessing.layout), found "
                f"{self.store.layout.name!r}."
            )
        self.max_people = people_of(config, store)
        self.clips = training_clips(self.store, config.data.split, config.data.protocol)
        self.weights = clip_weights(self.store, config.data.weight_by, config.data.weights)
        self.plan()

        torch.manual_seed(config.run.seed)
        model = config.build_model()
        if config.init is not None:
            start_from(model, config.init)
        if isinstance(model, MAMPForPretraining) and config.objective.target == "displacement":
            model.decoder_past.fit(self.targets(FITTED // optim.batch_size + 1))
        model.to(world.device)
        if config.run.compile:
            model.compile()
        groups = weight_decay_groups(model, optim.weight_decay)
        self.begin(model, torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, fused=True))

    def batches(self, epoch: int, first_step: int = 0) -> TrainingBatches:
        """The batches of an epoch, from ``first_step`` on."""
        cfg = self.config
        return TrainingBatches(
            self.store,
            cfg.augment,
            cfg.optim.batch_size,
            self.max_people,
            cfg.encoder.preprocessing.absent_person,
            cfg.run.seed,
            epoch,
            first_step,
            self.shard,
            self.weights,
            cfg.data.samples_per_epoch,
            self.clips,
            2 if cfg.objective.agreement_weight else 1,
        )

    def targets(self, steps: int) -> Iterator[Tensor]:
        """Targets [N, T, V, C] of the first steps."""
        cfg = self.config
        batches = self.batches(0)
        for step in range(min(steps, len(batches))):
            for part in batches[step]:
                clips = augment(part, cfg.augment, self.store.layout, cfg.encoder.num_frames)
                yield rearrange(clips.target, "b m t v c -> (b m) t v c")

    def losses(self, part: PackedBatch, micro: int) -> dict[str, Tensor]:
        """Loss of the masked prediction, and its terms."""
        return self.predict(*self.seen(part, micro), slice(None))

    def shares(self, part: PackedBatch, micro: int) -> list[Share]:
        """A few clips each."""
        clips, count = self.seen(part, micro), len(part.clips)
        size = max(1, min(CLIPS_AT_ONCE, count // 2))
        rows = [slice(first, min(first + size, count)) for first in range(0, count, size)]
        return [Share((r.stop - r.start) / count, partial(self.predict, *clips, r)) for r in rows]

    def seen(self, part: PackedBatch, micro: int) -> tuple[TrainingClips, dict[str, Any]]:
        """The clips of a micro-batch, and what is drawn for their masks."""
        cfg = self.config
        epoch, step = divmod(self.step, self.steps_per_epoch)
        clips = augment(part, cfg.augment, self.store.layout, cfg.encoder.num_frames, cfg.encoder.preprocessing.stream)
        seen = self.visibility(epoch, step, self.shard.rows(cfg.optim.batch_size, micro))
        if "teacher_noise" in seen:
            assert self.average is not None
            teacher = cast(MAMPForPretraining, self.average.module.eval())
            seen["importance"] = teacher.importance(clips.x, clips.target, seen.pop("teacher_noise"))
        return clips, seen

    def predict(self, clips: TrainingClips, seen: dict[str, Any], rows: slice) -> dict[str, Tensor]:
        """Loss of the masked prediction of some of the clips, and its parts."""
        bodies = slice(*(None if row is None else row * self.max_people for row in (rows.start, rows.stop)))
        seen = {name: value[bodies] if isinstance(value, Tensor) else value for name, value in seen.items()}
        confidence = None if clips.confidence is None else clips.confidence[rows]
        output: PretrainingOutput = self.parallel(
            clips.x[rows], target_x=clips.target[rows], confidence=confidence, **seen
        )
        return {"loss": output.loss, **output.losses}

    def visibility(self, epoch: int, step: int, rows: slice) -> dict[str, Any]:
        """Random arguments of :meth:`MAMPForPretraining.forward` for some clips of the batch."""
        cfg, goal, seeds = self.config, self.config.objective, (self.config.run.seed, epoch, step)

        def draw(purpose: str, numbers: int) -> Tensor:
            shape = (cfg.optim.batch_size, self.max_people, numbers)
            drawn = torch.rand(shape, generator=generator_for(purpose, *seeds))[rows]
            return rearrange(drawn, "b m u -> (b m) u")

        tokens = self.model.num_tokens
        seen: dict[str, Any] = {"noise": draw("mask", tokens), "decoded_noise": draw("decoded", tokens)}
        if goal.masking == "learned" and cfg.teacher is None:
            seen["teacher_noise"] = draw("teacher", tokens)
        if goal.missing_parts:
            parts = torch.tensor(get_layout(cfg.encoder.preprocessing.layout).part_of)
            seen["missing"] = missing_tokens(draw("missing", 4), goal.missing_parts, cfg.encoder.grid[0], parts)
        seen = {name: to_device(drawn, self.world.device) for name, drawn in seen.items()}
        if goal.mask_ratio_low is not None:
            u = float(torch.rand(1, generator=generator_for("ratio", *seeds)))
            seen["mask_ratio"] = mask_ratio_between(goal.mask_ratio_low, goal.mask_ratio, u)
        return seen

    def export(self) -> None:
        """Export the encoder, averaged if configured."""
        model = self.model if self.average is None else cast(MAMPForPretraining | Distillation, self.average.module)
        export_encoder(model, self.output / "encoder", getattr(torch, self.config.run.storage))

    def after_step(self, values: dict[str, float]) -> None:
        """Draw the prediction for TensorBoard at each checkpoint, without advancing the random state."""
        if isinstance(self.model, Distillation):
            return  # it predicts no movement
        if self.step % self.run.checkpoint_every == 0 or self.step >= self.total_steps:
            devices = [self.world.device] if self.world.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                self.metrics.picture("prediction", self.draw, self.step)

    def draw(self) -> Figure:
        """Draw the prediction for the first clip of the run, always with the same crop and mask."""
        batch = self.batches(0)[0][0].to(self.world.device)
        name = str(self.store.columns["name"][int(batch.clips[0])])
        assert isinstance(self.model, MAMPForPretraining)
        prediction = predict_clip(self.model, batch, self.config.augment, self.store.layout, self.config.run.seed)
        return draw_prediction(prediction, self.store.layout, f"{name}, step {self.step}")


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups of pre-training: none for vectors and biases, ``weight_decay`` for the rest.

    As published, the rest includes the mask token and the position embeddings.
    """
    plain: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        (plain if parameter.ndim == 1 or name.endswith(".bias") else decayed).append(parameter)
    return [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]


def people_of(config: TrainConfig, store: ClipStore) -> int:
    """Number of people per clip, M."""
    return config.encoder.preprocessing.max_people or int(store.columns["people"].max())


def choose_per_device(config: TrainConfig, store: ClipStore, world: World) -> int | None:
    """Clips per micro-batch: as configured, or as many as fit in memory, the same in all processes.

    ``None`` if the batch cannot be divided among the processes.
    """
    optim = config.optim
    if optim.per_device_batch is not None or optim.batch_size % world.size:
        return optim.per_device_batch
    share, bfloat16 = optim.batch_size // world.size, config.run.precision == "bfloat16"
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
    free = available_bytes(world.device, local)
    fits = clips_at_a_time(config.encoder, config.objective, people_of(config, store), share, free, bfloat16)
    return min(world.gather([fits]))


def start_from(model: MAMPForPretraining | Distillation, weights: str) -> None:
    """Initialise the encoder of a model from pretrained weights, which may have more blocks, and shorter tokens.

    Of more blocks, the first are used, and in distillation as many at even distances, from the first to the last.
    Temporal embeddings are resized to another number of frames, as published for fine-tuning. What poses add to an
    embedding stays that of the teacher, and a readout starts at random unless the weights have one for these tokens.

    Raises:
        WeightsError: There are no such weights.
        ConfigError: Their shapes differ.
    """
    source = MAMPEncoder.from_pretrained(weights)
    bodies = [one.config.preprocessing.layout for one in (source, model)]
    if bodies[0] != bodies[1]:
        raise ConfigError(
            f"init: {weights!r} are weights for the body {bodies[0]!r}, these clips are of {bodies[1]!r}."
        )
    found = source.state_dict()
    times, rest = divmod(model.config.t_patch_size, source.config.t_patch_size)
    if not rest:
        found = lengthen_tokens(found, times)
    found["temp_embed"] = resize_temp_embed(found["temp_embed"], model.config.grid[0])
    if isinstance(model, Distillation) and 1 < model.config.depth < source.config.depth:
        last, ours = source.config.depth - 1, model.config.depth - 1
        found = choose_blocks(found, [last * block // ours for block in range(ours + 1)])
    wanted = MAMPEncoder(model.config).state_dict()
    wanted = {name: value for name, value in wanted.items() if not name.startswith("pose.")}
    readouts = [(one.config.readout_dim, one.config.pooling, one.config.pooled_dim) for one in (source, model)]
    if readouts[0] != readouts[1]:
        wanted = {name: value for name, value in wanted.items() if not name.startswith("readout.")}
    for name, value in wanted.items():
        if name not in found or found[name].shape != value.shape:
            other = list(found[name].shape) if name in found else "none"
            raise ConfigError(
                f"init: {weights!r} does not fit this encoder: {name} is to have shape {list(value.shape)}, found "
                f"{other}. Width, heads and joints must be those of the weights, tokens as long or several times as "
                "long, and the blocks no more."
            )
    model.load_state_dict(model.state_dict() | {name: found[name] for name in wanted})


def export_encoder(model: MAMPForPretraining | Distillation, folder: Path, dtype: torch.dtype) -> None:
    """Save the encoder of a pre-training model for ``from_pretrained``."""
    encoder = MAMPEncoder(model.config)
    keys = encoder.state_dict().keys()
    encoder.load_state_dict({name: value for name, value in model.state_dict().items() if name in keys})
    encoder.save_pretrained(folder, dtype=dtype)


def train(
    config: TrainConfig,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    recipe: str | None = None,
) -> bool:
    """Pre-train an encoder, or resume a run.

    Args:
        config: The run; see :mod:`mamp.train.recipes`.
        data: Store of clips, written by ``python -m mamp.prepare``.
        output: Folder of the run; resumes from checkpoints of the same configuration in it.
        recipe: Name of the recipe, recorded in ``run.json``.

    Returns:
        Whether the schedule is over; not so if the run was stopped, by a signal or by ``run.stop_after``.

    Raises:
        DataError: The store is missing or damaged.
        TrainingError: The folder cannot be used, another process uses it, or the loss is not finite.
    """
    with world(config.run.device) as here, ExitStack() as held:
        with here.together():
            store, recorded = ClipStore(data), recorded_per_device(Path(output), config, here)
        chosen = choose_per_device(config, store, here)  # in all processes, since it communicates
        at_a_time = recorded or chosen
        with here.together():
            if here.is_main:
                held.enter_context(one_writer(Path(output), "run", TrainingError))
                write_run_file(config, Path(data), Path(output), recipe, at_a_time)
        share = config.optim.batch_size // here.size
        if at_a_time is not None and at_a_time < share and config.optim.per_device_batch is None:
            logger.info("%d clips at a time, accumulated to %d a step: what fits into memory", at_a_time, share)
        trainer = Trainer(config, Path(data), Path(output), here, at_a_time)
        trainer.train()
        return trainer.step >= trainer.total_steps
