"""``packed``: one store from packed corpora (:mod:`mamp.prepare.packed`), to train on or to evaluate on."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from mamp.config import Preprocessing
from mamp.console import DONE, say_result
from mamp.data import StoreWriter
from mamp.errors import ConfigError
from mamp.layouts import MODEL_LAYOUT, Layout, body_of
from mamp.prepare.build import check_output
from mamp.prepare.dataset import Source
from mamp.prepare.packed import read_packed, split_glitches
from mamp.preprocessing import normalize
from mamp.readers import sets
from mamp.skeleton import Skeleton, resolve_layout

# Two partners of one long dance make up a third of the CMU takes in BVH: a group of their own, to weight it down.
SALSA = ("60_", "61_")


def corpus_of(recording: Skeleton, corpus: str) -> str:
    """Sampling group of a recording."""
    take = recording.name.split("/")[-1]
    return "cmu-salsa" if corpus.startswith("cmu") and take.startswith(SALSA) else corpus


def build_pretraining_store(
    corpora: list[Path],
    output: Path,
    max_speed: float | None = 12.0,
    min_frames: int = 30,
    test: tuple[str, Collection[str]] | None = None,
    body: Layout = MODEL_LAYOUT,
) -> dict[str, int]:
    """Write packed corpora into one store, in the joints of the model.

    Args:
        corpora: Packed corpora.
        output: Folder of the store.
        max_speed: Cut recordings where a joint is faster, in metres per second; ``None`` does not cut.
        min_frames: Minimum length; shorter pieces are left out.
        test: Column and values of the split ``test``; the others form ``train``.
        body: Joints of the model.

    Returns:
        Number of clips per corpus.
    """
    keep_place = Preprocessing(layout=body.name, center="none", max_people=None, absent_person="none")
    info: dict[str, Any] = {"corpora": [path.stem for path in corpora]}
    if len(corpora) == 1:
        info["source"] = corpora[0].stem
        own = sets().get(corpora[0].stem)
        named = own.classes if own else ()
        info |= {"classes": list(named)} if named else {}
    columns = _common_columns(corpora)
    if test is not None and test[0] not in columns:
        raise ConfigError(
            f"test: expected one of the columns {', '.join(sorted(columns)) or '(none)'}, found {test[0]!r}."
        )
    counts = {}
    with StoreWriter(output, body, info) as writer:
        for path in corpora:
            counts[path.stem] = 0
            for recording in read_packed(path):
                known = {name: recording.info[name] for name in columns}
                if test is not None:
                    known["split"] = "test" if str(known[test[0]]) in test[1] else "train"
                pieces = [recording] if max_speed is None else split_glitches(recording, max_speed, min_frames)
                for piece in pieces:
                    if piece.num_frames < min_frames or not piece.tracked.any():
                        continue
                    clip = normalize(piece, keep_place)
                    corpus = corpus_of(recording, path.stem)
                    writer.add(piece.name, clip.positions, piece.fps, corpus=corpus, **known)
                    counts[path.stem] += 1
    return counts


def _common_columns(corpora: list[Path]) -> set[str]:
    """Columns that all corpora have, with the same type."""
    kinds = []
    for path in corpora:
        first = next(iter(read_packed(path)), None)
        kinds.append({} if first is None else {name: np.array(value).dtype.kind for name, value in first.info.items()})
    shared = reduce(lambda a, b: dict(a.items() & b.items()), kinds)
    # Labels of different corpora number different classes.
    return set(shared) - ({"label"} if len(corpora) > 1 else set())


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="packed corpora, each a group")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the store")
    parser.add_argument(
        "--max-speed", type=_speed, default=12.0, metavar="M/S|none", help="cut where a joint is faster [%(default)g]"
    )
    parser.add_argument(
        "--min-frames", type=int, default=30, metavar="N", help="leave out shorter pieces [%(default)s]"
    )
    parser.add_argument(
        "--body", metavar="NAME|JSON", help="layout of the clips, for another body than a person's [ntu25]"
    )
    parser.add_argument(
        "--test",
        type=_test,
        metavar="COLUMN=VALUE,VALUE",
        help="clips of the split test, as in view=3; the others are train. To evaluate, keep clips whole: "
        "--max-speed none --min-frames 1",
    )


def _speed(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _test(text: str) -> tuple[str, frozenset[str]]:
    column, equals, values = text.partition("=")
    if not (column and equals and values):
        raise argparse.ArgumentTypeError(f"expected COLUMN=VALUE,VALUE, found {text!r}")
    return column, frozenset(values.split(","))


def _run(args: argparse.Namespace) -> int:
    check_output(args.output, args.overwrite, *args.files)
    body = MODEL_LAYOUT if args.body is None else body_of(resolve_layout(args.body))
    counts = build_pretraining_store(args.files, args.output, args.max_speed, args.min_frames, args.test, body)
    lines = [f"{name}: {count} clips" for name, count in counts.items()]
    say_result(args.json, {"output": str(args.output), "clips": counts}, "\n".join([*lines, f"store: {args.output}"]))
    return DONE


SOURCE = Source(
    "packed",
    "corpora of one person each, many recordings in one .npz, to train or to evaluate on",
    "python -m mamp.prepare packed cmu.npz ui-prmd.npz store",
    add_arguments=_add_arguments,
    run=_run,
)
