"""Plain HTTP: the page and its files, held in memory, and every other answer that is not a WebSocket.

Knows nothing of sockets or of the chat.
"""

import hashlib
import html
from dataclasses import dataclass
from email.utils import formatdate
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

STATIC = Path(__file__).parent / "static"
PLACEHOLDER = b"{{socket}}"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
# `connect-src 'self'` covers wss of the same host: https://www.w3.org/TR/CSP3/#match-schemes
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Page:
    """A file as it goes out."""

    body: bytes
    content_type: str

    @cached_property
    def etag(self) -> str:
        """Name this content."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:20]}"'


def load(socket: str, folder: Path = STATIC) -> dict[str, Page]:
    """Read all static files, and the index with the public path of its socket filled in, by URL path."""
    found: dict[str, Page] = {}
    for file in sorted(folder.glob("*")):
        if not file.is_file() or file.name.startswith("."):
            continue
        body = file.read_bytes()
        url = f"/static/{file.name}"
        if file.name == "index.html":
            url, body = "/", body.replace(PLACEHOLDER, html.escape(socket).encode())
        found[url] = Page(body, TYPES.get(file.suffix, "application/octet-stream"))
    return found


def serve(page: Page, request: Request) -> Response:
    """Answer with a page, or with 304 where the client has it already."""
    etag = page.etag
    known = [
        tag.strip().removeprefix("W/")
        for tag in ",".join(request.headers.get_all("If-None-Match")).split(",")
    ]
    extra = {"ETag": etag, "Cache_Control": "no-cache"}
    if etag in known or "*" in known:
        return answer(request, HTTPStatus.NOT_MODIFIED, **extra)
    return answer(request, HTTPStatus.OK, page.body, content_type=page.content_type, **extra)


def answer(
    request: Request,
    status: HTTPStatus,
    body: bytes | str | None = None,
    *,
    content_type: str = TYPES[".txt"],
    **extra: str,
) -> Response:
    """Make any plain answer; to HEAD it has everything but the body.

    ``extra`` headers are written with _ for -, as in ``Retry_After``; the connection always ends after it.
    """
    content = body.encode() if isinstance(body, str) else body
    headers = Headers(
        {
            "Date": formatdate(usegmt=True),
            "Connection": "close",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
    )
    if content is not None:
        headers["Content-Length"] = str(len(content))
        headers["Content-Type"] = content_type
    for name, value in extra.items():
        headers[name.replace("_", "-")] = value
    return Response(status.value, status.phrase, headers, b"" if request.method == "HEAD" else content or b"")
