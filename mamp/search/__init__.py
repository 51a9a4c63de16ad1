"""An archive of movement on disk: add recordings, search by one. Needs ``pip install 'mamp[search]'``.

>>> from mamp.search import Index
>>> index = Index.create("moves")
>>> index.add("recordings")
>>> index.search("walk.bvh")
"""

from mamp.search.index import Index
from mamp.search.results import Hit, Report

__all__ = ["Hit", "Index", "Report"]
