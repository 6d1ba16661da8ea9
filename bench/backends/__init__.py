"""What stands behind the stacks: each file is one backend, the object `BACKEND` in it.

A backend is a process that listens on a port of 127.0.0.1 and has an echo and a room, each at a path under /ws/; a scenario names the
backends it wants.
"""
