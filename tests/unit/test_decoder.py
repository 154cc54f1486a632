"""The decoder against Pillow as reference, and what bad images get."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageOps

from vitrine_server import images
from vitrine_server.errors import InvalidImage, TooLarge, UnsupportedMedia, VitrineError
from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

LETTERBOX = Preprocessing(size=224, resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1))
CROP = LETTERBOX.model_copy(update={"resize": "crop"})


def scene(width: int = 400, height: int = 300) -> Image.Image:
    """A smooth picture without symmetry: every rotation of it differs."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / width, 255 * y / height, 255 * (x * y) / (width * height)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reference(image: Image.Image) -> NDArray[np.uint8]:
    """Letterbox on white by Pillow alone."""
    return np.asarray(
        ImageOps.pad(image.convert("RGB"), (224, 224), Image.Resampling.BICUBIC, (255, 255, 255))
    )


def cosine(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    a, b = one.astype(float).ravel() - 128, other.astype(float).ravel() - 128
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1900, 1000), (50, 20)])
def test_formats_and_sizes_agree_with_pillow(kind: str, size: tuple[int, int]) -> None:
    picture = scene(*size)
    pixels = images.decode(encoded(picture, kind), LETTERBOX)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert cosine(pixels, reference(picture)) > (0.99 if kind == "GIF" else 0.995)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert upright is not None
    assert cosine(images.decode(data, LETTERBOX), reference(upright)) > 0.995


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA", "I;16"])
def test_modes_give_the_picture(mode: str) -> None:
    picture = scene()
    if mode == "I;16":
        deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        pixels, expected = images.decode(encoded(deep, "PNG"), LETTERBOX), picture.convert("L")
    else:
        kind = "JPEG" if mode == "CMYK" else "PNG"
        pixels = images.decode(encoded(picture.convert(mode), kind), LETTERBOX)
        expected = picture.convert(mode)
    assert cosine(pixels, reference(expected.convert("RGB"))) > 0.98


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert images.decode(encoded(clear, "PNG"), LETTERBOX).min() == 255


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(images.decode(data, LETTERBOX)[112, 112]) == (255, 0, 0)


@pytest.mark.parametrize("preprocessing", [LETTERBOX, CROP])
@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
def test_extreme_shapes(size: tuple[int, int], preprocessing: Preprocessing) -> None:
    data = encoded(Image.new("RGB", size, "black"), "PNG")
    assert images.decode(data, preprocessing).shape == (224, 224, 3)


def test_the_thumbnail_does_not_change_the_pixels() -> None:
    data = encoded(scene(1000, 700), "JPEG")
    picture = images.decode_with_thumbnail(data, LETTERBOX)
    np.testing.assert_array_equal(picture.pixels, images.decode(data, LETTERBOX))
    assert max(Image.open(io.BytesIO(picture.thumbnail)).size) <= images.THUMBNAIL_SIDE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidImage),
        (b"hello", UnsupportedMedia),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia),
        (b"%!PS-Adobe-3.0 EPSF-3.0", UnsupportedMedia),
        (b"II*\x00" + bytes(64), UnsupportedMedia),
        (b"\xff\xd8\xff", InvalidImage),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), InvalidImage),
    ],
)
def test_what_is_not_an_image(data: bytes, error: type[VitrineError]) -> None:
    with pytest.raises(error) as caught:
        images.decode(data, LETTERBOX)
    assert (caught.value.field, bool(caught.value.accepted)) == ("image", True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    data = encoded(scene(), kind)
    with pytest.raises(InvalidImage):
        images.decode(data[: len(data) * 2 // 3], LETTERBOX)


def test_limits_are_checked_before_the_decode() -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        tail = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + tail

    header = (7000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    flood = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    with pytest.raises(TooLarge) as caught:
        images.decode(flood, LETTERBOX)
    assert caught.value.code == "image_too_large"
    with pytest.raises(TooLarge):
        images.decode(encoded(scene(), "BMP"), LETTERBOX, limits=images.Limits(max_bytes=1000))


def test_mutated_images_decode_or_are_refused() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        whole = encoded(scene(120, 90), kind)
        for _ in range(60):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(0, 256)
            try:
                assert images.decode(bytes(data), LETTERBOX).shape == (224, 224, 3)
            except VitrineError as error:
                assert error.status in (413, 415, 422)  # noqa: PT017 either outcome is right
