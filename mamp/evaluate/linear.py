"""Linear probe as published: batch norm and a linear layer, trained by SGD on a frozen encoder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from mamp.config import MAMPConfig
from mamp.data.augment import Augmentation
from mamp.data.loader import generator_for
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError
from mamp.evaluate.features import extract
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result
from mamp.evaluate.scores import classification_metrics
from mamp.evaluate.settings import SPREAD, SupervisedConfig, seeded
from mamp.evaluate.supervised import (
    check_batch,
    classifier_of,
    make_trial,
    run_trials,
    save_trial,
    source_of,
    trial_folder,
)
from mamp.heads import EPS, BatchNorm, Classifier, LinearHead, set_norm_clips
from mamp.train.loop import set_learning_rate

FEATURES_ONCE = "Not the published recipe: training clips are not augmented, and their features were extracted once."
NO_POSE = "Without what the readout of these weights takes of poses: heads take tokens."


@dataclass(frozen=True)
class LinearConfig(SupervisedConfig):
    """Settings of ``linear``; the defaults are the published ones.

    Attributes:
        batch_size: Effective batch, over all processes and accumulation; the learning rate belongs to it.
        lr: Largest learning rate.
        weight_decay: Weight decay.
        momentum: Momentum of SGD.
        augment: train augments the training clips and encodes each once per epoch; none extracts the features of all
            clips once, which is fast but not the published recipe.
    """

    batch_size: int = 256
    lr: float = 0.1
    weight_decay: float = 0.0
    momentum: float = 0.9
    augment: Literal["train", "none"] = "train"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum: expected a number in [0, 1), found {self.momentum}.")
        for name in ("num_frames", "preprocessing"):
            if self.augment == "none" and getattr(self, name) is not None:
                raise ConfigError(f"{name}: features that are extracted once are those of encode; leave it out.")


def make_classifier(config: MAMPConfig, num_classes: int) -> Classifier:
    """A frozen encoder with a linear head."""
    return Classifier(config, LinearHead(config.dim_feat, num_classes), frozen=True)


def make_optimizer(config: LinearConfig, model: nn.Module) -> torch.optim.Optimizer:
    """SGD on what needs a gradient."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def run_linear(job: Job) -> Result:
    """Run ``linear``."""
    config: LinearConfig = job.config
    if config.augment == "none":
        return run_on_features(job)
    make = partial(make_classifier, num_classes=len(job.data.classes))
    return run_trials(job, make, partial(make_optimizer, config))


def run_on_features(job: Job) -> Result:
    """The same head and schedule on features that are extracted once."""
    config, data = job.config, job.data
    check_batch(data, len(data.train), config.batch_size)
    trials, notes = [], [FEATURES_ONCE]
    features: NDArray[np.float32] | None = None
    for seed in job.seeds:
        source, _ = source_of(job, seed)
        if source.encoder is not None and source.encoder.pose is not None:
            source = dataclasses.replace(source, encoder=source.encoder.without_pose())
            job, notes = dataclasses.replace(job, opened=source), [FEATURES_ONCE, NO_POSE]
        if features is None or source.kind == "untrained":
            here = extract(job, seed)
            features = job.world.gather([] if here is None else [here])[0]
        trial, head = fit_head(features, job, seed)
        trials.append(trial)
        if source.encoder is not None and job.world.is_main:
            save_head(head, source.encoder, job, seed)
    return job.result("top1", source, trials, notes)


def save_head(head: LinearHead, encoder: MAMPEncoder, job: Job, seed: int) -> None:
    """Write the classifier of an encoder and the head that was trained on its features."""
    plain, on_tokens = encoder.without_readout(), head_on_tokens(head, encoder)
    model = classifier_of(plain, lambda config: Classifier(config, on_tokens, frozen=True), seed)
    save_trial(model.cpu(), job.data, trial_folder(job, seed))


def head_on_tokens(head: LinearHead, encoder: MAMPEncoder) -> LinearHead:
    """The head that says of pooled tokens what ``head`` says of embeddings: a readout is linear, as the head is."""
    config = encoder.config
    with torch.random.fork_rng(devices=[]):
        found = LinearHead(config.pooled_dim, head.num_classes, pooling=config.pooling)
    state = {name: value.cpu() for name, value in head.state_dict().items()}
    if encoder.readout is not None:
        turn, move = (value.detach().double().cpu() for value in (encoder.readout.weight, encoder.readout.bias))
        weight = state["fc.1.weight"].double() * (state["fc.0.running_var"].double() + EPS).rsqrt()
        bias = state["fc.1.bias"] + weight @ (move - state["fc.0.running_mean"])
        still = {
            "fc.0.running_mean": torch.zeros(config.pooled_dim),
            "fc.0.running_var": torch.full((config.pooled_dim,), 1 - EPS),
        }
        state |= {**still, "fc.1.weight": weight @ turn, "fc.1.bias": bias}
    found.load_state_dict(state)
    return found.eval()


def fit_head(features: NDArray[np.float32], job: Job, seed: int) -> tuple[Trial, LinearHead]:
    """Train the linear head on features [N, D] of all clips, by the published schedule; every process does the same."""
    config, data, device = job.config, job.data, job.world.device
    x, labels = torch.from_numpy(features).to(device), torch.from_numpy(data.labels).to(device)
    train, test = (torch.from_numpy(np.asarray(clips)) for clips in (data.train, data.test))
    with torch.random.fork_rng(devices=[]):
        seeded("head", seed)
        norm = nn.BatchNorm1d if config.norm_clips is None else BatchNorm
        head = LinearHead(x.shape[1], len(data.classes), norm).to(device)
        set_norm_clips(head, config.norm_clips)
    optim, optimizer = config.optimization(), make_optimizer(config, head)
    steps = len(train) // config.batch_size
    total = round(config.epochs * steps)
    history: list[dict[str, float]] = []
    losses: list[float] = []
    order = train
    for step in range(total):
        epoch, place = divmod(step, steps)
        if place == 0:
            order = train[torch.randperm(len(train), generator=generator_for(seed, "order", epoch))]
        set_learning_rate(optimizer, step / steps, optim)
        clips = order[place * config.batch_size : (place + 1) * config.batch_size]
        loss = F.cross_entropy(head.train().classify(x[clips]), labels[clips])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        done = (step + 1) / steps
        if step + 1 == total or (place + 1 == steps and round(done) % config.eval_every == 0):
            with torch.no_grad():
                scores = head.eval().classify(x[test]).cpu().numpy()
            metrics = classification_metrics(data.labels[data.test], scores, len(data.classes))
            history.append({"epoch": round(done, 4), "loss": float(np.mean(losses)), **metrics})
            losses = []
    return make_trial(data, seed, scores, history), head


PROTOCOL = Protocol(
    name="linear",
    description="Linear probe: the encoder is frozen, batch norm and a linear layer are trained on its mean token.",
    source="The paper's linear evaluation; published recipe.",
    config=LinearConfig(),
    run=run_linear,
    free=SPREAD,
)
