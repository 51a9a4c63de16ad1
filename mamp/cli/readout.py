"""``mamp readout``: fit the linear map from pooled tokens to embeddings to unlabelled clips."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from mamp.cli.command import add_weights_options, check_folder, open_encoder
from mamp.console import positive, say_result
from mamp.data import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.hub import describe
from mamp.train.average import average_encoders
from mamp.train.readout import ReadoutSettings, add_readout

DESCRIPTION = """\
Fit a readout to weights: a linear map (whitening) from the pooled tokens to the
embedding. It subtracts the mean and scales the principal directions to one
size, so that embeddings can be compared directly. It needs unlabelled clips:
those of the pre-training, or your own, which adapts the embeddings to them."""
EXAMPLE = "mamp readout runs/openmocap/readout --weights runs/openmocap --data store"

DEFAULTS = ReadoutSettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("out_dir", type=Path, metavar="OUT_DIR", help="folder to write, for from_pretrained")
    add("--data", type=Path, required=True, metavar="STORE", help="store of clips, made by python -m mamp.prepare")
    add("--dim", type=positive, default=DEFAULTS.dim, metavar="N", help="length of an embedding [%(default)s]")
    add(
        "--pooling",
        default=DEFAULTS.pooling,
        help="pooling of the tokens: mean, max, std, or several joined by + [%(default)s]",
    )
    add("--pose", action="store_true", help="also take the pose of the body: where joints are, and how far they stray")
    add("--clips", type=positive, default=DEFAULTS.clips, metavar="N", help="crops to fit it to [%(default)s]")
    add(
        "--window",
        type=positive,
        nargs=2,
        default=DEFAULTS.window,
        metavar=("MIN", "MAX"),
        help="frames of a crop [30 150]",
    )
    add(
        "--whitening",
        type=float,
        default=DEFAULTS.whitening,
        metavar="SHARE",
        help="1 makes all directions equal, 0 leaves them unchanged [%(default)g]",
    )
    add(
        "--like",
        metavar="NAME",
        help="fit the embeddings of these weights, to compare with them; in place of --dim, --pose and --whitening",
    )
    add("--undisturbed", action="store_true", help="do not augment the crops (rotation, mirroring, noise)")
    add(
        "--weight-by",
        default=DEFAULTS.weight_by,
        metavar="COLUMN",
        help="column with the group of a clip",
    )
    add("--group-weights", nargs="*", default=(), metavar="GROUP=W", help="weights of groups [1]")
    add("--seed", type=int, default=DEFAULTS.seed, help="seed of the crops [%(default)s]")
    add("--split", help="split to fit it to [all clips]")
    add("--split-protocol", metavar="NAME", help="the split to use, if the set has several; takes its training clips")
    add_weights_options(parser)
    add(
        "--average",
        nargs="+",
        default=[],
        metavar="NAME",
        help="average --weights with these, which were trained from the same weights; repeat a name to weight it",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    check_folder(args.out_dir, args.weights)
    settings = ReadoutSettings(
        **{name: getattr(args, name) for name in ("dim", "pooling", "pose", "clips", "whitening", "weight_by", "seed")},
        window=tuple(args.window),
        disturbed=not args.undisturbed,
        weights=tuple(args.group_weights),
        split=args.split or ("train" if args.split_protocol else None),
        protocol=args.split_protocol,
    )
    store, encoder = ClipStore(args.data), open_encoder(args)
    if args.average:
        others = [MAMPEncoder.from_pretrained(name, device=encoder.device) for name in args.average]
        encoder = average_encoders([encoder, *others])
    like = None if args.like is None else MAMPEncoder.from_pretrained(args.like, device=encoder.device)
    result = add_readout(encoder, store, settings, progress=True, like=like)
    result.save_pretrained(args.out_dir)
    facts = {
        "directory": str(args.out_dir),
        "weights": args.weights,
        "average": args.average,
        "like": args.like,
        "settings": _used(settings, result, like),
        "fingerprint": describe(args.out_dir)["fingerprint"],
    }
    fitted = f"embeddings of {result.config.embedding_dim} numbers, fitted to {settings.clips} crops of {args.data}"
    say_result(args.json, facts, f"{args.out_dir}: {fitted}, fingerprint {facts['fingerprint']}")
    return 0


def _used(settings: ReadoutSettings, result: MAMPEncoder, like: MAMPEncoder | None) -> dict[str, Any]:
    """The settings that were used: those of other weights replace some."""
    used = dataclasses.asdict(settings)
    if like is not None:
        used |= {"dim": result.config.readout_dim, "pose": result.config.readout_pose, "whitening": None}
    return used
