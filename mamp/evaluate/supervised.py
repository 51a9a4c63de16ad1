"""Train a classifier on labelled clips with the loop of pre-training, and evaluate it every epoch."""

from __future__ import annotations

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
from mamp.data.crops import to_device
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
from mamp.evaluate.settings import SupervisedConfig, changed_settings, seeded
from mamp.heads import Classifier, set_norm_clips
from mamp.hub import resize_encoder
from mamp.hub.heads import save_classifier
from mamp.outputs import claim, plain
from mamp.train.checkpoint import list_checkpoints
from mamp.train.loop import Loop, Mean, StoppedError
from mamp.train.start import training_augmentation


class Supervised(Loop):
    """One supervised run in this process.

    Args:
        job: The evaluation.
        seed: Seed of everything random.
        clips: Training clips.
        model: What is trained.
        optimizer: Makes its optimiser.
        smoothing: Label smoothing.

    Raises:
        DataError: There are fewer training clips than a batch has.
        ConfigError: The batch cannot be divided, or the clips cannot be preprocessed as the weights expect.
    """

    model: Classifier

    def __init__(
        self,
        job: Job,
        seed: int,
        clips: IntArray,
        model: Classifier,
        optimizer: Callable[[Classifier], torch.optim.Optimizer],
        smoothing: float = 0.0,
    ) -> None:
        config: SupervisedConfig = job.config
        data, world, optim, run = job.data, job.world, config.optimization(), config.run(seed)
        folder = trial_folder(job, seed)
        super().__init__(optim, run, data.store, model.config, folder, world, config.workers, job.progress)
        self.data, self.config, self.smoothing = data, config, smoothing
        check_batch(data, len(clips), config.batch_size)
        together = config.batch_size // (world.size * self.shard.micro_batches)
        if together * world.size < 2:
            raise ConfigError("per_device_batch: batch norm needs at least two clips at a time, found one.")
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
        """Cross-entropy of augmented clips, and their accuracy in per cent."""
        epoch, step = divmod(self.step, self.steps_per_epoch)
        first = self.shard.rows(self.optim.batch_size, micro).start
        seeded("layers", self.run.seed, epoch, step, first)  # what dropout and stochastic depth draw from
        cfg = self.encoder
        x = augment(part, self.augmentation, self.store.layout, cfg.num_frames, cfg.preprocessing.stream).x
        labels = self.labels[to_device(part.clips, self.world.device)]
        scores = self.parallel(x, part.present if self.counts_present else None)
        hits = (scores.detach().argmax(dim=1) == labels).float().mean()
        return {"loss": F.cross_entropy(scores, labels, label_smoothing=self.smoothing), "train_top1": 100 * hits}

    def after_step(self, values: dict[str, float]) -> None:
        """Evaluate at the end of an epoch."""
        for name, mean in self.since.items():
            mean.add(values[name])
        done = self.step // self.steps_per_epoch
        at_end = self.step % self.steps_per_epoch == 0 and done % self.config.eval_every == 0
        if at_end or self.step == self.total_steps:
            self.evaluate()

    def evaluate(self) -> None:
        """Score the test clips, each once, and add the metrics to the history."""
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
        """Restore them."""
        self.history = state["history"]
        self.since = {name: Mean(*values) for name, values in state["since"].items()}
        self.scores = None if state["scores"] is None else state["scores"].numpy()

    def export(self) -> None:
        """At the end, save the classifier and, if it was trained, the encoder for ``from_pretrained``."""
        if self.step == self.total_steps:
            encoder = save_trial(self.model, self.data, self.output)
            if not self.model.frozen:
                encoder.save_pretrained(self.output / "encoder")

    def trial(self) -> Trial:
        """The result of a finished run.

        Raises:
            StoppedError: It is not finished.
        """
        if self.step < self.total_steps or self.scores is None:
            steps = f"{self.step} of {self.total_steps}"
            raise StoppedError(f"{self.output}: stopped at step {steps}; the same command resumes.")
        return make_trial(self.data, self.run.seed, self.scores, self.history)


def make_trial(data: Labelled, seed: int, scores: NDArray[np.float32], history: list[dict[str, float]]) -> Trial:
    """The result of a trial: the last epoch, and for information the best one on the test clips."""
    labels = data.labels[data.test]
    metrics = classification_metrics(labels, scores, len(data.classes))
    best = max(history, key=lambda entry: entry["top1"])
    best = {name: value for name, value in best.items() if name == "epoch" or name in metrics}
    return Trial(seed, data.names(data.test), labels, None, scores, metrics, best, history)


def save_trial(model: Classifier, data: Labelled, folder: Path) -> MAMPEncoder:
    """Write ``classifier/`` into the folder of a trial, and return its encoder."""
    with torch.random.fork_rng(devices=[]):
        classifier = MAMPClassifier(model.config, model.head, data.classes)
    classifier.load_state_dict(model.state_dict())
    encoder = classifier.encoder().cpu()
    save_classifier(encoder, classifier.head, folder / "classifier", data.classes, data.describe()["name"])
    return encoder


def source_of(job: Job, seed: int) -> tuple[Representation, MAMPEncoder]:
    """The encoder of a trial, resized to another length of clips if the settings ask for it.

    Raises:
        ConfigError: There is no encoder to train, or the length is not divisible by that of a token.
        DataError: The encoder expects another layout than the clips have.
    """
    source = job.representation(seed)
    if source.encoder is None:
        raise ConfigError(f"{job.weights}: this protocol needs an encoder; name weights, or untrained.")
    encoder = source.encoder.without_readout()  # heads take tokens, and training changes what a readout was fitted to
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
    """A classifier with the weights of an encoder and a randomly initialised head."""
    with torch.random.fork_rng(devices=[]):
        seeded("head", seed)
        model = make(encoder.config)
    missing, unexpected = model.load_state_dict(encoder.state_dict(), strict=False)
    wrong = [name for name in missing if not name.startswith("head.")] + unexpected
    assert not wrong, wrong
    return model


def check_batch(data: Labelled, clips: int, batch_size: int) -> None:
    """Raise :class:`DataError` unless there are enough training clips for a batch."""
    if clips < batch_size:
        raise DataError(
            f"{data.store.path}: {clips} training clips are fewer than one batch of {batch_size}; use a smaller batch "
            f"(batch_size {max(clips, 2)} or less, with a smaller lr) or more labels."
        )


def trial_folder(job: Job, seed: int) -> Path:
    """Folder of a trial."""
    return job.output / f"seed={seed}"


def claim_trial(job: Job, seed: int, source: Representation, encoder: MAMPEncoder) -> None:
    """Claim a folder for a trial in ``trial.json``; a folder without a checkpoint is taken as empty.

    Raises:
        TrainingError: It holds another trial, or cannot be written.
    """
    labels = hashlib.sha256()
    for array in (job.data.train, job.data.test, job.data.labels):
        labels.update(np.ascontiguousarray(array, "<i8").tobytes() + b"/")
    facts = {
        "config": job.config.identity(),
        "encoder": encoder.config.to_dict(),
        "weights": [source.kind, source.fingerprint],
        "data": job.data.sha256["positions.bin"],
        "labels": labels.hexdigest()[:16],
        "seed": seed,
    }
    folder, found = trial_folder(job, seed), None
    record = folder / "trial.json"
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
    """Train and evaluate once for each seed; finished trials are read, the others resume.

    Args:
        job: The evaluation.
        make: Classifier for the configuration of an encoder.
        optimizer: Makes the optimiser of a classifier.
        choose: Training clips of a seed; all of the split by default.
        smoothing: Label smoothing.
        notes: What a reader should know.
    """
    data, trials, said = job.data, [], list(notes)
    for seed in job.seeds:
        source, encoder = source_of(job, seed)
        clips = data.train if choose is None else choose(seed)
        with job.world.together():
            if job.world.is_main:
                claim_trial(job, seed, source, encoder)
        run = Supervised(job, seed, clips, classifier_of(encoder, make, seed), optimizer, smoothing)
        if run.step < run.total_steps:
            run.train()
        elif job.world.is_main:
            run.export()  # it may have been killed before
        trials.append(run.trial())
        lost = sorted(set(range(len(data.classes))) - set(data.labels[clips].tolist()))
        if lost:
            said.append(f"Seed {seed}: no labelled clip of {', '.join(data.classes[k] for k in lost)}.")
    return job.result("top1", source, trials, said, train_clips=len(clips))
