"""Skeleton layouts: which joints a recording has, and how they map on the joints of the model."""

from mamp.layouts.estimators import ESTIMATORS
from mamp.layouts.layout import REGISTRY, Layout, between, beyond, get_layout, list_layouts, register_layout
from mamp.layouts.names import find_layout
from mamp.layouts.tables import NTU25 as MODEL_LAYOUT
from mamp.layouts.tables import SUITS, TABLES

REGISTRY.update({layout.name: layout for layout in (*TABLES, *ESTIMATORS, *SUITS)})

__all__ = [
    "MODEL_LAYOUT",
    "Layout",
    "between",
    "beyond",
    "find_layout",
    "get_layout",
    "list_layouts",
    "register_layout",
]
