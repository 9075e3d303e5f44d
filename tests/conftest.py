"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# As nodes do, before anything of gRPC is used: its fork handlers start threads in the children of tests.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# A busy machine makes any example slow once in a while: how long one takes says nothing about what it checks.
settings.register_profile("sampan", deadline=None)
settings.load_profile("sampan")
