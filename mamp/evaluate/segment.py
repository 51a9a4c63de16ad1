"""``segment``: what untrimmed recordings show, and when, by a light head on frame embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.evaluate.detection import Scored, detection_metrics
from mamp.evaluate.frozen import read_trial, write_trial
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result
from mamp.evaluate.untrimmed import Untrimmed, extract_steps, open_untrimmed
from mamp.outputs import write_whole
from mamp.segment.features import step_edges, step_labels
from mamp.segment.head import HeadConfig, train_head
from mamp.segment.segmenter import Segmenter, decode, segments_of
from mamp.segment.segments import label_rows, to_csv

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

HEADLINE = "map@0.5"
NOTE = (
    "accuracy is that of frames, the background too; edit and f1@k are of runs of frames without it. map@t is the mean "
    "average precision over actions of intervals that overlap by more than t; map_v, over recordings. majority is the "
    "accuracy of always predicting the commonest class of the training frames."
)


def run_segment(job: Job) -> Result:
    """Run ``segment``."""
    source, data = job.representation(job.seeds[0]), job.data
    assert isinstance(data, Untrimmed)  # by PROTOCOL.open
    fresh = source.kind == "untrained"
    features = {seed: extract_steps(job, seed) for seed in (job.seeds if fresh else job.seeds[:1])}
    trials = []
    for seed in job.seeds if job.world.is_main else ():
        folder = job.output / f"seed={seed}"
        done = read_trial(folder / "trial.npz")
        if done is None:
            steps = features[seed if fresh else job.seeds[0]]
            done = segment_trial(job, data, steps, seed, folder), []
            write_trial(folder / "trial.npz", *done)
        trials.append(done[0])
    result = job.result(HEADLINE, source, trials, [NOTE])
    if not trials:
        return result
    ends = np.mean([trial.intervals[HEADLINE] for trial in trials], axis=0).tolist()
    over = "test recordings, by bootstrap" + (" (mean of the ends for each seed)" if len(trials) > 1 else "")
    return dataclasses.replace(result, interval=(ends[0], ends[1]), interval_over=over)


def segment_trial(job: Job, data: Untrimmed, steps: Sequence[FloatArray], seed: int, folder: Path) -> Trial:
    """Train a head on the training recordings, keep it, and score what it finds in the test recordings."""
    frames, rates = data.store.columns["frames"], data.store.columns["fps"]
    edges = {clip: step_edges(int(frames[clip]), float(rates[clip])) for clip in (*data.train, *data.test)}
    labels = [step_labels(data.frames(clip), edges[clip]) for clip in data.train]
    head = train_head([steps[clip] for clip in data.train], labels, data.num_classes, job.config, seed, job.progress)
    encoder = job.representation(seed).encoder
    if encoder is not None:
        segmenter = Segmenter(encoder, job.config)
        segmenter.weights = job.weights if job.representation(seed).kind == "pretrained" else None
        segmenter.classes_, segmenter.head_ = list(data.classes), head
        segmenter.save(folder / "head")
    scored, found = [], []
    for clip in data.test:
        rows, scores = decode(head, job.config, steps[clip])
        scored.append(score(data, clip, rows, scores, edges[clip]))
        found.append(segments_of(rows, scores, edges[clip], float(rates[clip]), data.classes))
    names = data.names(data.test)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "segments.csv", to_csv(zip(names, found, strict=True)))
    metrics, intervals = detection_metrics(scored, data.num_classes)
    metrics["majority"] = majority(data)
    return Trial(seed, names, data.labels[data.test], None, None, metrics, intervals=intervals)


def score(data: Untrimmed, clip: int, rows: IntArray, scores: NDArray[np.floating], edges: IntArray) -> Scored:
    """What was found in a recording, rows [n, 3] of class, first step and end, beside what is known."""
    rows = np.stack([rows[:, 0], edges[rows[:, 1]], edges[rows[:, 2]]], axis=1)
    frames = data.frames(clip)
    return Scored(data.intervals[clip], rows, scores.astype(np.float64), frames, label_rows(rows, len(frames)))


def majority(data: Untrimmed) -> float:
    """Share of the test frames, in per cent, of the class that most training frames have."""
    counts = [np.bincount(data.frames(clip), minlength=data.num_classes + 1) for clip in data.train]
    common = int(np.sum(counts, axis=0).argmax())
    test = np.concatenate([data.frames(clip) for clip in data.test])
    return 100 * float((test == common).mean())


PROTOCOL = Protocol(
    name="segment",
    description="Untrimmed recordings: a light head on frame embeddings names what is shown, and when; frame "
    "accuracy, edit score, segment F1 and average precision.",
    source="The event-based protocol of PKU-MMD, and the measures of action segmentation; the head is ours.",
    config=HeadConfig(),
    run=run_segment,
    poses=True,
    open=open_untrimmed,
)
