"""What a plan needs of the machine, as files of Debian: systemd's limits for Apache, its way to stop, and the kernel's settings.

Source: systemd.service(5), systemd.exec(5), sysctl.d(5), and Debian's own apache2.service and apachectl.
"""

from types import SimpleNamespace

from .backend_units import DRAIN_SECONDS
from .capacity import Plan
from .quoting import join, literal

DROP_IN = "etc/systemd/system/apache2.service.d/wsfront.conf"
SYSCTLS = "etc/sysctl.d/60-wsfront.conf"

MALLOC = "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"
"""What GLIBC_TUNABLES says to Apache: threads that sleep in tunnels keep no freed memory for themselves."""

_LATECOMERS_SECONDS = 5  # for who came back before the last listener closed, and is sent away once more
_HARD_FILES = 524_288  # systemd's own DefaultLimitNOFILE: up to here /etc/apache2/envvars may still go
_STOP_SECONDS = 20  # Apache itself kills what is left ten seconds after SIGTERM


def view(plan: Plan) -> SimpleNamespace:
    """Return what the templates of these files see."""
    drain = DRAIN_SECONDS + _LATECOMERS_SECONDS
    return SimpleNamespace(
        files=plan.limit_nofile,
        files_hard=max(_HARD_FILES, plan.limit_nofile),
        tasks=plan.tasks_max,
        malloc=literal(MALLOC),
        drain_seconds=drain,
        stop_seconds=drain + _STOP_SECONDS,
        sysctls=[
            SimpleNamespace(name=literal(name), value=join(" ", [literal(word) for word in value.split()]))
            for name, value in plan.sysctls.items()
        ],
    )
