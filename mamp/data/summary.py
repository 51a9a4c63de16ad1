"""Summary of a store of clips: counts, lengths, frame rates and preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mamp.data.store import REQUIRED, ClipStore

MANY = 200  # columns with more distinct values are not counted value by value


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store of clips."""
    return (Path(path) / "clips.npz").is_file() and (Path(path) / "meta.json").is_file()


def describe_store(path: str | Path, verify: bool = False) -> dict[str, Any]:
    """Summarise a store as JSON values.

    Args:
        path: The store.
        verify: Compare the files with the checksums in ``meta.json``.

    Returns:
        ``frames`` counts each clip once, ``rows`` each person. ``lengths`` has minimum, median and maximum in frames
        and, if all frame rates are known, seconds. ``fps``, ``people`` and each entry of ``columns`` (label, subject,
        split, ...) map a value to its number of clips.

    Raises:
        DataError: The folder is not a store, is damaged, or does not match its checksums.
    """
    store = ClipStore(path)
    if verify:
        store.verify()
    frames, fps = store.columns["frames"].astype(np.int64), store.columns["fps"].astype(np.float64)
    lengths = {"frames": _spread(frames)}
    seconds = None
    if (fps > 0).all():
        seconds = round(float((frames / fps).sum()), 1)
        lengths["seconds"] = _spread((frames / fps).round(3))
    described = {name: _count(values) for name, values in store.columns.items() if name not in REQUIRED}
    return {
        "store": str(path),
        "source": store.info.get("source"),
        "clips": len(store),
        "frames": int(frames.sum()),
        "rows": store.num_rows,
        "bytes": store.num_rows * len(store.layout.joints) * 12,
        "lengths": lengths,
        "seconds": seconds,
        "fps": _count(np.where(fps > 0, fps.round(3), np.nan)),
        "people": _count(store.columns["people"]),
        "columns": described,
        "classes": store.info.get("classes"),
        "layout": store.layout.name,
        "joints": len(store.layout.joints),
        "confidence": store.has_confidence,
        "preprocessing": store.info.get("preprocessing"),
        "sha256": store.info.get("sha256"),
        **({"verified": True} if verify else {}),
    }


def store_text(facts: dict[str, Any]) -> str:
    """Format :func:`describe_store` as text."""
    lengths = facts["lengths"]
    total = "" if facts["seconds"] is None else f", {_duration(facts['seconds'])}"
    spread = "{min:g} to {max:g} frames, median {median:g}".format(**lengths["frames"])
    if "seconds" in lengths:
        spread += "; {min:g} to {max:g} s, median {median:g}".format(**lengths["seconds"])
    placed = facts["preprocessing"]
    rows = {
        "source": facts["source"],
        "clips": f"{facts['clips']:,}, {facts['frames']:,} frames{total}, {facts['bytes'] / 1e6:,.1f} MB",
        "lengths": spread,
        "rate": _counts({"unknown" if value == "nan" else value: n for value, n in facts["fps"]["counts"].items()}),
        "people": _counts(facts["people"]["counts"]),
        "layout": f"{facts['layout']}, {facts['joints']} joints" + (", with confidence" if facts["confidence"] else ""),
        "preprocessing": ", ".join(f"{name} {value}" for name, value in placed.items()) if placed else "not stated",
        "sha256": facts["sha256"] and facts["sha256"] + (" (verified)" if facts.get("verified") else ""),
        "plot": facts.get("plot"),
    }
    lines = [facts["store"], *(f"  {name:<16} {value}" for name, value in rows.items() if value)]
    for name, column in facts["columns"].items():
        if "counts" not in column:
            lines.append(f"  {name:<16} {column['different']:,} different values")
        elif name == "label" and facts["classes"]:
            lines.append(f"  {name:<16} {column['different']} of {len(facts['classes'])} classes")
            lines += [
                f"    {label:>5}  {_class(facts['classes'], label):<42} {n:>7,}"
                for label, n in column["counts"].items()
            ]
        else:
            lines.append(f"  {name:<16} {_counts(column['counts'])}")
    return "\n".join(lines)


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"min": values.min().item(), "median": float(np.median(values)), "max": values.max().item()}


def _count(values: np.ndarray) -> dict[str, Any]:
    """Number of clips per value, or only the number of distinct values if there are many."""
    different, counts = np.unique(values, return_counts=True)
    result: dict[str, Any] = {"different": len(different)}
    if len(different) <= MANY:
        result["counts"] = {_key(value): int(n) for value, n in zip(different.tolist(), counts.tolist(), strict=True)}
    return result


def _key(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counts(counts: dict[str, int] | None) -> str:
    """``value (clips), ...``, or just the value if there is only one."""
    if not counts:
        return "various"
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({n:,})" for value, n in counts.items())


def _class(classes: list[str], label: str) -> str:
    return str(classes[int(label)]) if label.isdecimal() and int(label) < len(classes) else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
