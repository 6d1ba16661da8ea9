"""What the stacks of Apache share: how it is found, started, reloaded and stopped. Knows nothing of their configurations."""

from abc import abstractmethod
from collections.abc import Mapping

from apache import httpd, limits
from apache.errors import ApacheError
from apache.target import Target
from bench.errors import BenchFault, MissingFault

from .base import Place, Stack


class Apache(Stack):
    """Run a private Apache."""

    package = "apache2-bin"
    files_each = 0.1  # a child holds 250 sockets at most
    threads_each = 1.2

    malloc = limits.MALLOC

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._httpd = httpd.Httpd(place.directory, malloc=self.malloc)

    @abstractmethod
    def files(self) -> Mapping[str, str]:
        """Return its configuration: path below its folder -> text.

        Raises:
            ApacheError: this Apache cannot have it.
        """

    @staticmethod
    def probe() -> Target:
        """Return the facts of this machine's Apache.

        Raises:
            MissingFault: there is none.
        """
        try:
            return httpd.probe("private")
        except ApacheError as error:
            raise MissingFault(str(error)) from None

    def start(self) -> None:
        """Write its configuration, and start it."""
        try:
            self._httpd.write(self.files())
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
        """Return Apache's session: it is started as the leader of one."""
        return self._httpd.pid
