"""The front door: one module a verb, and the only place where server, apache and certs meet."""
