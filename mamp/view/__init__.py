"""Look at recordings: a page for a browser, films and pictures.

>>> from mamp import load
>>> from mamp.view import film, page
>>> text = page(load("walk.bvh"))
>>> film(load("walk.bvh"), "walk.gif")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mamp.view.films import film
    from mamp.view.pages import page

# The modules are not named like the functions: a module that is imported becomes an attribute of its package.
_MODULES = {"film": "films", "page": "pages"}

__all__ = ["film", "page"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'mamp.view' has no attribute {name!r}")
    value = getattr(import_module(f"mamp.view.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
