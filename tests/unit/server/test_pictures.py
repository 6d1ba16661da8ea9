"""Pictures of strangers: what is kept of them, and what those that are meant to harm get."""

import io
import random
import struct
import zlib

import msgspec
import pytest
from PIL import Image, ImageCms

from server.pictures import DATA_MOST, SIDE_MOST, prepare
from server.pool import JobLost, Pool
from server.pooled import Rejected
from server.uploads import MEMORY, Picture

PNG = b"\x89PNG\r\n\x1a\n"
SECRET = b"SECRET-of-the-sender"
RED, BLUE = (220, 20, 20), (20, 20, 220)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Write a chunk of a PNG."""
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def declared(width: int, height: int, data: bytes = b"") -> bytes:
    """Write a PNG that declares a size, and holds whatever it holds."""
    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def halves(size: tuple[int, int] = (80, 40)) -> Image.Image:
    """Draw a picture: its left half red, its right half blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def noise(size: tuple[int, int]) -> Image.Image:
    """Draw what no encoder can make small."""
    return Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3))  # noqa: S311  # no secret


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def made(data: bytes) -> tuple[Picture, Image.Image]:
    """Make a picture safe, and open what came of it."""
    picture = msgspec.msgpack.decode(prepare(data), type=Picture)
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    assert (image.format, image.size) == ("WEBP", (picture.width, picture.height))
    assert len(picture.data) <= DATA_MOST
    return picture, image


def near(pixel: object, color: tuple[int, int, int]) -> bool:
    """Say whether a pixel is of a colour, as far as a lossy encoder keeps it."""
    assert isinstance(pixel, tuple)
    return all(abs(one - other) < 40 for one, other in zip(pixel, color, strict=False))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_formats(kind: str) -> None:
    """The four formats of the web are read; WebP comes out."""
    _, image = made(saved(halves(), kind))
    assert image.size == (80, 40)
    assert near(image.convert("RGB").getpixel((10, 20)), RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata(kind: str) -> None:
    """Of EXIF, the place in it, XMP, colour profiles and comments nothing is left."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    comment = {"comment": SECRET} if kind == "JPEG" else {}
    data = saved(halves(), kind, exif=exif, icc_profile=profile, xmp=SECRET, **comment)
    assert SECRET in data
    picture, image = made(data)
    assert dict(image.getexif()) == {}
    assert set(image.info) <= {"loop", "background", "timestamp", "duration"}
    assert SECRET not in picture.data
    for part in (b"EXIF", b"ICCP", b"XMP "):
        assert part not in picture.data


def test_comment_of_gif() -> None:
    """A comment of a GIF is left behind."""
    data = saved(halves(), "GIF", comment=SECRET)
    assert SECRET in data
    assert SECRET not in made(data)[0].data


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [(1, (80, 40), (10, 20)), (3, (80, 40), (70, 20)), (6, (40, 80), (20, 10)), (8, (40, 80), (20, 70))],
)
def test_orientation(orientation: int, size: tuple[int, int], red: tuple[int, int]) -> None:
    """A picture is turned as its EXIF says, since that goes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    _, image = made(saved(halves(), "JPEG", exif=exif))
    assert image.size == size
    assert near(image.getpixel(red), RED)


def test_scaled() -> None:
    """A large picture is made smaller, its proportions kept."""
    _, image = made(saved(halves((4000, 1000)), "JPEG"))
    assert image.size == (SIDE_MOST, 256)


def test_fits() -> None:
    """What no quality makes small enough is scaled until it fits."""
    _, image = made(saved(noise((1000, 1000)), "PNG"))
    assert image.width == image.height < 1000


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)], ids=str)
def test_thin(size: tuple[int, int]) -> None:
    """A picture of one pixel's width is one."""
    assert made(saved(Image.new("RGB", size), "PNG"))[1].size >= (1, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGBA"])
def test_modes(mode: str) -> None:
    """Pictures of all kinds of pixels are read, and what is transparent stays so."""
    _, image = made(saved(Image.new(mode, (8, 8)), "PNG"))
    assert image.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")


def test_cmyk() -> None:
    """A picture for print is read too."""
    assert made(saved(halves().convert("CMYK"), "JPEG"))[1].mode == "RGB"


def test_profile() -> None:
    """Colours are brought into sRGB before their profile goes; one that is broken is as good as none."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (lab, b"broken"):
        _, image = made(saved(halves(), "JPEG", icc_profile=profile))
        assert near(image.getpixel((10, 20)), RED)


def test_animated() -> None:
    """Of an animation the first frame is kept, however many there are."""
    frames = [Image.new("RGB", (16, 16), (index % 256, 0, 0)) for index in range(2000)]
    for frame, index in zip(frames, range(2000), strict=True):
        frame.putpixel((0, 0), (0, index % 256, index // 256))
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    _, image = made(data)
    assert getattr(image, "n_frames", 1) == 1
    assert near(image.convert("RGB").getpixel((8, 8)), (0, 0, 0))


def test_tail() -> None:
    """What hangs behind a picture, such as another file, is left behind."""
    data = saved(halves(), "PNG") + b"<script>alert(1)</script>PK\x03\x04" + SECRET
    picture, _ = made(data)
    assert b"script" not in picture.data
    assert SECRET not in picture.data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no picture"),
        (b"\0" * 1000, "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "no picture"),
        (b"<!doctype html><script>alert(1)</script>", "no picture"),
        (b"GIF89a/*<script>*/=alert(1)", "no picture"),
        (b"%PDF-1.7 " + b"x" * 100, "no picture"),
        (saved(halves(), "BMP"), "no picture"),
        (saved(halves(), "TIFF"), "no picture"),
        (saved(halves(), "PNG")[:60], "broken"),
        (saved(noise((80, 80)), "JPEG")[:2000], "broken"),
        (saved(noise((80, 80)), "WEBP")[:-100], "broken"),
        (declared(60_000, 60_000), "million pixels"),
        (declared(2**31 - 1, 2**31 - 1), "million pixels"),
        (declared(5000, 5001), "at most 25 million pixels"),
        (declared(0, 0), "no picture"),
        (declared(100, 100, zlib.compress(b"")), "broken"),
        (
            PNG + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000)) + saved(halves(), "PNG")[8:],
            "broken",
        ),
    ],
    ids=[
        "nothing", "zeros", "svg", "html", "gif_script", "pdf", "bmp", "tiff", "half_png", "half_jpeg", "half_webp",
        "bomb", "largest", "just_too_large", "no_size", "no_data", "zipped_text",
    ],
)  # fmt: skip
def test_bad(data: bytes, why: str) -> None:
    """What is no picture, of another format, broken or a bomb is rejected in one line that says so."""
    with pytest.raises(Rejected, match=why) as caught:
        prepare(data)
    assert "\n" not in str(caught.value)


async def test_largest() -> None:
    """The largest picture that is allowed is read, by the decoder that needs most, within the memory of a process."""
    image = Image.new("RGBA", (5000, 5000), (*RED, 128))
    pool = Pool("server.pictures", size=1, waiting=0, seconds=20, memory=MEMORY)
    try:
        answer = await pool.run(saved(image, "WEBP", method=0))
    finally:
        await pool.close()
    assert msgspec.msgpack.decode(answer, type=Picture).width == SIDE_MOST


async def test_bomb() -> None:
    """A bomb within the declared limits costs its process at most, and the next picture is served."""
    pool = Pool("server.pictures", size=1, waiting=0, seconds=20, memory=160 << 20)
    try:
        bomb = saved(Image.new("RGBA", (5000, 5000)), "PNG")
        with pytest.raises(JobLost):
            await pool.run(bomb)
        answer = await pool.run(saved(halves(), "PNG"))
        assert msgspec.msgpack.decode(answer, type=Picture).width == 80
    finally:
        await pool.close()
