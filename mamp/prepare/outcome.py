"""Report of a preparation: counts, and what was dropped or left out, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SHOWN = 10  # failed files in the text
KEPT = 50  # examples of each kind of warning in the report


@dataclass
class Outcome:
    """Counts over all items."""

    files: int = 0
    clips: Counter[str] = field(default_factory=Counter)  # by store; "" is the main one
    frames: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    people: int = 0  # maximum of a clip
    failed: dict[str, str] = field(default_factory=dict)  # item -> reason
    left_out: dict[str, list[str]] = field(default_factory=dict)  # reason -> items
    dropped_frames: Counter[str] = field(default_factory=Counter)  # by reason
    dropped_people: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)  # by kind
    examples: dict[str, list[str]] = field(default_factory=dict)  # of each kind

    def add_item(self, item: dict[str, Any]) -> None:
        """Count an item, given its entry in the journal."""
        for clip in item.get("clips", ()):
            store, index = clip["store"], clip["index"]
            self.clips[store] += 1
            self.frames[store] += index["frames"]
            self.bodies[store] += index["people"]
            self.people = max(self.people, index["people"])
            self.dropped_frames.update(clip["dropped_frames"])
            self.dropped_people.update(clip["dropped_people"])
        if "error" in item:
            self.failed[item["key"]] = item["error"]
        for kind, text in item.get("warnings", ()):
            self.warnings[kind] += 1
            examples = self.examples.setdefault(kind, [])
            if len(examples) < KEPT:
                examples.append(text)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, in a deterministic order."""
        return {
            "files": self.files,
            "clips": self.clips[""],
            "frames": self.frames[""],
            "bodies": self.bodies[""],
            "people": self.people,
            "stores": {
                name: {"clips": self.clips[name], "frames": self.frames[name], "bodies": self.bodies[name]}
                for name in sorted(self.clips)
                if name
            },
            "failed": dict(sorted(self.failed.items())),
            "left_out": {why: sorted(keys) for why, keys in sorted(self.left_out.items())},
            "dropped_frames": dict(sorted(self.dropped_frames.items())),
            "dropped_people": dict(sorted(self.dropped_people.items())),
            "warnings": [
                {"kind": kind, "count": self.warnings[kind], "examples": self.examples[kind]}
                for kind in sorted(self.warnings)
            ],
        }


def report_text(output: str, report: dict[str, Any]) -> str:
    """Format a report as text."""
    failed = report["failed"]
    left_out = {why: len(keys) for why, keys in report["left_out"].items()}
    people = f"up to {report['people']} people"
    tail = f", {len(failed)} left out" if failed else ""
    lines = [f"{output}: {report['clips']} clips, {report['frames']} frames, {people}{tail}"]
    for name, counts in report["stores"].items():
        lines.append(f"  {name}: {counts['clips']} clips, {counts['frames']} frames")
    lines += [f"  left out on purpose: {count} ({why})" for why, count in left_out.items()]
    lines += [f"  dropped frames: {count} ({why})" for why, count in report["dropped_frames"].items()]
    lines += [f"  dropped tracks: {count} ({why})" for why, count in report["dropped_people"].items()]
    for warning in report["warnings"]:
        more = f" (and {warning['count'] - 1} like it)" if warning["count"] > 1 else ""
        lines.append(f"  warning: {warning['examples'][0]}{more}")
    lines += [f"  could not be used: {key}: {_short(why)}" for key, why in list(failed.items())[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  could not be used: {len(failed) - SHOWN} more, listed in report.json")
    lines += [f"  sha256 of {file}: {digest}" for file, digest in report["sha256"].items()]
    return "\n".join(lines)


def _short(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= 200 else line[:197] + "..."
