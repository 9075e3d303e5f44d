"""Image references: what `image:` in a container means."""

from __future__ import annotations

import re

import msgspec

DEFAULT_DOMAIN = "docker.io"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
_HOST = rf"(?:{_DOMAIN}|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_HOST})/)?(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
MAX_NAME_LENGTH = 255


class Reference(msgspec.Struct, frozen=True):
    """A reference in full: `docker.io/library/busybox:latest`."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"


def parse(text: str) -> Reference:
    """Fill in docker.io, library/ and :latest as container tools do. Raises ValueError with a sentence."""
    first, slash, _ = text.partition("/")
    # The first part is a host only if it looks like one; `library/busybox` has none.
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    match = _REFERENCE.fullmatch(text if is_host else f"{DEFAULT_DOMAIN}/{text}")
    if match is None or match["domain"] is None or _IMAGE_ID.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid image reference.")
    domain, path = match["domain"], match["path"]
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    # The whole name counts: what is completed here must be valid when it is read again.
    if len(domain) + len(path) > MAX_NAME_LENGTH:
        raise ValueError(f"{text!r} is not a valid image reference: its name is too long.")
    digest = match["digest"] or ""
    return Reference(domain, path, match["tag"] or ("" if digest else "latest"), digest)


def is_image_id(text: str) -> bool:
    """Whether `text` is a digest as runtimes name images by, rather than a reference."""
    return _IMAGE_ID.fullmatch(text) is not None
