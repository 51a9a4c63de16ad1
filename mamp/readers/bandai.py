"""Bandai-Namco Research Motiondataset 1 and 2: ``dataset-N_content_style_NNN.bvh``, in centimetres."""

from __future__ import annotations

import re
from functools import partial

from mamp.readers import bvh
from mamp.readers.assemble import Options
from mamp.readers.sets import Column, RecordingSet
from mamp.skeleton import Skeleton


class BandaiNamco(RecordingSet):
    """The recordings; columns ``content`` and ``style``."""

    name = "bandai-namco"
    title = "Bandai-Namco Research Motiondataset"
    about = "BVH, contents and styles"
    example = "Bandai-Namco-Research-Motiondataset"
    reader = partial(bvh.read, options=Options(unit="cm"))
    suffixes = (".bvh",)
    pattern = re.compile(r"dataset-\d+_([a-z-]+)_([a-z-]+)_(\d+)\.bvh", re.IGNORECASE)

    def columns(self, recording: Skeleton) -> dict[str, Column]:
        """Content and style."""
        match = self.pattern.match(recording.name)
        return {"content": match[1], "style": match[2]} if match else {}


SET = BandaiNamco
