"""Pictures that were made to hurt: mutants of every format, floods, bombs, polyglots, odd modes."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bystander import alone, bystander, p99_ms
from mutants import FORMATS, good, mutant
from PIL import Image, ImageCms, PngImagePlugin
from separate import FULL, separate
from standing import SEARCH, averages, exchange, picture, post

from vitrine_server import images
from vitrine_server.errors import TooLarge, VitrineError
from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

MUTANTS = 10_000 if FULL else 600
IN_FLIGHT = 8
PREPROCESSING = Preprocessing(size=224, resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1))


@pytest.mark.timeout(1800)
async def test_mutants(tmp_path: Path) -> None:
    statuses: Counter[tuple[str, int]] = Counter()
    worst = ("", 0.0)
    with separate(tmp_path) as server:
        for name in FORMATS:
            answer = await exchange(server.port, post(SEARCH, good(name)))
            assert answer.status == 200, f"{name}: {answer.text!r}"
        server.forget_peak()
        before = server.rss_mb
        seeds = iter(range(MUTANTS))

        async def send() -> None:
            nonlocal worst
            for seed in seeds:
                name, data = mutant(seed)
                answer = await exchange(server.port, post(SEARCH, data), timeout_s=30)
                statuses[name, answer.status] += 1
                assert answer.status in (200, 413, 415, 422), f"seed {seed}: {answer.text!r}"
                worst = max(worst, (f"seed {seed}, {name}", answer.seconds), key=lambda w: w[1])

        await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
        peak = server.peak_rss_mb - before
    by_status = Counter[int]()
    for (_, status), count in statuses.items():
        by_status[status] += count
    print(
        f"{MUTANTS} mutants of {len(FORMATS)} formats: {dict(by_status)}, slowest "
        f"{worst[1] * 1e3:.0f} ms ({worst[0]}), peak RSS {peak:.0f} MB above the start"
    )
    # a tenth and more still decode and a tenth do not: the mutation is neither idle nor total
    assert min(by_status[200], by_status[422]) > MUTANTS / 10
    assert peak < 400


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def flood_png(side: int) -> bytes:
    """A white picture of side × side pixels in a few kilobytes."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\x00" + b"\xff" * ((side + 7) // 8), 9)
    if side <= 20_000:
        rows = zlib.compress((b"\x00" + b"\xff" * ((side + 7) // 8)) * side, 9)
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    return start + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def with_chunks(*extra: bytes) -> bytes:
    """The good PNG with chunks before its pixels."""
    data = good("png")
    end_of_header = 8 + 25
    return data[:end_of_header] + b"".join(extra) + data[end_of_header:]


def frames(kind: str, count: int) -> bytes:
    base = Image.new("P" if kind == "GIF" else "RGB", (16, 16))
    more = []
    for at in range(1, count):
        frame = base.copy()
        frame.putpixel((at % 16, at // 16 % 16), 1 + at % 200)
        more.append(frame)
    file = io.BytesIO()
    base.save(file, kind, save_all=True, append_images=more, duration=1)
    return file.getvalue()


def white_jpeg(side: int, **options: Any) -> bytes:
    return saved(Image.new("RGB", (side, side), "white"), "JPEG", **options)


def jpeg_of_scans(count: int, *, progressive: bool) -> bytes:
    """4400 × 4400 pixels whose last scan is repeated (libjpeg-turbo's LJT-01-004), or after scans
    of the first component without any data."""
    data = white_jpeg(4400, progressive=progressive)
    last = data.rindex(b"\xff\xda")
    if progressive:
        return data[:last] + data[last:-2] * count + data[-2:]
    return data[:last] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * count + data[last:]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with more segments (marker, content) before its own."""
    data = good("jpeg")
    more = [struct.pack(">BBH", 255, mark, 2 + len(text)) + text for mark, text in segments]
    return data[:2] + b"".join(more) + data[2:]


def gif_of_comments(count: int) -> bytes:
    data = good("gif")
    frame = data.index(b"\x2c", 13 + 3 * 256)
    return data[:frame] + b"\x21\xfe\x01a\x00" * count + data[frame:]


def bmp_of_runs(side: int) -> bytes:
    """Each pixel is a run of its own, and Pillow reads runs in Python."""
    rows = (b"\x01\x05" * side + b"\x00\x00") * side + b"\x00\x01"
    at = 14 + 40 + 1024
    head = b"BM" + struct.pack("<IHHI", at + len(rows), 0, 0, at)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return head + info + bytes(1024) + rows


def png_of_small_chunks(size: int) -> bytes:
    """A good PNG whose pixels come in chunks of this size."""
    noise = np.random.default_rng(1).integers(0, 255, (1200, 1200, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "PNG")
    end_of_header = 8 + 25
    rows = zlib.compress(b"".join(b"\x00" + row.tobytes() for row in noise), 1)
    pieces = [png_chunk(b"IDAT", rows[at : at + size]) for at in range(0, len(rows), size)]
    return data[:end_of_header] + b"".join(pieces) + png_chunk(b"IEND", b"")


def webp_canvas(side: int) -> bytes:
    """An animation of small frames on a canvas of side × side pixels."""
    data = bytearray(good("animated webp"))
    canvas = data.index(b"VP8X") + 12
    data[canvas : canvas + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


def huge_gif() -> bytes:
    """16 bytes of header that promise 65535 × 65535 pixels."""
    return b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\x00\x00" + bytes(6) + b"\x2c"


# as long as a segment can be, then short ones: Pillow joins them with a copy for each
EXIF = [(0xE1, b"Exif\0\0" + bytes(65_000))] * 100 + [(0xE1, b"Exif\0\0a")]


def bombs() -> dict[str, tuple[bytes, set[int]]]:
    text = zlib.compress(bytes(50_000_000), 9)
    many_texts = [png_chunk(b"tEXt", b"k%d\x00" % n + b"a" * 1000) for n in range(10_000)]
    icc = png_chunk(b"iCCP", b"p\x00\x00" + text)
    return {
        "7000×7000 png": (flood_png(7000), {413}),
        "20000×20000 png": (flood_png(20_000), {413}),
        "2³¹-1 png": (flood_png(2**31 - 1), {413, 422}),
        "just under the limit": (flood_png(4470), {200}),
        "65535×65535 gif": (huge_gif(), {413, 422}),
        "10k frames gif": (frames("GIF", 10_000), {200}),
        "10k frames webp": (frames("WEBP", 10_000), {200}),
        "50 MB png text": (with_chunks(png_chunk(b"zTXt", b"k\x00\x00" + text)), {200, 422}),
        "50 MB png icc": (with_chunks(icc), {200, 422}),
        "10k png texts": (with_chunks(*many_texts), {200, 422}),
        "1000 scans jpeg": (jpeg_of_scans(1000, progressive=True), {413}),
        "10k empty scans jpeg": (jpeg_of_scans(10_000, progressive=False), {413}),
        "a million segments": (jpeg_with(*[(0xE5, b"")] * 1_000_000), {413}),
        "EXIF in 100k pieces": (jpeg_with(*EXIF[:100], *EXIF[100:] * 100_000), {413}),
        "300k png chunks": (with_chunks(png_chunk(b"abCd", b"") * 300_000), {413}),
        "a million gif comments": (gif_of_comments(1_000_000), {413}),
        "a million bmp runs": (bmp_of_runs(1000), {413}),
        "16 MB icc jpeg": (jpeg_with(*[(0xE2, b"ICC_PROFILE\0" + bytes(65_000))] * 255), {200}),
        "pixels in 4000 chunks": (png_of_small_chunks(1024), {200}),
        "4400×4400 webp canvas": (webp_canvas(4400), {200}),
        "16000×16000 webp canvas": (webp_canvas(16_000), {413}),
        "bomb in the pixels": (
            with_chunks(png_chunk(b"IDAT", text)),
            {200, 422},
        ),
    }


async def test_bombs(tmp_path: Path) -> None:
    with separate(tmp_path, decode_threads=2) as server:
        before = server.rss_mb
        quiet = await alone(server.port, 2)
        async with bystander(server.port) as beside:
            for name, (data, accepted) in bombs().items():
                server.forget_peak()
                first = len(beside)
                # all at once, as an attacker would; no two alike, which would be decoded once
                requests = [post(SEARCH, data + bytes(number)) for number in range(8)]
                answers = await asyncio.gather(*(exchange(server.port, each) for each in requests))
                statuses = {answer.status for answer in answers}
                worst = max(answer.seconds for answer in answers)
                peak = server.peak_rss_mb - before
                waited = max(beside[first:], default=0)
                print(
                    f"{name:24} {len(data):>9} bytes: {statuses}, 8 at once in {worst * 1e3:5.0f} "
                    f"ms, a bystander {waited * 1e3:4.0f} ms, peak {peak:4.0f} MB above the start"
                )
                assert statuses <= accepted, f"{name}: {answers[0].text!r}"
                assert peak < 800  # two decoders, 20 bytes for each of 20 million pixels
        print(f"bystander's p99 {p99_ms(beside):.0f} ms, alone {p99_ms(quiet):.0f} ms")
        assert (await exchange(server.port, post(SEARCH, picture()))).status == 200


POLYGLOTS = {
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "svg that claims to be jpeg": b"\xff\xd8\xff<svg xmlns='http://www.w3.org/2000/svg'/>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "eps in a jpeg": b"\xff\xd8\xff\xe0" + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "tiff": b"II*\x00\x08\x00\x00\x00" + bytes(64),
    "psd": b"8BPS\x00\x01" + bytes(64),
    "pdf": b"%PDF-1.7\n",
    "ico": b"\x00\x00\x01\x00\x01\x00" + bytes(64),
    "jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(64),
    "fli": b"\x00" * 4 + b"\x11\xaf" + bytes(128),
    "xbm": b"#define a_width 8\n#define a_height 8\n",
    "zip": b"PK\x03\x04" + bytes(64),
    "avif": b"\x00\x00\x00\x20ftypavif" + bytes(64),
}


def is_refused(data: bytes) -> bool:
    try:
        images.decode(data, PREPROCESSING)
    except VitrineError:
        return True
    return False


def test_parsers_of_other_formats_are_never_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    reached: list[str] = []
    for name, (factory, accept) in dict(Image.OPEN).items():

        def spy(*arguments: Any, name: str = name, factory: Callable[..., Any] = factory) -> Any:
            reached.append(name)
            return factory(*arguments)

        monkeypatch.setitem(Image.OPEN, name, (spy, accept))
    assert all(is_refused(data) for data in POLYGLOTS.values())
    refused = sum(is_refused(mutant(seed)[1]) for seed in range(2000))
    print(f"{refused} refused, parsers reached: {dict(Counter(reached))}")
    assert set(reached) <= set(images.FORMATS)


def embedding(data: bytes) -> np.ndarray[Any, Any]:
    return averages(images.decode(data, PREPROCESSING))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated(image: Image.Image, orientation: int) -> bytes:
    """Stored so that a viewer which heeds EXIF shows the image upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    return saved(stored, "JPEG", quality=95, exif=exif)


def test_one_picture_in_many_dresses() -> None:
    cells = np.random.default_rng(3).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(cells).resize((320, 240), Image.Resampling.BICUBIC)
    reference = embedding(saved(image, "PNG"))
    grey = image.convert("L")
    grey_reference = embedding(saved(grey.convert("RGB"), "PNG"))
    opaque = image.convert("RGBA")
    clear = opaque.copy()
    clear.putalpha(Image.new("L", image.size, 0))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 1000)
    dresses = {f"EXIF {n}": (rotated(image, n), reference, 0.999) for n in range(1, 9)}
    dresses |= {
        "JPEG": (saved(image, "JPEG", quality=90), reference, 0.999),
        "JPEG 4:2:0 progressive": (
            saved(image, "JPEG", quality=80, progressive=True, subsampling=2),
            reference,
            0.998,
        ),
        "WebP": (saved(image, "WEBP", quality=90), reference, 0.999),
        "BMP": (saved(image, "BMP"), reference, 0.99999),
        "PNG with text": (saved(image, "PNG", pnginfo=text), reference, 0.99999),
        "PNG, alpha opaque": (saved(opaque, "PNG"), reference, 0.99999),
        "PNG, transparent": (
            saved(clear, "PNG"),
            embedding(saved(Image.new("RGB", image.size, "white"), "PNG")),
            0.99999,
        ),
        "PNG, 16 bits": (saved(wide, "PNG"), grey_reference, 0.9999),
        "PNG, grey": (saved(grey, "PNG"), grey_reference, 0.99999),
        "PNG, palette": (saved(image.quantize(256), "PNG"), reference, 0.99),
        "GIF": (saved(image.quantize(256), "GIF"), reference, 0.99),
        "JPEG, CMYK": (saved(image.convert("CMYK"), "JPEG", quality=95), reference, 0.99),
        "JPEG, ICC": (saved(image, "JPEG", quality=95, icc_profile=profile), reference, 0.999),
    }
    for name, (data, expected, least) in dresses.items():
        cosine = float(embedding(data) @ expected)
        print(f"{name:24} cosine {cosine:.5f}")
        assert cosine >= least, name


def test_odd_shapes() -> None:
    for size in ((1, 1), (20_000, 1), (1, 20_000), (3, 4000)):
        pixels = images.decode(saved(Image.new("RGB", size, (9, 99, 199)), "PNG"), PREPROCESSING)
        assert pixels.shape == (224, 224, 3)
    with pytest.raises(TooLarge):
        images.decode(saved(Image.new("1", (20_000, 1001)), "PNG"), PREPROCESSING)


async def test_a_truncated_picture_is_refused_at_every_length(tmp_path: Path) -> None:
    with separate(tmp_path) as server:
        for name in ("jpeg", "png", "webp", "bmp"):
            data = good(name)
            for cut in range(0, len(data) - 60, max(1, len(data) // 15)):
                answer = await exchange(server.port, post(SEARCH, data[:cut]))
                assert answer.status in (415, 422), f"{name} cut at {cut}: {answer.status}"
                assert json.loads(answer.text.split(b"\r\n\r\n", 1)[1])["field"] == "image"
