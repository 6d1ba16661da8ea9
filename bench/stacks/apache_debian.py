"""Apache with the settings that Debian ships, and the rewrite rule that forums and answers pass on."""

from apache import httpd
from apache.errors import ApacheError
from bench.errors import BenchFault, MissingFault

from .base import Place, Stack, fill


class STACK(Stack):
    """Run Apache from Debian's own files, put into one."""

    name = "apache-debian"
    rank = 2
    title = "Apache as Debian ships it"
    package = "apache2-bin"
    files_each = 0.1
    threads_each = 1.2

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._httpd = httpd.Httpd(place.directory)

    @classmethod
    def version(cls) -> str:
        """Return Apache's version."""
        try:
            return httpd.probe("private").apache
        except ApacheError as error:
            raise MissingFault(str(error)) from None

    def start(self) -> None:
        """Start it."""
        try:
            modules = httpd.probe("private").modules_directory
            text = fill("apache_debian.conf.j2", self.place).replace("MODULES", modules)
            self._httpd.write({"httpd.conf": text})
            self._httpd.start()
        except ApacheError as error:
            raise BenchFault(f"{self.title}: {error}") from None

    def stop(self) -> None:
        """Stop it and its children."""
        self._httpd.stop()

    def reload(self) -> None:
        """Reload gracefully."""
        self._httpd.reload()

    @property
    def session(self) -> int | None:
        """Return Apache's session."""
        return self._httpd.pid
