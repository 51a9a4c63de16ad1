"""``mamp embed``: recordings to one file of embeddings."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from mamp.cli.command import add_weights_options, find_device
from mamp.console import positive, say_result
from mamp.embedder import Embedder
from mamp.embedding import EncodeOptions
from mamp.outputs import output_file
from mamp.readers.options import add_recording_options, reading_options
from mamp.shards import ON_CPU, Shard, embed_sources
from mamp.sources import named_sources
from mamp.workers import FEW, cores, in_order

DESCRIPTION = """\
Embed recordings, and write the embeddings to one .npz file:

  embeddings   float32: [files, D] for --pool clip, [files, V, D] for joint;
               [rows, D] for person and frame, one file after the other;
               with --window a row for each window, one file after the other
  offsets      only for person, frame and windows: rows offsets[i] to offsets[i + 1] are those of file i
  files        the files that were embedded, in the order given
  weights, fingerprint, pool    what made them

A FILE may also be a folder, a zip file, or a store of mamp.prepare: all
recordings in it. An OUT that ends in .parquet gets a row for each embedding.
Many recordings are spread over all cores. When it was stopped or killed, the
same command goes on where it was. A file that cannot be read is named on
standard error and left out; the exit status is then 1."""
EXAMPLE = "mamp embed walk.bvh wave.bvh -o embeddings.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings: .bvh .skeleton .npz .npy .csv .amc ...")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT.npz", help="the file to write")
    parser.add_argument(
        "--pool",
        choices=("clip", "person", "frame", "joint"),
        default="clip",
        help="what one embedding stands for [%(default)s]",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="recordings at a time [%(default)s]"
    )
    parser.add_argument(
        "--window", type=positive, metavar="N", help="cut recordings into windows of N of their frames, and embed each"
    )
    parser.add_argument("--stride", type=positive, metavar="N", help="frames from one window to the next [the window]")
    parser.add_argument("--precision", choices=("bfloat16",), help="faster, and a little less exact [float32]")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes, without a GPU [all cores]")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that fails, and write nothing")
    add_weights_options(parser)
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    output = output_file(args.output)
    options = EncodeOptions(args.pool, args.batch_size, args.precision, window=args.window, stride=args.stride)
    embedder = Embedder(args.weights, options, find_device(args.device), args.revision)
    embedder.identity  # noqa: B018 - weights that are not there are told of before anything else
    failed: dict[str, str] = {}
    sources = named_sources(args.files, reading_options(args), failed)
    for name, error in failed.items():
        _complain(name, error)
    on_cpu = embedder.encoder.device.type == "cpu"
    processes = (args.workers or cores()) if on_cpu and len(sources) > FEW else 1
    # Only on a terminal, and only when it takes a few seconds.
    with tqdm(total=len(sources), unit="file", delay=2, disable=None, file=sys.stderr) as bar:

        def seen(shard: Shard) -> None:
            for name, error in shard.failed.items():
                _complain(name, error)
            bar.update(len(shard.names) + len(shard.failed))

        summary = embed_sources(
            sources,
            output,
            embedder,
            partial(in_order, processes=processes),
            at_once=min(args.batch_size, ON_CPU) if on_cpu else args.batch_size,
            threads=1 if processes > 1 else torch.get_num_threads(),
            strict=args.strict,
            failed=failed,
            seen=seen,
        )
    shape, total = list(summary.shape), len(summary.names) + len(summary.failed)
    data = {
        "output": str(args.output),
        "shape": shape,
        "files": summary.names,
        "failed": [{"file": file, "error": error} for file, error in summary.failed.items()],
        "kept": summary.kept,
        "weights": args.weights,
        "fingerprint": embedder.fingerprint,
        "pool": args.pool,
    }
    counted = f"{len(summary.names)} of {total}" if summary.failed else f"{total}"
    text = f"{args.output}: {counted} recordings, embeddings {shape}, pool {args.pool}, weights {args.weights}"
    say_result(args.json, data, text + (f"; {summary.kept} from an earlier run" if summary.kept else ""))
    return 1 if summary.failed else 0


def _complain(name: str, error: str) -> None:
    line = error.partition("\n")[0].rstrip(":")
    tqdm.write(f"mamp embed: {line if name in line else f'{name}: {line}'}", file=sys.stderr)
