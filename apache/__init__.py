"""From a description to Apache's files, and a private Apache to try them with.

Knows nothing of the backend's code, of certificates' making or of the command line.
"""
