"""What is measured: each file is one stack, the class `STACK` in it, with its configuration as a template beside it.

A stack carries WebSockets from a port to a backend's port on 127.0.0.1; all serve the same certificate, and whatever is not
the point (timeouts, tickets, log files) is the same for all. Knows nothing of what is measured.
"""
