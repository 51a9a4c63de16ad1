"""Training a classifier on labelled clips, on the loop that pre-training uses, with an evaluation each epoch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mamp.classifier import MAMPClassifier
from mamp.config import MAMPConfig
from mamp.data.augment import PackedBatch, augment
from mamp.data.loader import TrainingBatches
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError, TrainingError
from mamp.evaluate.clips import PreparedClips
from mamp.evaluate.data import IntArray, Labelled
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job
from mamp.evaluate.representation import Representation, preprocessing_of, with_preprocessing
from mamp.evaluate.result import Result
from mamp.evaluate.scores import classification_metrics
from mamp.evaluate.settings import SupervisedConfig, changed_settings, seeded, training_augmentation
from mamp.heads import Classifier, set_norm_clips
from mamp.hub import resize_encoder
from mamp.hub.heads import save_classifier
from mamp.outputs import claim, plain
from mamp.train.checkpoint import list_checkpoints
from mamp.train.distributed import World
from mamp.train.loop import Loop, Mean, StoppedError


class Supervised(Loop):
    """One supervised run in this process.

    Args:
        data: Clips, labels and split.
        clips: Training clips.
        model: What is trained.
        optimizer: Makes its optimiser.
        config: Settings.
        seed: Seed of everything random.
        output: Folder of the run.
        world: The processes.
        smoothing: Label smoothing.
        progress: Show a progress bar.

    Raises:
        DataError: There are fewer training clips than a batch has.
        ConfigError: The batch cannot be shared out, or the clips cannot be placed as the weights expect.
    """

    model: Classifier

    def __init__(
        self,
        data: Labelled,
        clips: IntArray,
        model: Classifier,
        optimizer: Callable[[Classifier], torch.optim.Optimizer],
        config: SupervisedConfig,
        seed: int,
        output: Path,
        world: World,
        smoothing: float = 0.0,
        progress: bool = False,
    ) -> None:
        super().__init__(
            config.optimization(), config.run(seed), data.store, model.config, output, world, config.workers, progress
        )
        self.data, self.config, self.smoothing = data, config, smoothing
        if len(clips) < config.batch_size:
            raise DataError(
                f"{data.store.path}: {len(clips)} training clips are fewer than one batch of {config.batch_size}; use "
                f"a smaller batch (batch_size {max(len(clips), 2)} or less, with a smaller lr) or more labels."
            )
        if config.batch_size // (world.size * self.shard.micro_batches) * world.size < 2:
            raise ConfigError("per_device_batch: batch norm needs at least two clips at a time, found one.")
        together = config.batch_size // (world.size * self.shard.micro_batches)
        if config.norm_clips is not None and together % config.norm_clips:
            raise ConfigError(
                f"norm_clips: expected a divisor of the {together} clips that a process takes at a time, found "
                f"{config.norm_clips}. Change batch_size or the number of processes, or set norm_clips none."
            )
        set_norm_clips(model, config.norm_clips)
        self.clips = torch.from_numpy(np.asarray(clips))
        self.labels = torch.from_numpy(data.labels).to(world.device)
        expected = model.config.preprocessing
        self.max_people = expected.max_people or int(data.store.columns["people"].max())
        self.counts_present = expected.absent_person == "none"
        self.augmentation = training_augmentation(config.augmentation, expected, data.store)
        self.test = PreparedClips(data.store, data.test, model.config, world, config.eval_batch)
        self.history: list[dict[str, float]] = []
        self.scores: NDArray[np.float32] | None = None
        self.since = {"loss": Mean(), "train_top1": Mean()}  # since the last evaluation
        self.plan()
        model = model.to(world.device).train()
        self.begin(model, optimizer(model))

    def batches(self, epoch: int, first_step: int = 0) -> TrainingBatches:
        """The batches of one epoch from one step on."""
        return TrainingBatches(
            self.store,
            self.augmentation,
            self.optim.batch_size,
            self.max_people,
            self.encoder.preprocessing.absent_person,
            self.run.seed,
            epoch,
            first_step,
            self.shard,
            clips=self.clips,
        )

    def losses(self, part: PackedBatch, micro: int) -> dict[str, Tensor]:
        """Cross-entropy of augmented clips, and the share of them that is right, in per cent."""
        epoch, step = divmod(self.step, self.steps_per_epoch)
        first = self.shard.rows(self.optim.batch_size, micro).start
        seeded("layers", self.run.seed, epoch, step, first)  # what dropout and stochastic depth draw from
        cfg = self.encoder
        x = augment(part, self.augmentation, self.store.layout, cfg.num_frames, cfg.preprocessing.stream).x
        labels = self.labels[part.clips]
        scores = self.parallel(x, part.present if self.counts_present else None)
        hits = (scores.detach().argmax(dim=1) == labels).float().mean()
        return {
            "loss": F.cross_entropy(scores, labels, label_smoothing=self.smoothing),
            "train_top1": 100 * hits,
        }

    def after_step(self, values: dict[str, float]) -> None:
        """Evaluate at the end of an epoch."""
        for name, mean in self.since.items():
            mean.add(values[name])
        done = self.step // self.steps_per_epoch
        at_end = self.step % self.steps_per_epoch == 0 and done % self.config.eval_every == 0
        if at_end or self.step == self.total_steps:
            self.evaluate()

    def evaluate(self) -> None:
        """Score the test clips, each once, and write down what that gives."""
        model = self.model if self.average is None else cast(Classifier, self.average.module)
        model.eval()

        def score(x: Tensor, present: Tensor | None) -> Tensor:
            with self.autocast():
                scores: Tensor = model(x, present)
            return scores

        self.scores = self.test.map(score)
        self.model.train()
        labels = self.data.labels[self.data.test]
        test_loss = F.cross_entropy(torch.from_numpy(self.scores), torch.from_numpy(labels))
        self.history.append(
            {
                "epoch": round(self.epoch, 4),
                **{name: mean.take() for name, mean in self.since.items()},
                "test_loss": float(test_loss),
                **classification_metrics(labels, self.scores, len(self.data.classes)),
            }
        )

    def extra_state(self) -> dict[str, Any]:
        """The history, and the scores of the last evaluation."""
        return {
            "history": self.history,
            "since": {name: mean.state for name, mean in self.since.items()},
            "scores": None if self.scores is None else torch.from_numpy(self.scores),
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.history = state["history"]
        self.since = {name: Mean(*values) for name, values in state["since"].items()}
        self.scores = None if state["scores"] is None else state["scores"].numpy()

    def export(self) -> None:
        """At the end, save the classifier, and an encoder that was trained where ``from_pretrained`` finds it."""
        if self.step == self.total_steps:
            encoder = save_trial(self.model, self.data, self.output)
            if not self.model.frozen:
                encoder.save_pretrained(self.output / "encoder")

    def trial(self) -> Trial:
        """The result of a run that is done.

        Raises:
            StoppedError: It is not.
        """
        if self.step < self.total_steps or self.scores is None:
            raise StoppedError(
                f"{self.output}: stopped at step {self.step} of {self.total_steps}; the same command goes on."
            )
        return make_trial(self.data, self.run.seed, self.scores, self.history)


def make_trial(data: Labelled, seed: int, scores: NDArray[np.float32], history: list[dict[str, float]]) -> Trial:
    """The result of a trial: its last epoch, and the best one by the test clips beside it."""
    labels = data.labels[data.test]
    metrics = classification_metrics(labels, scores, len(data.classes))
    best = max(history, key=lambda entry: entry["top1"])
    best = {name: value for name, value in best.items() if name == "epoch" or name in metrics}
    return Trial(seed, data.names(data.test), labels, None, scores, metrics, best, history)


def save_trial(model: Classifier, data: Labelled, folder: Path) -> MAMPEncoder:
    """Write ``classifier/`` into the folder of a trial; returns its encoder."""
    with torch.random.fork_rng(devices=[]):
        classifier = MAMPClassifier(model.config, model.head, data.classes)
    classifier.load_state_dict(model.state_dict())
    encoder = classifier.encoder().cpu()
    save_classifier(encoder, classifier.head, folder / "classifier", data.classes, data.describe()["name"])
    return encoder


def source_of(job: Job, seed: int) -> tuple[Representation, MAMPEncoder]:
    """The encoder of a trial, for clips of another length where the settings say so.

    Raises:
        ConfigError: There is no encoder to train, or its tokens do not divide that length.
        DataError: The encoder is for other joints than the clips have.
    """
    source = job.representation(seed)
    encoder = (
        source.encoder and source.encoder.without_readout()
    )  # heads take tokens, and training changes what it fits
    if encoder is None:
        raise ConfigError(f"{job.weights}: this protocol needs an encoder; name weights, or untrained.")
    if encoder.config.preprocessing.layout != job.data.store.layout.name:
        raise DataError(
            f"{job.data.store.path}: the weights expect the layout {encoder.config.preprocessing.layout}, the clips "
            f"have {job.data.store.layout.name}. Prepare the data for the layout of the weights, or choose others."
        )
    if job.config.preprocessing is not None:
        encoder = with_preprocessing(encoder, preprocessing_of(job.config.preprocessing))
    if job.config.num_frames is not None:
        encoder = resize_encoder(encoder, job.config.num_frames)
    return source, encoder


def classifier_of(encoder: MAMPEncoder, make: Callable[[MAMPConfig], Classifier], seed: int) -> Classifier:
    """A classifier with the weights of an encoder and a head drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        seeded("head", seed)
        model = make(encoder.config)
    missing, unexpected = model.load_state_dict(encoder.state_dict(), strict=False)
    wrong = [name for name in missing if not name.startswith("head.")] + unexpected
    assert not wrong, wrong
    return model


def digest(*arrays: IntArray) -> str:
    """What stands for some arrays of whole numbers."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array, "<i8").tobytes() + b"/")
    return found.hexdigest()[:16]


def claim_trial(folder: Path, facts: dict[str, Any]) -> None:
    """Make a folder that of a trial, as ``trial.json`` says; one without a checkpoint holds nothing yet.

    Raises:
        TrainingError: It holds another trial, or cannot be written.
    """
    record = folder / "trial.json"
    found = None
    try:
        if record.exists() and list_checkpoints(folder / "checkpoints"):
            found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder}: cannot be used ({error}). Choose another output folder.") from None
    claim(record, facts, found, changed_settings(found or {}, plain(facts)), "run", TrainingError)


def run_trials(
    job: Job,
    make: Callable[[MAMPConfig], Classifier],
    optimizer: Callable[[Classifier], torch.optim.Optimizer],
    choose: Callable[[int], IntArray] | None = None,
    smoothing: float = 0.0,
    notes: tuple[str, ...] = (),
) -> Result:
    """Train and evaluate once for each seed; trials that are done are read, the others go on.

    Args:
        job: The evaluation.
        make: Classifier for the configuration of an encoder.
        optimizer: Makes the optimiser of a classifier.
        choose: Training clips of a seed; all of the split by default.
        smoothing: Label smoothing.
        notes: What a reader should know.
    """
    trials, said = [], list(notes)
    for seed in job.seeds:
        source, encoder = source_of(job, seed)
        clips = job.data.train if choose is None else choose(seed)
        folder = job.output / f"seed={seed}"
        facts = {
            "config": job.config.identity(),
            "encoder": encoder.config.to_dict(),
            "weights": [source.kind, source.fingerprint],
            "data": job.data.sha256["positions.bin"],
            "labels": digest(job.data.train, job.data.test, job.data.labels),
            "seed": seed,
        }
        with job.world.together():
            if job.world.is_main:
                claim_trial(folder, facts)
        model = classifier_of(encoder, make, seed)
        run = Supervised(
            job.data, clips, model, optimizer, job.config, seed, folder, job.world, smoothing, job.progress
        )
        if run.step < run.total_steps:
            run.train()
        trials.append(run.trial())
        lost = sorted(set(range(len(job.data.classes))) - set(job.data.labels[clips].tolist()))
        if lost:
            said.append(f"Seed {seed}: no labelled clip of {', '.join(job.data.classes[k] for k in lost)}.")
    settings = {**dataclasses.asdict(job.config), "train_clips": len(clips)}
    return Result(
        "", "top1", source.describe(), job.data.describe(), settings, trials, said, device=str(job.world.device)
    )
