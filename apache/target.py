"""What is true of the machine and of the place the files are for: given as data, or probed (httpd.py).

Knows nothing of any site. Everything here can be written down in a file, so that a plan for another machine needs no access to it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import DescriptionError

Layout = Literal["debian", "include", "private", "htaccess"]
Mpm = Literal["event", "worker", "prefork"]
MPMS: tuple[Mpm, ...] = ("event", "worker", "prefork")


class Target(BaseModel):
    """Describe one machine and one layout of files.

    Attributes:
        layout: debian: sites-available and conf-available; include: the block for a vhost that exists;
            private: one self-contained configuration; htaccess: rules for a folder's .htaccess.
        apache: version, as 2.4.71.
        openssl: version of the library that mod_ssl is linked with.
        mpm: the multi-processing module in use.
        modules: names of the shared modules that can be loaded, as proxy_http.
        static_modules: names of those built in.
        modules_directory: where the shared ones lie (private only).
        memory: bytes of RAM.
        cores: processors.
        user: to whom Apache's children drop when it starts as root (private only); empty: they stay who we are.
        group: the group beside that user.
        directory: where the configuration's own files lie: Apache's ServerRoot when private, wsfront's own folder otherwise.
        listen: addresses to bind (private only).
        addresses: names and addresses that are this machine's, so that of several backends it is its own; none: all named are.
        https_port: port for TLS.
        http_port: port for plain HTTP.
        public_https_port: port by which clients reach that for TLS, where something forwards it; None: the same.
        public_http_port: likewise for plain HTTP.
        reloads: how many graceful reloads a socket may outlive.
        http_reserve: workers kept for pages while all sockets are open.
        memory_reserve: bytes of RAM left to the rest of the machine.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    layout: Layout = "debian"
    apache: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "2.4.71"
    openssl: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+[a-z]*$")] = "3.0.19"
    mpm: Mpm = "event"
    modules: tuple[str, ...] = ()
    static_modules: tuple[str, ...] = ()
    modules_directory: str = "/usr/lib/apache2/modules"
    memory: Annotated[int, Field(ge=1 << 26)] = 2 << 30
    cores: Annotated[int, Field(ge=1)] = 2
    user: str = ""
    group: str = ""
    directory: str = "/etc/wsfront"
    listen: tuple[str, ...] = ("127.0.0.1",)
    addresses: tuple[str, ...] = ()
    https_port: Annotated[int, Field(ge=1, le=65535)] = 443
    http_port: Annotated[int, Field(ge=1, le=65535)] = 80
    public_https_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    public_http_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    reloads: Annotated[int, Field(ge=0, le=50)] = 4
    http_reserve: Annotated[int, Field(ge=1, le=10000)] = 150
    memory_reserve: Annotated[int, Field(ge=0)] = 256 << 20


def read(path: Path) -> Target:
    """Read a target from a JSON file.

    Raises:
        DescriptionError: with every fault found.
    """
    try:
        return Target.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DescriptionError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ValidationError as error:
        faults = [
            f"{path}: {'.'.join(map(str, fault['loc'])) or 'whole file'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise DescriptionError(faults) from None
