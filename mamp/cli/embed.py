"""``mamp embed``: recordings to one file of embeddings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mamp.cli.command import add_weights_options, open_encoder, read_recording
from mamp.console import positive, say_result
from mamp.embedding import EncodeOptions
from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.hub import fingerprint
from mamp.inference import embed_recordings
from mamp.outputs import written_whole
from mamp.readers.options import add_recording_options
from mamp.skeleton import Skeleton

DESCRIPTION = """\
Embed recordings, and write the embeddings to one .npz file:

  embeddings   float32: [files, D] for --pool clip, [files, V, D] for joint;
               [rows, D] for person and frame, one file after the other;
               with --window a row for each window, one file after the other
  offsets      only for person, frame and windows: rows offsets[i] to offsets[i + 1] are those of file i
  files        the files that were embedded, in the order given
  weights, fingerprint, pool    what made them

A file that cannot be read is named on standard error and left out; the exit status is then 1."""
EXAMPLE = "mamp embed walk.bvh wave.bvh -o embeddings.npz"


@dataclass
class Result:
    """What became of the files."""

    files: list[str] = field(default_factory=list)
    arrays: list[NDArray[np.float32]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


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
    parser.add_argument("--strict", action="store_true", help="write nothing when any file fails")
    add_weights_options(parser)
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    output: Path = args.output
    if not output.parent.is_dir():
        raise MAMPError(f"{output}: the folder {output.parent} does not exist; make it first.")
    if output.is_dir():
        raise MAMPError(f"{output}: expected a file to write, found a folder.")
    options = EncodeOptions(args.pool, args.batch_size, args.precision, window=args.window, stride=args.stride)
    encoder = open_encoder(args)
    result = _embed_all(encoder, args, options)
    if not result.files:
        raise MAMPError(f"none of the {len(result.failed)} files could be embedded; {output} was not written.")
    if result.failed and args.strict:
        raise MAMPError(f"{len(result.failed)} of {len(args.files)} files failed; {output} was not written (--strict).")
    arrays = _collect(result, stacked=args.pool in ("clip", "joint") and args.window is None)
    identity = fingerprint(encoder)
    with written_whole(output) as file:
        np.savez(
            file,
            files=np.array(result.files),
            weights=np.array(args.weights),
            fingerprint=np.array(identity),
            pool=np.array(args.pool),
            **arrays,
        )
    shape = list(arrays["embeddings"].shape)
    data = {
        "output": str(output),
        "shape": shape,
        "files": result.files,
        "failed": [{"file": file, "error": error} for file, error in result.failed.items()],
        "weights": args.weights,
        "fingerprint": identity,
        "pool": args.pool,
    }
    counted = f"{len(result.files)} of {len(args.files)}" if result.failed else f"{len(result.files)}"
    say_result(
        args.json, data, f"{output}: {counted} recordings, embeddings {shape}, pool {args.pool}, weights {args.weights}"
    )
    return 1 if result.failed else 0


def _embed_all(encoder: MAMPEncoder, args: argparse.Namespace, options: EncodeOptions) -> Result:
    """Read and embed a batch of files at a time, so that memory does not grow with their number."""
    result = Result()

    def fail(file: str, error: Exception) -> None:
        result.failed[file] = str(error)
        line = str(error).partition("\n")[0].rstrip(":")
        tqdm.write(f"mamp embed: {line if file in line else f'{file}: {line}'}", file=sys.stderr)

    # Only on a terminal, and only when it takes a few seconds.
    with tqdm(total=len(args.files), unit="file", delay=2, disable=None, file=sys.stderr) as bar:
        for first in range(0, len(args.files), args.batch_size):
            names = args.files[first : first + args.batch_size]
            read: list[tuple[str, Skeleton]] = []
            for file in names:
                try:
                    read.append((file, read_recording(file, args)))
                except (MAMPError, OSError) as error:
                    fail(file, error)
            for file, array in _embed_batch(encoder, read, options):
                if isinstance(array, Exception):
                    fail(file, array)
                else:
                    result.files.append(file)
                    result.arrays.append(array)
            bar.update(len(names))
    return result


def _embed_batch(
    encoder: MAMPEncoder, read: list[tuple[str, Skeleton]], options: EncodeOptions
) -> Iterator[tuple[str, NDArray[np.float32] | MAMPError]]:
    """Embed a batch; when a recording in it cannot be embedded, embed them one by one to find out which."""
    try:
        arrays = embed_recordings(encoder, [recording for _, recording in read], options)
        yield from zip((file for file, _ in read), arrays, strict=True)
    except MAMPError as error:
        if len(read) == 1:
            yield read[0][0], error
            return
        for one in read:
            yield from _embed_batch(encoder, [one], options)


def _collect(result: Result, stacked: bool) -> dict[str, Any]:
    """Stack embeddings of one size; put those of different sizes one after the other, with offsets."""
    if stacked:
        return {"embeddings": np.stack(result.arrays)}
    offsets = np.cumsum([0, *(len(array) for array in result.arrays)], dtype=np.int64)
    return {"embeddings": np.concatenate(result.arrays), "offsets": offsets}
