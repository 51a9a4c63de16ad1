"""``mamp readout``: fit the linear map from pooled tokens to embeddings to clips without labels."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from mamp.cli.command import Command, add_weights_options, open_encoder
from mamp.console import positive, say_result
from mamp.data import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.hub import describe
from mamp.train.average import average_encoders
from mamp.train.readout import ReadoutSettings, add_readout

DESCRIPTION = """\
Fit a readout to weights: a linear map from what is pooled of the tokens to the
embedding, which subtracts what all clips have in common and brings the
principal directions to one size, so that embeddings can be compared as they
are. It needs clips, of any kind and without labels: those of the pre-training,
or your own, which makes the embeddings tell your clips apart."""

DEFAULTS = ReadoutSettings()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="the folder to write, for from_pretrained")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="STORE", help="store of clips, made by python -m mamp.prepare"
    )
    parser.add_argument(
        "--dim", type=positive, default=DEFAULTS.dim, metavar="N", help="length of an embedding [%(default)s]"
    )
    parser.add_argument(
        "--pooling",
        default=DEFAULTS.pooling,
        help="what stands for the tokens: mean, max, std, or several joined by + [%(default)s]",
    )
    parser.add_argument(
        "--clips", type=positive, default=DEFAULTS.clips, metavar="N", help="crops to fit it to [%(default)s]"
    )
    parser.add_argument(
        "--window",
        type=positive,
        nargs=2,
        default=DEFAULTS.window,
        metavar=("MIN", "MAX"),
        help="frames of a crop [30 150]",
    )
    parser.add_argument(
        "--whitening",
        type=float,
        default=DEFAULTS.whitening,
        metavar="SHARE",
        help="1 makes all directions alike, 0 leaves them as they are [%(default)g]",
    )
    parser.add_argument(
        "--undisturbed", action="store_true", help="take the crops as they are, not turned, mirrored and disturbed"
    )
    parser.add_argument(
        "--weight-by", default=DEFAULTS.weight_by, metavar="COLUMN", help="column that names the group of a clip"
    )
    parser.add_argument("--group-weights", nargs="*", default=(), metavar="GROUP=W", help="weights of groups [1]")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed, help="of what is drawn [%(default)s]")
    parser.add_argument("--split", help="clips to take, by the store's column for the split [all]")
    parser.add_argument(
        "--split-protocol", metavar="NAME", help="which split of a set that has several; takes its training clips"
    )
    add_weights_options(parser)
    parser.add_argument(
        "--average",
        nargs="+",
        default=[],
        metavar="NAME",
        help="mean of --weights and these, runs that went on from the same weights; one named twice counts twice",
    )


def _run(args: argparse.Namespace) -> int:
    if args.out_dir.is_file():
        raise MAMPError(f"{args.out_dir}: expected a folder to write, found a file.")
    settings = ReadoutSettings(
        args.dim,
        args.pooling,
        args.clips,
        tuple(args.window),
        args.whitening,
        not args.undisturbed,
        args.weight_by,
        tuple(args.group_weights),
        args.seed,
        args.split or ("train" if args.split_protocol else None),
        args.split_protocol,
    )
    store, encoder = ClipStore(args.data), open_encoder(args)
    if args.average:
        others = [MAMPEncoder.from_pretrained(name, device=encoder.device) for name in args.average]
        encoder = average_encoders([encoder, *others])
    add_readout(encoder, store, settings, progress=True).save_pretrained(args.out_dir)
    facts = {
        "directory": str(args.out_dir),
        "weights": args.weights,
        "average": args.average,
        "settings": dataclasses.asdict(settings),
        "fingerprint": describe(args.out_dir)["fingerprint"],
    }
    text = f"{args.out_dir}: embeddings of {settings.dim} numbers, fitted to {settings.clips} crops of {args.data}"
    say_result(args.json, facts, f"{text}, fingerprint {facts['fingerprint']}")
    return 0


COMMAND = Command(
    name="readout",
    help="fit the map from tokens to embeddings to clips without labels",
    description=DESCRIPTION,
    example="mamp readout runs/openmocap/readout --weights runs/openmocap --data store",
    add_arguments=_add_arguments,
    run=_run,
)
