"""Arrays that say what they are by their shape: features of HumanML3D and KIT-ML, and bodies with more than a body.

=============  ==================================================================  ====================================
Shape          What it is                                                          What is read
=============  ==================================================================  ====================================
[T, 263]       HumanML3D's features (not normalised), y up, metres, 20 fps         positions of SMPL's 22 joints
[T, 251]       KIT-ML's features (not normalised), y up, 12.5 fps                  positions of MMM's 21 joints
[T, 553, 3]    FreeMoCap and MediaPipe's holistic model: body, hands and face      the 33 landmarks of the body
[T, 543, 3]    the same, a face of 468                                             the 33 landmarks of the body
[T, 75, 3]     the same, without face                                              the 33 landmarks of the body
[T, 52, 3]     SMPL-H: body and hands                                              the 22 joints of the body
[T, 55, 3]     SMPL-X: body, jaw, eyes and hands; 127 and 144 with points of face  the 22 joints of the body
[T, 45, 3]     SMPL with 21 points of face, feet and fingers                       SMPL's 24 joints
[T, 21, 3]     MMM's joints, or SMPL's without the pelvis: whose left and right agree  these 21, or SMPL's 22
[T, 49, 3]     VIBE and SPIN: OpenPose's 25, then 24 of data sets                  OpenPose's 25 joints
=============  ==================================================================  ====================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mamp.layouts import get_layout

Array = NDArray[np.floating]
_Number = TypeVar("_Number", bound=np.floating)


def split_rows(table: NDArray[_Number], people: int = 1) -> NDArray[_Number]:
    """Rows of frames [T, M*V*3], person by person and joint by joint, as [M, T, V, 3]."""
    frames, columns = table.shape
    return np.moveaxis(table.reshape(frames, people, columns // (people * 3), 3), 1, 0)


# Joints of an array -> layout, of which they begin with the joints.
BODIES = {
    553: ("mediapipe33", 33), 543: ("mediapipe33", 33), 75: ("mediapipe33", 33), 52: ("smpl22", 22),
    55: ("smpl22", 22), 127: ("smpl22", 22), 144: ("smpl22", 22), 45: ("smpl24", 24), 49: ("body25", 25),
}  # fmt: skip
EVEN = 0.2  # difference of left and right bones, in shares of them, above which they are no body's
# Numbers a frame -> joints, layout, unit and frames per second.
FEATURES: dict[int, tuple[int, str, str | None, float]] = {
    263: (22, "smpl22", "m", 20.0),  # HumanML3D
    251: (21, "mmm21", None, 12.5),  # KIT-ML
}


@dataclass(frozen=True, eq=False)
class Shaped:
    """What an array is by its shape: ``positions`` [..., T, V, 3] of a layout, and what is known of them."""

    positions: Array
    layout: str
    what: str
    unit: str | None = None
    up: str | None = None
    fps: float | None = None


def by_shape(array: Array) -> Shaped | None:
    """Positions of an array that says what it is, or ``None`` if it does not."""
    if array.ndim == 2 and array.shape[1] in FEATURES and len(array):
        joints, layout, unit, fps = FEATURES[array.shape[1]]
        positions = decode_features(array.astype(np.float64), joints)
        return Shaped(positions, layout, f"the features of HumanML3D or KIT-ML ({layout})", unit, "y", fps)
    if array.ndim in (3, 4) and array.shape[-1] == 3 and array.shape[-2] in BODIES:
        layout, joints = BODIES[array.shape[-2]]
        return Shaped(array[..., :joints, :], layout, f"{layout} with other points behind it")
    if array.ndim in (3, 4) and array.shape[-2:] == (21, 3):
        smpl = _with_pelvis(array)
        if _asymmetry(smpl, "smpl22") < min(EVEN, _asymmetry(array, "mmm21")):
            return Shaped(smpl, "smpl22", "smpl22 without its pelvis, which is put between the hips and spine1")
    return None


def _with_pelvis(body: Array) -> Array:
    """[..., 22, 3] SMPL's joints from those without the pelvis, [..., 21, 3]."""
    pelvis = (body[..., 0, :] + body[..., 1, :]) / 4 + body[..., 2, :] / 2
    return np.concatenate([pelvis[..., None, :], body], axis=-2)


def _asymmetry(positions: Array, name: str) -> float:
    """How much the bones of left and right differ in length, if the joints are those of a layout."""
    layout = get_layout(name)
    place = {joint: at for at, joint in enumerate(layout.joints)}
    pairs = [[place[left], place[right]] for left, right in layout.pairs]
    above = [[layout.parents[left], layout.parents[right]] for left, right in pairs]
    lengths = np.linalg.norm(positions[..., pairs, :] - positions[..., above, :], axis=-1)
    with np.errstate(all="ignore"):
        ratios = np.abs(np.log(lengths[..., 0] / lengths[..., 1]))
    ratios = ratios[np.isfinite(ratios)]
    return float(np.median(ratios)) if len(ratios) else np.inf


def decode_features(features: NDArray[np.float64], joints: int) -> NDArray[np.float64]:
    """Positions [T, V, 3] of HumanML3D's features [T, F] (Guo et al. 2022): y up, the first frame at the origin.

    A frame holds the turn of the body about y to the next frame (half of it, as quaternions have it), its way in x and
    z in its own axes, the height of the root, and the positions of the other joints seen from the root's place on the
    ground, in the body's axes.
    """
    turn = np.concatenate([[0.0], 2 * features[:-1, 0].cumsum()])
    way = np.zeros((len(features), 3))
    way[1:, [0, 2]] = features[:-1, 1:3]
    root = _about_y(way, -turn).cumsum(0)
    root[:, 1] = features[:, 3]
    others = features[:, 4 : 4 + 3 * (joints - 1)].reshape(len(features), joints - 1, 3)
    others = _about_y(others, -turn[:, None])
    others[..., [0, 2]] += root[:, None, [0, 2]]
    return np.concatenate([root[:, None], others], axis=1)


def _about_y(points: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [..., 3] turned about y by angles [...] in radians."""
    x, y, z = np.moveaxis(points, -1, 0)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1)
