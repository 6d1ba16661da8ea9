"""What the kernel says of Apache's processes, read from folders that look like its own."""

import os
import socket
from pathlib import Path

from doctor.server_machine import connections, local_ports, processes
from doctor.server_system import system

LIMITS = "Limit                     Soft Limit           Hard Limit           Units\n"
FILES = "Max open files            1024                 524288               files\n"
TICKS = os.sysconf("SC_CLK_TCK")


def kernel(root: Path, children: dict[int, int]) -> Path:
    """Write a main process 10 with children, each with so many threads."""
    (root / "uptime").write_text("1000.00 1.0\n")
    for pid, threads in {10: 1, **children}.items():
        (root / str(pid)).mkdir()
        parent, name = (1, "apache2") if pid == 10 else (10, "apache2")
        fields = f"S {parent} " + "0 " * 15 + f"{threads} 0 {900 * TICKS} 0"
        (root / str(pid) / "stat").write_text(f"{pid} ({name}) {fields}\n")
    (root / "10/limits").write_text(LIMITS + FILES)
    (root / "10/cgroup").write_text("0::/system.slice/apache2.service\n")
    return root


def test_children(tmp_path: Path) -> None:
    """Children, their threads, and what they may open are read; another program's processes are none."""
    proc = kernel(tmp_path, {11: 27, 12: 3})
    (tmp_path / "13").mkdir()
    (tmp_path / "13/stat").write_text("13 (rotatelogs) S 10 " + "0 " * 15 + "1 0 5 0\n")
    (tmp_path / "14").mkdir()
    found = processes(10, proc=proc, cgroups=tmp_path / "cgroup")
    assert found
    assert [child.threads for child in found.children] == [27, 3]
    assert (found.files, found.tasks, found.is_replaced) == (1024, None, False)
    assert processes(99, proc=proc) is None


def test_tasks_of_a_service(tmp_path: Path) -> None:
    """The least limit of a cgroup and those above it counts, in either version of them."""
    proc = kernel(tmp_path, {})
    cgroups = tmp_path / "cgroup"
    (cgroups / "system.slice/apache2.service").mkdir(parents=True)
    (cgroups / "system.slice/apache2.service/pids.max").write_text("max\n")
    (cgroups / "system.slice/pids.max").write_text("4915\n")
    found = processes(10, proc=proc, cgroups=cgroups)
    assert found
    assert found.tasks == 4915
    (proc / "10/cgroup").write_text("8:pids:/apache\n0::/\n")
    (cgroups / "pids/apache").mkdir(parents=True)
    (cgroups / "pids/apache/pids.max").write_text("100\n")
    found = processes(10, proc=proc, cgroups=cgroups)
    assert found
    assert found.tasks == 100


def test_connections_of_a_user() -> None:
    """Connections that this user has open are counted by where they go."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert connections(os.geteuid(), [])[f"127.0.0.1:{port}"] == 2
            assert connections(os.geteuid() + 1, [])[f"127.0.0.1:{port}"] == 0
    assert (local_ports() or 0) > 1000


def test_selinux(tmp_path: Path) -> None:
    """SELinux denies where it is enforcing and the boolean is off, and nowhere else."""
    assert not system(tmp_path).denies
    folder = tmp_path / "sys/fs/selinux"
    (folder / "booleans").mkdir(parents=True)
    for enforce, boolean, denies in (("1", "0 0", True), ("1", "1 1", False), ("0", "0 0", False)):
        (folder / "enforce").write_text(enforce)
        (folder / "booleans/httpd_can_network_connect").write_text(boolean)
        assert system(tmp_path).denies == denies


def test_who_reloads(tmp_path: Path) -> None:
    """Who reloads Apache is read where Debian and certbot write it down."""
    (tmp_path / "etc/logrotate.d").mkdir(parents=True)
    (tmp_path / "etc/logrotate.d/apache2").write_text(
        "/var/log/apache2/*.log {\n\tdaily\n\tpostrotate\n\t\tinvoke-rc.d apache2 reload\n\tendscript\n}\n"
    )
    (tmp_path / "etc/logrotate.d/other").write_text("/var/log/other.log {\n\tweekly\n}\n")
    (tmp_path / "etc/letsencrypt/renewal").mkdir(parents=True)
    (tmp_path / "etc/letsencrypt/renewal/site.conf").write_text("[renewalparams]\ninstaller = apache\n")
    assert system(tmp_path).reloaders == ("logrotate, daily", "certbot, at each renewal")
