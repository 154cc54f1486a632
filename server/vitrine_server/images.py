"""Untrusted bytes to the encoder's pixels. The only decoder in the project.

The format is taken from the content, never from a name or a header, and only the formats in
`FORMATS` are ever handed to a parser. Size limits are checked on the header, before the decode.

    EXIF orientation   applied
    alpha, palette     composited on the fill colour (white)
    16-bit, grey       scaled to 8 bits, replicated to three channels
    CMYK               converted to RGB without a colour profile
    ICC profile        ignored: values are taken as sRGB
    animation          first frame
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageFile

from vitrine_server import cleanup
from vitrine_server.errors import InvalidImage, TooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vitrine_server.manifest import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
ACCEPTED = "a JPEG, PNG, WebP, GIF or BMP image"
THUMBNAIL_SIDE = 320
_THUMBNAIL_QUALITY = 85

# A truncated file must be an error, not a picture that is half grey.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Our own limit is checked on the header; Pillow's would only warn, at another size.
Image.MAX_IMAGE_PIXELS = None

_MAGIC: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("WEBP", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    ("GIF", lambda head: head[:6] in (b"GIF87a", b"GIF89a")),
    ("BMP", lambda head: head.startswith(b"BM")),
)

# One image is one unit of work for a bounded pool; OpenCV must not start threads of its own.
cv2.setNumThreads(1)

# EXIF orientation (TIFF tag 0x0112).
_ORIENTATION_TAG = 0x0112

# Pillow reads segments, chunks, blocks and runs one by one, in Python: so many take a fifth of a
# second, and a PNG of 20 megabytes in chunks of 8 kB needs a sixth of them.
_MAX_READS = {"PNG": 60_000, "JPEG": 60_000, "WEBP": 60_000, "GIF": 250_000, "BMP": 250_000}
# It joins the pieces of EXIF data one by one too, each time with a copy of all before.
_EXIF = b"Exif\0\0"
_READS_AN_EXIF = 600
# Each scan of a JPEG goes over all of its blocks: up to 30 ms at 20 megapixels, even where the scan
# is empty. Encoders write up to about ten.
_MAX_SCANS = 64
# A scan's marker and the first byte of its header's length, which is below 256 (T.81, B.2.3).
_SCAN = re.compile(rb"\xff\xda\x00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an untrusted image may cost: encoded bytes and decoded pixels."""

    max_bytes: int = 20_000_000
    max_pixels: int = 20_000_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image: the encoder's pixels and a thumbnail.

    pixels: (S, S, 3) uint8, RGB. thumbnail: JPEG bytes, longest side at most THUMBNAIL_SIDE.
    """

    pixels: NDArray[np.uint8]
    thumbnail: bytes


def sniff(data: bytes) -> str | None:
    """Format by the first bytes, one of FORMATS, or None."""
    head = bytes(data[:16])
    return next((name for name, matches in _MAGIC if matches(head)), None)


def decode(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    limits: Limits = DEFAULT_LIMITS,
    steps: Sequence[cleanup.Step] = (),
) -> NDArray[np.uint8]:
    """Encoded image → (S, S, 3) uint8 RGB as the encoder expects it, cleaned up by `steps`.

    Raises UnsupportedMedia (not an accepted format), TooLarge (bytes or pixels), InvalidImage
    (empty, truncated or damaged).
    """
    return _fit(_opened(data, preprocessing, limits, steps), preprocessing, steps)


def decode_with_thumbnail(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    limits: Limits = DEFAULT_LIMITS,
    steps: Sequence[cleanup.Step] = (),
) -> Picture:
    """As `decode`, with a thumbnail from the same decode; the pixels are equal byte for byte.

    The thumbnail is of the image as it was sent: it is for people.
    """
    image = _opened(data, preprocessing, limits, steps)
    return Picture(_fit(image, preprocessing, steps), _thumbnail(image))


def decode_upright(
    data: bytes, side: int, fill: tuple[int, int, int], *, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Encoded image → upright RGB (H, W, 3) uint8 of its own shape, its longer side at most `side`.

    Raises what `decode` raises.
    """
    pixels = _open(data, side, fill, limits)
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        pixels = _resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    return np.ascontiguousarray(pixels)


def _opened(
    data: bytes, preprocessing: Preprocessing, limits: Limits, steps: Sequence[cleanup.Step]
) -> NDArray[np.uint8]:
    size = preprocessing.size * (cleanup.OPENED if steps else 1)
    return _open(data, size, preprocessing.fill, limits)


def _open(data: bytes, size: int, fill: tuple[int, int, int], limits: Limits) -> NDArray[np.uint8]:
    """Upright RGB (H, W, 3); shrunk while decoding, but not below `size` on its long side."""
    if len(data) == 0:
        raise InvalidImage("The image is empty (0 bytes).", field="image", accepted=ACCEPTED)
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"The image has {len(data)} bytes.",
            code="image_too_large",
            field="image",
            accepted=f"at most {limits.max_bytes} bytes",
        )
    name = sniff(data)
    if name is None:
        raise UnsupportedMedia(
            "The body is not an image of an accepted format.", field="image", accepted=ACCEPTED
        )
    try:
        with Image.open(_Source(data, _MAX_READS[name]), formats=(name,)) as header:
            _check_pixels(header.size, limits)
            if name == "JPEG":
                _check_scans(data)
            orientation = header.getexif().get(_ORIENTATION_TAG, 1)
            pixels = _decode_jpeg(data, header, size) if name == "JPEG" else None
            if pixels is None:
                pixels = _decode_other(header, size, fill)
    except TooLarge:
        raise
    except Exception as error:
        # Pillow's parsers raise SyntaxError, struct.error, ValueError, OSError, zlib.error,
        # OverflowError, … for damaged files; all mean the same to the caller.
        raise InvalidImage(
            f"The {name} image cannot be decoded: it is truncated or damaged.",
            field="image",
            accepted=f"a complete {name} file",
        ) from error
    return _upright(pixels, orientation)


class _Source(io.BytesIO):
    """The bytes of an image for Pillow, which may not read them in too many pieces."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._reads_left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises TooLarge."""
        piece = super().read(size)
        self._reads_left -= _READS_AN_EXIF if piece.startswith(_EXIF) else 1
        if self._reads_left < 0:
            raise TooLarge(
                "The image is made of too many parts.",
                code="image_too_large",
                field="image",
                accepted="a file with fewer segments, chunks, blocks or runs",
            )
        return piece


def _check_scans(data: bytes) -> None:
    if next(islice(_SCAN.finditer(data), _MAX_SCANS, None), None) is not None:
        raise TooLarge(
            "The JPEG image has too many scans.",
            code="image_too_large",
            field="image",
            accepted=f"at most {_MAX_SCANS} scans",
        )


def _check_pixels(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"The image has {width}×{height} pixels.",
            code="image_too_large",
            field="image",
            accepted=f"at most {limits.max_pixels / 1e6:g} megapixels",
        )


def _decode_jpeg(data: bytes, header: Image.Image, size: int) -> NDArray[np.uint8] | None:
    """libjpeg-turbo with DCT scaling; None for what it does not do (CMYK, damaged data)."""
    if header.mode not in ("RGB", "L"):
        return None
    width, height = header.size
    # Of the scales that libjpeg-turbo offers only 1/2, 1/4 and 1/8 have SIMD code.
    shrink = next((n for n in (8, 4, 2) if max(width, height) >= n * size), 1)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            "RGB",
            min_height=-(-height // shrink),
            min_width=-(-width // shrink),
            strict=True,
        )
    except ValueError:
        # Strict decoding also refuses harmless oddities (stray bytes between markers); Pillow
        # decodes those and raises on real damage.
        return None
    return pixels


def _decode_other(image: Image.Image, size: int, fill: tuple[int, int, int]) -> NDArray[np.uint8]:
    """First frame of an opened image, transparent pixels on `fill`."""
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (size, size))
    image.load()
    shrink = max(1, max(image.size) // (2 * size))
    if image.mode.startswith("I"):
        # 16-bit grey (mode I;16, or I from older writers): the high byte is the 8-bit value.
        wide = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (*fill, 255)), rgba)
    return np.asarray(image.convert("RGB").reduce(shrink))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the camera's rotation (Exif 2.32, tag Orientation)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _resize(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Exact area averages when shrinking, bicubic when enlarging."""
    shrinking = pixels.shape[0] > height or pixels.shape[1] > width
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=method)
    return resized.astype(np.uint8, copy=False)


def _fit(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, steps: Sequence[cleanup.Step]
) -> NDArray[np.uint8]:
    """RGB (H, W, 3) → (S, S, 3) by the encoder's resize policy, cleaned up first."""
    pixels = cleanup.clean(pixels, steps, preprocessing.fill)
    size = preprocessing.size
    height, width = pixels.shape[:2]
    if preprocessing.resize == "crop":
        # Cutting before resizing bounds the work: a 20000×1 image is never enlarged whole.
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(pixels[top : top + side, left : left + side], size, size)
    scale = size / max(width, height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    top, left = (size - inner_height) // 2, (size - inner_width) // 2
    bottom, right = size - inner_height - top, size - inner_width - left
    # NumPy takes 0.3 ms to fill a canvas with a colour
    fitted = cv2.copyMakeBorder(
        _resize(pixels, inner_width, inner_height),
        *(top, bottom, left, right),
        cv2.BORDER_CONSTANT,
        value=preprocessing.fill,
    )
    return fitted.astype(np.uint8, copy=False)


def _thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape[:2]
    scale = THUMBNAIL_SIDE / max(width, height)
    if scale < 1:
        pixels = _resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), _THUMBNAIL_QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return encoded
