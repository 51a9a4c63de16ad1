"""Skeleton layouts: which joints a recording has, and how they map on the joints of the model."""

from mamp.layouts.estimators import ESTIMATORS
from mamp.layouts.hands import HANDS
from mamp.layouts.layout import (
    REGISTRY,
    Layout,
    between,
    beyond,
    body_of,
    get_layout,
    list_layouts,
    register_layout,
)
from mamp.layouts.names import find_layout
from mamp.layouts.stored import BUILT_IN, adopt, adopt_body, read_layout, stored_body, write_layout
from mamp.layouts.tables import NTU25 as MODEL_LAYOUT
from mamp.layouts.tables import SUITS, TABLES

REGISTRY.update({layout.name: layout for layout in (*TABLES, *ESTIMATORS, *SUITS, *HANDS)})
BUILT_IN.update(REGISTRY)

__all__ = [
    "MODEL_LAYOUT",
    "Layout",
    "adopt",
    "adopt_body",
    "between",
    "beyond",
    "body_of",
    "find_layout",
    "get_layout",
    "list_layouts",
    "read_layout",
    "register_layout",
    "stored_body",
    "write_layout",
]
