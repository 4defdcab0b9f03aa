"""Properties are not timed: the first example may pay for an import, and machines differ."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
