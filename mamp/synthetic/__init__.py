"""Recordings made from formulas: a few everyday actions, as BVH text, each as often and as varied as you like.

They are what ``mamp demo`` embeds and what the examples and tests run on; no person was recorded for them. An action
says where hips, hands and feet are at each moment; arms and legs follow by inverse kinematics, so that feet stay where
they are put and bones keep their lengths.
"""

from mamp.synthetic.actions import ACTIONS, Style
from mamp.synthetic.recordings import FPS, synthesize, write_recordings

__all__ = ["ACTIONS", "FPS", "Style", "synthesize", "write_recordings"]
