"""A comparison's evidence as pictures, as the page draws it: heat over the views, lines between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vitrine_server.compare import Comparison
    from vitrine_server.explain import Match, Pixels

_QUALITY = 88
_STRONGEST = 190 / 255  # how much the hottest patch covers
# Okabe and Ito's colours: told apart with every kind of colour blindness.
_WARM, _COOL = (213, 94, 0), (0, 114, 178)
_LINES = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167))


def of(found: Comparison) -> list[tuple[str, list[bytes]]]:
    """(caption, JPEGs of one picture or of two side by side)."""
    a, b = found.sides
    figures = [
        ("Compared: a, b", [_jpeg(a.view), _jpeg(b.view)]),
        (
            "Heat: the warmer a patch, the more the score falls when it is blanked",
            [_jpeg(heat(side.view, side.heat)) for side in found.sides],
        ),
    ]
    if found.matches:
        figures.append(
            ("Regions that match, best first", [_jpeg(lines(a.view, b.view, found.matches))])
        )
    if found.difference is not None:
        caption = "Laid over each other: both dark, a alone orange, b alone blue"
        figures.append((caption, [_jpeg(found.difference.overlay)]))
    return figures


def heat(view: Pixels, falls: NDArray[np.float32]) -> Pixels:
    """A view (V, V, 3) under its heat map (G, G)."""
    side = view.shape[0]
    strength = np.sqrt(np.abs(falls) / max(1e-6, float(np.abs(falls).max()))) * _STRONGEST
    cover = cv2.resize(strength.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    warm = cv2.resize(
        (falls >= 0).astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST
    )
    colour = np.where(warm[..., None] > 0, np.array(_WARM), np.array(_COOL))
    share = np.clip(cover, 0, 1)[..., None]
    return np.asarray(view * (1 - share) + colour * share, np.uint8)


def lines(a: Pixels, b: Pixels, matches: list[Match]) -> Pixels:
    """Two views (V, V, 3) side by side with numbered lines between their matching regions."""
    side = a.shape[0]
    canvas = np.ascontiguousarray(np.concatenate([a, b], axis=1))
    for number, match in enumerate(matches):
        colour = _LINES[number % len(_LINES)]
        centres = []
        for (left, top, width, height), shift in ((match.a, 0), (match.b, side)):
            x, y = shift + round(left * side), round(top * side)
            end = x + round(width * side), y + round(height * side)
            cv2.rectangle(canvas, (x, y), end, colour, 2)
            centres.append(((x + end[0]) // 2, (y + end[1]) // 2))
        cv2.line(canvas, centres[0], centres[1], colour, 2, cv2.LINE_AA)
        for centre in centres:
            cv2.circle(canvas, centre, 11, (255, 255, 255), -1, cv2.LINE_AA)
            place = (centre[0] - 5, centre[1] + 5)
            cv2.putText(canvas, str(number + 1), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 2)
    return canvas


def _jpeg(pixels: Pixels) -> bytes:
    made: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), _QUALITY, colorspace="RGB", colorsubsampling="444"
    )
    return made
