"""``mamp adapt``: weights whose embeddings tell apart what labelled examples do."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mamp.adapt import adapt_to_embeddings, check_adaptable
from mamp.classes import SHRINKAGE
from mamp.cli.command import add_weights_options, check_folder, open_encoder
from mamp.cli.examples import embed_examples, labelled_rows
from mamp.console import positive, say_result
from mamp.data import ClipStore
from mamp.data.labels import has_label
from mamp.data.loader import training_clips
from mamp.encoder import MAMPEncoder
from mamp.errors import DataError, MAMPError
from mamp.hub import describe
from mamp.readers.options import add_recording_options
from mamp.rows import embed_each

DESCRIPTION = """\
Adapt weights to what you tell apart: scale down what labelled examples of one
class differ in. Five to ten examples of each class gain most, two a little.
Examples are a CSV file as for mamp label, with the columns file and label, or
the clips of a store made by python -m mamp.prepare. OUT_DIR gets weights for
--weights of other commands, such as mamp index and mamp label. A file that
cannot be read is named on standard error and left out; the exit status is then
1."""
EXAMPLE = "mamp adapt my-weights --examples examples.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder to write, for from_pretrained")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--examples", type=Path, metavar="CSV", help="file, label[, start, end] of each example")
    source.add_argument("--data", type=Path, metavar="STORE", help="a store of clips with labels")
    parser.add_argument("--by", metavar="COLUMN", help="column of the store [label]")
    parser.add_argument("--split", help="split of the store; keep what you test on out of it [all clips]")
    parser.add_argument("--split-protocol", metavar="NAME", help="the split to use, if the set has several")
    parser.add_argument(
        "--shrinkage",
        type=float,
        default=SHRINKAGE,
        metavar="VARIANCE",
        help="the larger, the less is changed [%(default)g]",
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="recordings at a time [32]")
    add_weights_options(parser)
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    check_folder(args.out_dir, args.weights)
    if args.data is None and (args.by or args.split or args.split_protocol):
        raise MAMPError("--by and --split are of a store (--data); --examples has a row for each example.")
    encoder = open_encoder(args)
    check_adaptable(encoder, args.shrinkage)
    failed: list[dict[str, str]] = []
    read = embed_examples if args.data is None else _embed_store
    rows, names = read(encoder, args, failed, people=True)
    labels = [name for name, some in zip(names, rows, strict=True) for _ in some]
    adapted = adapt_to_embeddings(encoder, np.concatenate(rows), labels, shrinkage=args.shrinkage)
    adapted.save_pretrained(args.out_dir)
    counts = {name: names.count(name) for name in sorted(set(names))}
    facts = {
        "directory": str(args.out_dir),
        "weights": args.weights,
        "examples": counts,
        "shrinkage": args.shrinkage,
        "failed": failed,
        "fingerprint": describe(args.out_dir)["fingerprint"],
    }
    learnt = f"adapted to {len(names)} examples of {len(counts)} classes"
    say_result(args.json, facts, f"{args.out_dir}: {args.weights}, {learnt}, fingerprint {facts['fingerprint']}")
    return 1 if failed else 0


def _embed_store(
    encoder: MAMPEncoder, args: argparse.Namespace, failed: list[dict[str, str]], people: bool
) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Embeddings of each labelled clip of a store, and their labels."""
    store, column = ClipStore(args.data), args.by or "label"
    labelled, values = has_label(store, column), store.columns[column].astype(str)
    split = args.split or ("train" if args.split_protocol else None)
    clips = [clip for clip in training_clips(store, split, args.split_protocol).tolist() if labelled[clip]]
    if not clips:
        raise DataError(f"{store.path}: no clip has a value in the column {column!r}; they are not labelled.")
    recordings = map(store.recording, tqdm(clips, unit="clip", disable=None))
    found = embed_each(encoder, recordings, batch_size=args.batch_size, people=people)
    rows, names = labelled_rows(found, [str(values[clip]).strip() for clip in clips], args, failed)
    if not rows:
        raise DataError(f"{store.path}: none of {len(clips)} clips could be embedded.")
    return rows, names
