"""Certificates: a local authority for one's own names, and the checks of certificates that others issued.

Does not know Apache, the backend or the description: names and paths come in, paths and sentences go out.
"""
