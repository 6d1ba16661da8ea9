"""What can be seen on the machine that Apache runs on."""

from .entry import Entry

ENTRIES: dict[str, Entry] = {}
"""Finding id -> what is known of it."""
