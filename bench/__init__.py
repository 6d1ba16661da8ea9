"""Side-by-side measurements of WebSocket stacks on this machine: ours beside what people would pick instead.

Imports apache (to render and run ours) and certs (for the one certificate that all of them serve); the backend runs as a process.
A scenario, a stack or a backend is one file in the folder of that name: nothing else lists them.
"""
