"""Whether two pictures show the same thing: matched points that agree on one transform.

ORB points (Rublee et al., "ORB: an efficient alternative to SIFT or SURF", ICCV 2011) that agree on
one shift, turn and scale. Two pictures that merely look alike share 3 to 5 such points by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vitrine_server import hashes
from vitrine_server.images import THUMBNAIL_SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_POINTS = 400
# of Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", 2004, section 7.1
_RATIO = 0.8
_REPROJECTION_PX = 4.0
_MIN_SCALE = 0.1
_CACHED = 512
ENOUGH = 20  # agreeing points: its mirror image need not be tried

# OpenCV's random samples come from a generator of its own with a fixed seed: results repeat.
_TRIALS = 500


@dataclass(frozen=True, slots=True)
class Points:
    """points: (n, 2) float32, pixels. descriptors: (n, 32) uint8."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Alignment:
    """points: that agree on the transform. scale and angle: from the query to the item."""

    points: int
    mirrored: bool
    scale: float
    angle_deg: float


NONE = Alignment(points=0, mirrored=False, scale=1.0, angle_deg=0.0)


def points(luminance: NDArray[np.uint8]) -> Points:
    """The most distinct points of (H, W) uint8; none on a blank picture."""
    detector = cv2.ORB_create(MAX_POINTS, fastThreshold=7)  # type: ignore[attr-defined]  # not in its stubs
    found, descriptors = detector.detectAndCompute(np.ascontiguousarray(luminance), None)
    if descriptors is None:
        return Points(np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8))
    return Points(np.array([each.pt for each in found], np.float32), descriptors)


@lru_cache(_CACHED)
def thumbnail_points(thumbnail: bytes) -> Points:
    """The points of a stored thumbnail."""
    return points(hashes.open_thumbnail(thumbnail))


def both_ways(luminance: NDArray[np.uint8]) -> tuple[Points, Points]:
    """The points of a query (H, W) uint8 and of its mirror image, at the size of a thumbnail:
    points of two pictures agree best where both are equally large.
    """
    scale = THUMBNAIL_SIDE / max(luminance.shape)
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in luminance.shape)
        small = cv2.resize(luminance, (width, height), interpolation=cv2.INTER_AREA)
        luminance = np.asarray(small, np.uint8)
    return points(luminance), points(luminance[:, ::-1])


def align(query: tuple[Points, Points], item: Points) -> Alignment:
    """The better alignment of a query (`both_ways`) or its mirror image with an item."""
    found = _align(query[0], item, mirrored=False)
    if found.points >= ENOUGH:
        return found
    other = _align(query[1], item, mirrored=True)
    return found if found.points >= other.points else other


def _align(query: Points, item: Points, *, mirrored: bool) -> Alignment:
    if min(len(query.points), len(item.points)) < 4:
        return NONE
    nearest = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(query.descriptors, item.descriptors, k=2)
    chosen = [first for first, second in nearest if first.distance < _RATIO * second.distance]
    if len(chosen) < 4:
        return NONE
    start = query.points[[match.queryIdx for match in chosen]]
    end = item.points[[match.trainIdx for match in chosen]]
    matrix, agree = cv2.estimateAffinePartial2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=_REPROJECTION_PX, maxIters=_TRIALS
    )
    if matrix is None:
        return NONE  # type: ignore[unreachable]  # the stubs do not know of it
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if not _MIN_SCALE <= scale <= 1 / _MIN_SCALE:
        return NONE
    inside = agree.ravel() > 0
    # a point that many others match is one piece of evidence, not many
    distinct = min(len(np.unique(side[inside].round(), axis=0)) for side in (start, end))
    angle = math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
    return Alignment(distinct, mirrored, round(scale, 3), round(angle, 1))
