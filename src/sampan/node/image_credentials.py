"""Which credentials of a pod's imagePullSecrets fit an image. Pure."""

from __future__ import annotations

import base64
import binascii
import fnmatch
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sampan.node.runtimes.runtime import Credentials
from sampan.schema import api

DOCKER_HUB: Final = "docker.io"
_HUB_NAMES: Final = ("index.docker.io", "registry-1.docker.io", "docker.io")


def credentials_for(image: str, secrets: Iterable[api.Secret]) -> Credentials | None:
    """The first credentials among the secrets for the image's registry (longest matching entry first)."""
    name = image_name(image)
    found: list[tuple[str, Credentials]] = []
    for secret in secrets:
        for registry, entry in _entries(secret).items():
            pattern = _pattern(registry)
            if _fits(pattern, name):
                credentials = _credentials(entry)
                if credentials is not None:
                    found.append((pattern, credentials))
    found.sort(key=lambda pair: len(pair[0]), reverse=True)
    return found[0][1] if found else None


def image_name(image: str) -> str:
    """The image with its registry: `nginx` is `docker.io/library/nginx`."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"{DOCKER_HUB}/{image}" if slash else f"{DOCKER_HUB}/library/{image}"


def _entries(secret: api.Secret) -> dict[str, Any]:
    for key, nested in ((".dockerconfigjson", True), (".dockercfg", False)):
        raw = secret.data.get(key)
        if raw is None:
            continue
        try:
            whole = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            return {}
        entries = whole.get("auths", {}) if nested and isinstance(whole, dict) else whole
        return entries if isinstance(entries, dict) else {}
    return {}


def _pattern(registry: str) -> str:
    bare = registry.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = bare.partition("/")
    if host in _HUB_NAMES:
        host = DOCKER_HUB
    if path in ("v1", "v2"):
        path = ""
    return f"{host}/{path}" if path else host


def _fits(pattern: str, name: str) -> bool:
    host, _, path = pattern.partition("/")
    own_host, _, own_path = name.partition("/")
    return fnmatch.fnmatchcase(own_host, host) and own_path.startswith(path)


def _credentials(entry: Any) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth") and not (username and password):
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
    return Credentials(username, password, entry.get("identitytoken", ""))
