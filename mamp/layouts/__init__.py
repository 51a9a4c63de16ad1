"""Skeleton layouts: which joints a recording has, and how they map on the joints of the model."""

from mamp.layouts.layout import Layout, between, beyond
from mamp.layouts.names import find_layout
from mamp.layouts.registry import MODEL_LAYOUT, get_layout, list_layouts, register_layout

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
