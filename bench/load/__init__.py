"""The load generator: several processes, each with many hand-framed WebSockets on one epoll, told what to do line by line.

`client.py` is what runs in them, `processes.py` what the measuring process holds of them.
"""
