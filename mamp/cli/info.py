"""``mamp info``: facts about a recording, weights, a training run or a store of clips."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamp.cli.command import read_recording
from mamp.cli.picture import draw_recording, say_inferred
from mamp.config import suggest
from mamp.console import say_result
from mamp.data import ClipStore
from mamp.data.summary import describe_store, is_store, store_text
from mamp.errors import MissingFileError
from mamp.hub import describe, list_pretrained
from mamp.layouts import MODEL_LAYOUT, body_of
from mamp.prepare.pictures import contact_sheet
from mamp.readers.infer import HUMAN, Body
from mamp.readers.options import add_recording_options
from mamp.skeleton import Skeleton
from mamp.train.report import describe_run, is_run, plot_run

DESCRIPTION = """\
Describe a recording: people, frames, rate, layout, how much was tracked, the
size of the body, what was inferred, and where each joint of the model comes
from; --picture draws it. Or describe weights, by name, folder or Hub
repository: training data, licence, architecture, preprocessing, and the
fingerprint of the copy on this machine. Or describe a training run by its
folder: progress, loss, speed, time left and settings. Or describe a store of
clips made by python -m mamp.prepare: clips by class, subject, camera and split,
lengths, rates, and preprocessing."""
EXAMPLE = "mamp info walk.bvh"

_CHECKPOINTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add(
        "target",
        metavar="FILE|NAME|DIR",
        help="a recording, a name or folder of weights, the folder of a run, or a store of clips",
    )
    add("--revision", help="branch, tag or commit of weights on the Hub")
    add("--verify", action="store_true", help="compare the files of a store with their checksums")
    add("--plot", metavar="PNG", help="draw the curves of a run, or some clips of a store")
    add("--picture", metavar="PNG", help="draw a recording as read and in the joints of the model, front and side")
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if is_run(args.target):
        facts = describe_run(args.target)
        if args.plot is not None:
            facts["plot"] = str(plot_run(args.target, args.plot))
        say_result(args.json, facts, _run_text(facts))
    elif is_store(args.target):
        facts = describe_store(args.target, args.verify)
        if args.plot is not None:
            facts["plot"] = str(contact_sheet(ClipStore(args.target), args.plot))
        say_result(args.json, facts, store_text(facts))
    elif _is_weights(args.target):
        facts = describe(args.target, revision=args.revision)
        say_result(args.json, facts, _weights_text(facts))
    else:
        recording = read_recording(args.target, args)
        facts = recording_facts(recording)
        if args.picture is not None:
            facts["picture"] = str(draw_recording(recording, args.picture, _inferred(facts)))
        say_result(args.json, facts, _recording_text(facts))
    return 0


def _is_weights(target: str) -> bool:
    """Whether the target names weights; else it is a recording.

    Raises:
        MissingFileError: The target is neither.
    """
    path = Path(target)
    if path.is_file():
        return path.suffix in _CHECKPOINTS
    if path.is_dir() or target.partition("@")[0] in list_pretrained():
        return True
    if not path.suffix[1:].isalpha() and target.count("/") == 1 and not target.startswith((".", "~", "/")):
        return True  # a repository on the Hub
    raise MissingFileError(
        f"{target}: expected a recording, a folder of weights, of a run or of clips, or a name of weights; found none."
        f"{suggest(target.lower(), list_pretrained())}"
    )


def recording_facts(recording: Skeleton) -> dict[str, Any]:
    """Facts about a recording as plain values."""
    target = body_of(recording.layout)
    length = Body(recording.positions, recording.layout).head_to_ankle
    return {
        "recording": recording.name,
        "format": recording.info.get("format"),
        "people": recording.num_people,
        "frames": recording.num_frames,
        "fps": recording.fps,
        "seconds": None if recording.duration is None else round(recording.duration, 3),
        "layout": recording.layout.name,
        "body": recording.layout.body,
        "joints": list(recording.layout.joints),
        "unit": recording.info.get("unit"),
        "unit_from": recording.info.get("unit_from"),
        "up": recording.info.get("up"),
        "up_from": recording.info.get("up_from"),
        "tracked": round(float(recording.tracked.mean()), 4),
        "head_to_ankle": None if length is None else round(length, 3),
        "model_joints": _among_markers(recording) or recording.layout.describe(target),
        "inferred": say_inferred(recording),
    }


def _among_markers(recording: Skeleton) -> dict[str, str]:
    """How the joints of the model are derived from a common marker set; empty for other recordings."""
    among = recording.info.get("joints_from")
    if not among:
        return {}
    how = {joint: ("taken from", "between")[len(labels) > 1] for joint, labels in among.items()}
    return {
        joint: f"{how[joint]} {', '.join(among[joint])}" if joint in among else "absent"
        for joint in recording.layout.joints
    }


def _recording_text(facts: dict[str, Any]) -> str:
    rate = "unknown (say --fps)" if facts["fps"] is None else f"{facts['fps']:g} frames/s, {facts['seconds']:.2f} s"
    joints = facts["model_joints"]
    kinds = ("taken", "between", "extrapolated", "absent")
    counted = ", ".join(f"{sum(how.startswith(kind) for how in joints.values())} {kind}" for kind in kinds)
    rows = {
        "format": facts["format"] or "unknown",
        "people": facts["people"],
        "frames": facts["frames"],
        "rate": rate,
        "layout": f"{facts['layout']}, {len(facts['joints'])} joints",
        **{key: words for key, words in facts["inferred"].items() if key != "absent"},
        "tracked": f"{facts['tracked']:.1%} of joints and frames",
        "body": _size(facts),
        "model joints": counted,
        "picture": facts.get("picture"),
    }
    matched = facts["layout"] in ("bvh", "tree")  # joint by joint, so list all of them
    shown = {joint: how for joint, how in joints.items() if matched or not how.startswith("taken")}
    listed = [f"    {joint:<15} {how}" for joint, how in shown.items()]
    return "\n".join([facts["recording"], *_rows(rows), *listed])


def _size(facts: dict[str, Any]) -> str:
    length = facts["head_to_ankle"]
    if facts["body"] != MODEL_LAYOUT.name:
        return f"{facts['body']}, not that of a person"
    if length is None:
        return "unknown, parts are missing"
    low, high = HUMAN
    doubt = "" if low <= length <= high else f"; a person has {low} to {high}: is the unit right? (--unit)"
    return f"{length:.2f} m from head to ankle along the bones{doubt}"


def _inferred(facts: dict[str, Any]) -> list[str]:
    return [f"{key}: {words}" for key, words in {**facts["inferred"], "body": _size(facts)}.items()]


def _weights_text(facts: dict[str, Any]) -> str:
    rows: dict[str, Any] = {
        "description": facts.get("description"),
        "trained on": facts.get("trained_on"),
        "licence": facts.get("licence"),
        "also named": ", ".join(facts.get("aliases") or ()),
        "repository": facts.get("repository"),
        "revision": facts.get("revision"),
        "on this machine": facts["location"] if facts["available"] else "no",
        **{name: f"{facts[name]:,}" for name in ("parameters", "bytes") if name in facts},
        "fingerprint": facts.get("fingerprint"),
    }
    lines = [facts["name"], *_rows(rows)]
    config = dict(facts["config"] or {})
    expects = config.pop("preprocessing", {})
    for title, values in (("architecture", config), ("preprocessing", expects)):
        if values:
            lines.append(f"  {title:<16} " + ", ".join(f"{key} {value}" for key, value in values.items()))
    return "\n".join(lines)


def _run_text(facts: dict[str, Any]) -> str:
    objective, optim = facts["config"]["objective"], facts["config"]["optim"]
    left = facts["seconds_left"]
    rows = {
        "recipe": facts["recipe"],
        "data": facts["data"],
        "progress": f"step {facts['step']} of {facts['total_steps'] or 'unknown'}, epoch {facts['epoch']:g} of "
        f"{facts['epochs']:g}" + (", finished" if facts["finished"] else ""),
        "loss": f"{facts['loss']:.4f}, first {facts['first_loss']:.4f}" if facts["loss"] is not None else "none yet",
        "speed": f"{facts['clips_per_second']:g} clips/s" if facts["clips_per_second"] else None,
        "time left": f"{left / 3600:.1f} h" if left else None,
        "objective": f"{objective['target']}, {objective['masking']} masking, ratio {objective['mask_ratio']:g}",
        "batch": f"{optim['batch_size']} clips, learning rate {optim['lr']:g} to {optim['min_lr']:g}",
        "checkpoints": ", ".join(filter(None, [*facts["checkpoints"], facts["best"]])) or "none",
        "encoder": facts["encoder"],
        "plot": facts.get("plot"),
    }
    return "\n".join([facts["name"], *_rows(rows)])


def _rows(rows: dict[str, Any]) -> list[str]:
    return [f"  {key:<16} {value}" for key, value in rows.items() if value not in (None, "")]
