"""Our own backend with a process for each connection, forked from a warm parent."""

from dataclasses import replace

from .wsfront import BACKEND as SHARED

BACKEND = replace(
    SHARED,
    name="wsfront-forked",
    rank=10,
    command=lambda port: [*SHARED.command(port), "--workers", "forked"],
)
