"""What can be seen of a site from anywhere, by asking it."""

from .entry import Entry

ENTRIES: dict[str, Entry] = {}
"""Finding id -> what is known of it."""
