"""``python -m server.pictures``: make pictures of strangers safe and small, in a process of the pool.

Of a picture nothing is kept but what can be seen: it is decoded, turned upright, scaled and encoded anew, of an animation the first
frame. Knows nothing of who sent it or who will see it.
"""

import io
import sys
import warnings

import msgspec
from PIL import (
    GifImagePlugin,
    Image,
    ImageCms,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from .pooled import Rejected, work

FORMATS = tuple(plugin.format for plugin in (
    GifImagePlugin.GifImageFile, JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile,
))  # fmt: skip
PIXELS_MOST = 25_000_000  # what a phone takes; as WebP they need 420 MiB for a moment, in other formats less
SIDE_MOST = 1024
SIDE_LEAST = 64
DATA_MOST = 48 << 10  # in base64 a text of 64 KiB, which is what a client may send at once
QUALITIES = (80, 60, 40)
SMALLER = 0.7

Image.MAX_IMAGE_PIXELS = PIXELS_MOST  # of the declared size, before anything is decoded
warnings.simplefilter("error", Image.DecompressionBombWarning)


def prepare(data: bytes) -> bytes:
    """Make a picture safe and small; return its width, height and data, WebP, in MessagePack.

    Raises:
        Rejected: it is none, of another format, broken or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.thumbnail((SIDE_MOST, SIDE_MOST))
            picture = _fitted(_upright(image))
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Rejected(f"A picture has at most {PIXELS_MOST // 1_000_000} million pixels.") from None
    except UnidentifiedImageError:
        raise Rejected("This is no picture; send PNG, JPEG, GIF or WebP.") from None
    except Exception:  # noqa: BLE001  # a decoder may raise anything at bytes made to break it
        raise Rejected("This picture is broken.") from None
    return msgspec.msgpack.encode(picture)


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says, into plain RGB with or without transparency, and leave all else behind."""
    turned = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    has_alpha = turned.has_transparency_data
    if profile and not has_alpha and turned.mode in ("RGB", "CMYK", "L"):
        turned = _in_srgb(turned, profile)
    plain = turned.convert("RGBA" if has_alpha else "RGB")
    plain.info.clear()
    return plain


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Keep the colours as they were meant, now that the profile goes; one that does not fit is as good as none."""
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        there = ImageCms.profileToProfile(image, meant, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return there or image


def _fitted(image: Image.Image) -> tuple[int, int, bytes]:
    """Encode a picture, worse or smaller, until it fits.

    Raises:
        Rejected: it does not.
    """
    while True:
        for quality in QUALITIES:
            kept = io.BytesIO()
            image.save(kept, "WEBP", quality=quality)
            if kept.tell() <= DATA_MOST:
                return *image.size, kept.getvalue()
        if max(image.size) < SIDE_LEAST:
            raise Rejected("This picture cannot be made small enough.")
        image = image.resize(tuple(max(1, round(side * SMALLER)) for side in image.size))  # type: ignore[arg-type]  # two of them


if __name__ == "__main__":
    sys.exit(work(prepare, sys.argv[1:]))
