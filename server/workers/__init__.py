"""Who serves a connection: one process for all of them, or one for each.

``spawner`` is the warm parent of the latter, ``processes`` what the server knows of it.
"""
