"""Apache with the settings that Debian ships, and the rewrite rule that forums and answers pass on."""

from apache import httpd

from .apache import Apache
from .base import fill


class STACK(Apache):
    """Run Apache from Debian's own files, put into one."""

    name = "apache-debian"
    rank = 2
    title = "Apache as Debian ships it"
    malloc = ""

    @classmethod
    def version(cls) -> str:
        """Return Apache's version."""
        return cls.probe().apache

    def files(self) -> dict[str, str]:
        """Return Debian's files in one."""
        modules = httpd.probe("private").modules_directory
        return {"httpd.conf": fill("apache_debian.conf.j2", self.place).replace("MODULES", modules)}
