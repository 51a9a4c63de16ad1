"""The registered layouts, by name."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from mamp.config import suggest
from mamp.errors import LayoutError
from mamp.layouts.bodies import BODIES
from mamp.layouts.estimators import ESTIMATORS
from mamp.layouts.layout import Layout, Weights, mirror_pairs
from mamp.layouts.tables import NTU25, TABLES

logger = logging.getLogger(__name__)

MODEL_LAYOUT = NTU25

# Names for layouts whose joint names are matched one by one.
_MATCHED = ("bvh", "mixamo")

REGISTRY: dict[str, Layout] = {layout.name: layout for layout in (*TABLES, *ESTIMATORS, *BODIES)}
_lock = threading.Lock()


def list_layouts() -> list[str]:
    """Names of the registered layouts; ``bvh`` is any layout whose joint names are matched one by one, Mixamo's too."""
    return sorted([*REGISTRY, "bvh"])


def get_layout(name: str) -> Layout:
    """Return the layout of that name.

    Raises:
        LayoutError: There is none; the message suggests the nearest name.
    """
    if name in _MATCHED:
        raise LayoutError(
            f"layout {name!r} is matched by joint names: give the list of joint names instead of {name!r}."
        )
    if name not in REGISTRY:
        raise LayoutError(
            f"unknown layout {name!r}.{suggest(name, list_layouts())} Known: {', '.join(list_layouts())}. "
            "Register your own with mamp.register_layout."
        )
    return REGISTRY[name]


def register_layout(
    name: str,
    joints: Sequence[str],
    mapping: Mapping[str, str | Weights],
    parents: Sequence[int] | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    *,
    overwrite: bool = False,
) -> Layout:
    """Make a skeleton layout of your own known by name.

    What the mapping leaves out is logged as a warning, and what is put between or beyond joints as information.

    Args:
        name: The name to register.
        joints: Names of the joints, in the order of your positions.
        mapping: For each joint of the model (``mamp.get_layout("ntu25").joints``): the name of your joint, or weights
            over your joints that add up to one, for example ``{"neck": {"head": 0.3, "chest": 0.7}}``. Joints that
            are left out are absent from every recording in this layout.
        parents: Index of the parent of each joint, -1 for the root. Only pictures use it.
        pairs: (left, right) names that swap under mirroring; found by name when not given.
        overwrite: Replace a layout of the same name.

    Returns:
        The layout; ``layout.describe(mamp.get_layout("ntu25"))`` says how each joint of the model is derived.

    Raises:
        LayoutError: The name is taken, a name in the mapping does not exist, weights do not add up to one, or
            nothing is mapped.
    """
    unknown = sorted(set(mapping) - set(MODEL_LAYOUT.joints))
    if unknown:
        raise LayoutError(
            f"layout {name!r}: mapping names {', '.join(unknown)}, not joints of the model."
            f"{suggest(unknown[0], list(MODEL_LAYOUT.joints))} The model has: {', '.join(MODEL_LAYOUT.joints)}."
        )
    if not mapping:
        raise LayoutError(f"layout {name!r}: the mapping is empty; say which of your joints are which of the model's.")
    joints = tuple(joints)
    layout = Layout(
        name,
        joints,
        tuple(parents) if parents is not None else (-1,) + (0,) * (len(joints) - 1),
        tuple(pairs) if pairs is not None else mirror_pairs(joints),
        dict(mapping),
    )
    with _lock:
        if name in _MATCHED or (name in REGISTRY and not overwrite):
            hint = "" if name in _MATCHED else ", or pass overwrite=True"
            raise LayoutError(f"layout {name!r} exists; choose another name{hint}.")
        REGISTRY[name] = layout
    _report(layout)
    return layout


def _report(layout: Layout) -> None:
    """Log how the joints of the model are derived from a new layout."""
    found = layout.describe(MODEL_LAYOUT)
    derived = [f"{joint} {how}" for joint, how in found.items() if how.startswith(("between", "extrapolated"))]
    if derived:
        logger.info("layout %r derives %d of the model's joints: %s.", layout.name, len(derived), "; ".join(derived))
    absent = layout.absent(MODEL_LAYOUT)
    if absent:
        logger.warning(
            "layout %r gives %d of the model's %d joints; absent from every recording in it: %s.",
            layout.name,
            len(found) - len(absent),
            len(found),
            ", ".join(absent),
        )
