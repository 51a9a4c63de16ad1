"""Recordings made from formulas: a few everyday actions as BVH text, in any number of variations.

``mamp demo``, the examples and the tests use them; nobody was recorded for them. An action gives the positions of hips,
hands and feet over time; arms and legs follow by inverse kinematics, so that feet stay in place and bones keep their
lengths.
"""

from mamp.synthetic.actions import ACTIONS, Style
from mamp.synthetic.recordings import FPS, synthesize, write_recordings
from mamp.synthetic.untrimmed import string_together

__all__ = ["ACTIONS", "FPS", "Style", "string_together", "synthesize", "write_recordings"]
