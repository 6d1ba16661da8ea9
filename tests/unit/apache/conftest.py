"""Properties here start programs and share two cores: no example fails by being slow."""

from hypothesis import settings

settings.register_profile("programs", deadline=None)
settings.load_profile("programs")
