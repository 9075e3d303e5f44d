"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes any example slow once in a while: how long one takes says nothing about what it checks.
settings.register_profile("sampan", deadline=None)
settings.load_profile("sampan")
