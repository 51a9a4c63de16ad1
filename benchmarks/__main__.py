"""The whole table of speed, against a straightforward implementation, side by side in one run.

    python -m benchmarks [encode training loader parser startup] [--quick] [-o table.md]

Each row but the last is measured by the script of its name in this folder, in processes of their own, with the
allocator as it comes and, in brackets, tuned by environment variables so that it returns no memory. Ratios above 1 are
faster than the baseline (``baseline.py``). Run it when nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mamp.synthetic import write_recordings

HERE = Path(__file__).parent
Row = tuple[str, str, str, str]
PROGRAMS = {
    "torch": "import torch",
    "embedding": "import sys, mamp; mamp.MAMPEncoder.from_pretrained().encode(mamp.load(sys.argv[1]))",
}


def lines_of(script: str, *options: object) -> list[dict[str, Any]]:
    """JSON lines that a script prints."""
    command = [sys.executable, str(HERE / f"{script}.py"), *map(str, options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def both(values: list[Any], unit: str = "x") -> str:
    """A number with the default allocator, and with the tuned one in brackets."""
    default, tuned = values
    return f"**{default:.1f}{unit}** [{tuned:.1f}{unit}]"


def encode_rows(quick: bool) -> Iterator[Row]:
    """Recordings in memory to embeddings."""
    names = {"full": "two people", "ntu": "a quarter two people"}
    for mix, batch in [(mix, batch) for mix in names for batch in ((8,) if quick else (1, 8, 32))]:
        rounds = 1 if quick else {1: 7, 8: 5, 32: 2}[batch]
        default, tuned = lines_of("encode", "--mixes", mix, "--batches", batch, "--rounds", rounds)
        what, pair = f"encode, {names[default['mix']]}, batch {default['batch']}", (default, tuned)
        share = f"{100 * default['share_of_floor_float32']:.0f} % of the floor"
        error = f"largest error {default['error_float32']:.0e}"
        yield f"{what}, float32", both([line["ratio_float32"] for line in pair]), share, error
        spread = default.get("bfloat16_error_over_spread")
        note = "" if spread is None else f"error {100 * spread:.1f} % of the spread"
        yield f"{what}, bfloat16", both([line["ratio_bfloat16"] for line in pair]), "", note
        peak = default["peak_megabytes"]
        less = peak["baseline"] / max(peak["float32"], 0.1)
        yield f"{what}, memory above the weights", f"1/{less:.0f}", "", f"{peak['float32']} of {peak['baseline']} MB"


def training_rows(quick: bool) -> Iterator[Row]:
    """Forward and backward of pre-training."""
    pair = lines_of("training", *(("--rounds", 3, "--turns", 1) if quick else ()))
    peak = pair[0]["peak_megabytes"]
    clips = f"training step, {pair[0]['clips']} clips"
    same = f"gradient within {pair[0]['same']:.0e}"
    yield f"{clips}, float32", both([line["ratio_float32"] for line in pair]), "", same
    yield f"{clips}, bfloat16", both([line["ratio_bfloat16"] for line in pair]), "", ""
    yield "the same, a whole step, float32", both([line["whole_ratio_float32"] for line in pair]), "", ""
    yield "the same, a whole step, bfloat16", both([line["whole_ratio_bfloat16"] for line in pair]), "", ""
    less = peak["baseline"] / peak["float32"]
    yield f"{clips}, memory", f"1/{less:.1f}", "", f"{peak['float32']} of {peak['baseline']} MB"


def loader_rows(quick: bool) -> Iterator[Row]:
    """Crop, resize and rotation of training clips, on one core."""
    for batch in (128,) if quick else (128, 32):
        pair = lines_of("loader", "--json", "--batch", batch, *(("--rounds", 3, "--grow", 200) if quick else ()))
        rate = f"{pair[0]['clips_a_second']['mamp']:,} clips/s"
        grown = pair[0]["memory"]
        note = f"private memory {grown['growth_mb']:+.1f} MB over {grown['batches']} batches" if grown else ""
        yield f"training loader, batch {batch}", both([line["ratio_torch"] for line in pair]), rate, note


def parser_rows(quick: bool) -> Iterator[Row]:
    """Text of ``.skeleton`` files to arrays."""
    (line,) = lines_of("parser", "--json")
    rate = f"{line['mamp_mb_a_second']:.0f} MB/s"
    yield "parsing `.skeleton`, exact", f"**{line['ratio_to_arrays']:.1f}x**", rate, "an array a joint"
    yield "parsing `.skeleton`, exact", f"**{line['ratio_to_lean']:.1f}x**", rate, "coordinates only, as lists"


def fresh_process(program: str, file: Path) -> dict[str, float]:
    """Seconds, processor seconds and peak of resident memory of one fresh process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, str(file)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the process failed: {program}")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_megabytes": usage.ru_maxrss / 1e3}


def startup_rows(quick: bool) -> Iterator[Row]:
    """A fresh process, from ``python`` to the embedding of a file."""
    with tempfile.TemporaryDirectory(prefix="mamp-startup-") as folder:
        file = write_recordings(folder, actions=["walk"], variations=1)[0]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
        for turn in range((3 if quick else 7) + 1):
            for name, program in PROGRAMS.items():
                sample = fresh_process(program, file)
                found[name] += [sample] if turn else []  # the first one reads the files from the disk
    ours, torch_alone = (
        {key: statistics.median(sample[key] for sample in found[name]) for key in found[name][0]}
        for name in ("embedding", "torch")
    )
    note = f"{ours['peak_megabytes']:.0f} MB; importing torch alone {torch_alone['seconds']:.2f} s"
    yield "`python` to the first embedding of a file", f"**{ours['seconds']:.2f} s**", "", note


SECTIONS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "encode": encode_rows,
    "training": training_rows,
    "loader": loader_rows,
    "parser": parser_rows,
    "startup": startup_rows,
}


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"{', '.join(SECTIONS)} [all]")
    parser.add_argument("--quick", action="store_true", help="fewer samples and sizes")
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file, too")
    args = parser.parse_args()
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"expected some of {', '.join(SECTIONS)}, found {', '.join(sorted(unknown))}")
    capability = torch.backends.cpu.get_cpu_capability()
    head = [
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()} {capability}.",
        "",
        "| | ratio, default [tuned allocator] | rate | |",
        "|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    for name in args.sections or SECTIONS:
        for row in SECTIONS[name](args.quick):
            head.append("| " + " | ".join(row) + " |")
            print(head[-1], flush=True)
    if args.output:
        args.output.write_text("\n".join(head) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
