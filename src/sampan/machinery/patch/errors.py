"""What is wrong with a patch; each class is the HTTP answer that Kubernetes gives."""

from __future__ import annotations

from typing import ClassVar


class PatchError(ValueError):
    """A patch that cannot be applied. `code` is the HTTP status that Kubernetes answers with."""

    code: ClassVar[int] = 400


class PatchMalformed(PatchError):
    """The patch is not a patch."""


class PatchTooLarge(PatchError):
    """The patch asks for more than a server will do for one request."""

    code = 413


class PatchFailed(PatchError):
    """The patch is well formed but does not fit the object."""

    code = 422
