"""The WebSocket backend: a chat and an echo over one port. It knows nothing of the proxy in front of it."""
