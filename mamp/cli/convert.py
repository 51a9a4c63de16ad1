"""``mamp convert``: convert a checkpoint of the published code to a folder for ``from_pretrained``."""

from __future__ import annotations

import argparse

from mamp.console import say_result
from mamp.errors import WeightsError
from mamp.hub import convert_checkpoint, converted_folder, describe

DESCRIPTION = """\
Convert a checkpoint of the published MAMP code (pre-training, linear probe or
fine-tuning) to a folder with config.json, model.safetensors and a model card,
which --weights and MAMPEncoder.from_pretrained take. The head of a linear probe
or of fine-tuning is kept, for mamp predict and MAMPClassifier. Nothing in the checkpoint
is executed. The preset states the preprocessing that the weights were trained with."""
EXAMPLE = "mamp convert checkpoint-399.pth weights/ntu60-xsub --preset ntu60-xsub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT.pth", help="the file to convert")
    parser.add_argument("out_dir", metavar="OUT_DIR", nargs="?", help="the folder to write")
    parser.add_argument(
        "--as", dest="name", metavar="NAME", help="write it where this name is looked up, instead of OUT_DIR"
    )
    parser.add_argument("--preset", metavar="NAME", help="preprocessing of ntu60-xsub, ntu120-xset, pku1, ...")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if (args.out_dir is None) == (args.name is None):
        raise WeightsError("expected either OUT_DIR or --as NAME, found " + ("both." if args.name else "neither."))
    out_dir = args.out_dir if args.name is None else converted_folder(args.name)
    result = convert_checkpoint(args.checkpoint, out_dir, preset=args.preset or args.name)
    facts = {
        "directory": str(result.directory),
        "kind": result.kind,
        "preset": result.preset,
        "epoch": result.epoch,
        "sha256": result.sha256,
        "dropped_tensors": len(result.dropped),
        "classes": result.num_classes,
        **{key: value for key, value in describe(result.directory).items() if key in _FROM_WEIGHTS},
    }
    epoch = "" if result.epoch is None else f", epoch index {result.epoch}"
    head = "" if result.num_classes is None else f" and head of {result.num_classes} classes"
    text = (
        f"{result.directory}: encoder{head} of a {result.kind} checkpoint{epoch}; {facts['parameters']:,} parameters, "
        f"preprocessing of {result.preset or 'the run'}, fingerprint {facts['fingerprint']}"
    )
    say_result(args.json, facts, text)
    return 0


_FROM_WEIGHTS = ("parameters", "fingerprint", "config")
