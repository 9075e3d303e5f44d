"""Image references, as far as the API looks into them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_CACHE_SIZE: Final = 4096
_NAME_MOST: Final = 255
_IMAGE: Final = re.compile(
    r"(?:(?:[\w.-]+(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?)/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,}))?"
)


@lru_cache(maxsize=_CACHE_SIZE)
def pull_policy(image: str) -> str:
    """`Always` for an image that has, or defaults to, the tag `latest`; else `IfNotPresent`."""
    parts = _IMAGE.fullmatch(image)
    if parts is None:
        return "IfNotPresent"
    if len(image) > _NAME_MOST and len(re.split(r":[^/]*$|@", image)[0]) > _NAME_MOST:
        return "IfNotPresent"  # no name of an image, however it may look
    latest = parts["tag"] == "latest" or (parts["tag"] is None and parts["digest"] is None)
    return "Always" if latest else "IfNotPresent"
