"""What a pod's spec asks for and cannot have."""

from __future__ import annotations

from sampan.base.errors import SampanError


class ConfigError(SampanError):
    """A container cannot be made from its spec as things are. The text is what its status shows."""

    reason = "CreateContainerConfigError"


class VolumeError(SampanError):
    """A volume cannot be prepared as things are. The text is the FailedMount event's."""


class ClaimError(VolumeError):
    """A claim cannot be used, as things are; its volume was not even looked at."""
