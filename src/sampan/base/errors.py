"""Errors that a user reads: sentences that name the thing and the mend."""

from __future__ import annotations


class SampanError(Exception):
    """An error whose text is meant for the person who ran the command: one sentence, with the mend."""
