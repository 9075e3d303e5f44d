"""The file that says how what is stored is encrypted: an EncryptionConfiguration."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from pathlib import Path
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.store.sealed import SealedStore, Seals
from sampan.store.sealing import AesCbc, AesGcm, Identity, Ring, Sealer, SecretBox

# How often the file is looked at for changes.
RELOAD_EVERY_S: Final = 5.0
_API_VERSION: Final = "apiserver.config.k8s.io/v1"
_KEY_BYTES: Final[dict[str, tuple[int, ...]]] = {
    "aesgcm": (16, 24, 32),
    "aescbc": (16, 24, 32),
    "secretbox": (32,),
}
_SEALERS: Final[dict[str, Any]] = {"aesgcm": AesGcm, "aescbc": AesCbc, "secretbox": SecretBox}
_log = logging.getLogger(__name__)


def load(path: Path) -> Seals:
    """The seals that the file asks for. Raises SampanError that names what is wrong and where."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except OSError as problem:
        raise SampanError(
            f"Cannot read the encryption configuration {path}: {problem.strerror}; name a file that exists."
        ) from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise SampanError(f"The encryption configuration {path} is not YAML: {problem}") from None
    try:
        return seals(document)
    except ValueError as problem:
        raise SampanError(f"The encryption configuration {path} cannot be used: {problem}.") from None


def seals(document: Any) -> Seals:
    """The same of a parsed document. Raises ValueError."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (
        _API_VERSION,
        "EncryptionConfiguration",
    ):
        raise ValueError(f"it must be an EncryptionConfiguration of {_API_VERSION}")
    rules = []
    for position, rule in enumerate(_list(document, "resources", "")):
        where = f"resources[{position}]"
        names = _list(rule, "resources", where)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{where}.resources must name at least one resource")
        providers = [
            sealer
            for number, provider in enumerate(_list(rule, "providers", where))
            for sealer in _sealers(provider, f"{where}.providers[{number}]")
        ]
        if not providers:
            raise ValueError(f"{where}.providers must hold at least one provider")
        rules.append((tuple(name.lower() for name in names), Ring(providers)))
    return Seals(tuple(rules))


def _sealers(provider: Any, where: str) -> list[Sealer]:
    if not isinstance(provider, dict) or len(provider) != 1:
        raise ValueError(f"{where} must hold exactly one of aesgcm, aescbc, secretbox, identity")
    [(name, body)] = provider.items()
    if name == "identity":
        return [Identity()]
    if name == "kms":
        raise ValueError(f"{where}.kms is not supported; use aesgcm, aescbc or secretbox")
    if name not in _KEY_BYTES:
        raise ValueError(f"{where}.{name} is no provider; there are aesgcm, aescbc, secretbox, identity")
    made: list[Sealer] = []
    for position, key in enumerate(_list(body, "keys", f"{where}.{name}")):
        at = f"{where}.{name}.keys[{position}]"
        if not isinstance(key, dict) or not key.get("name") or ":" in str(key["name"]):
            raise ValueError(f"{at}.name must be given and hold no colon")
        try:
            secret = base64.b64decode(str(key.get("secret") or ""), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"{at}.secret is not base64") from None
        if len(secret) not in _KEY_BYTES[name]:
            wanted = " or ".join(map(str, _KEY_BYTES[name]))
            raise ValueError(f"{at}.secret has {len(secret)} bytes; {name} takes {wanted}")
        made.append(_SEALERS[name](str(key["name"]), secret))
    if not made:
        raise ValueError(f"{where}.{name}.keys must hold at least one key")
    return made


def _list(holder: Any, name: str, where: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{f'{where}.' if where else ''}{name} must be a list")
    return found


async def follow(path: Path, store: SealedStore, clock: Clock) -> None:
    """Take over what the file says when it changes, and seal anew what an older key sealed.

    A file that cannot be used is told in the log, and what was in force stays so.
    """
    seen = None
    while True:
        stamp = await asyncio.to_thread(_stamp, path)
        if stamp != seen:
            seen = stamp
            try:
                store.seals = await asyncio.to_thread(load, path)
                count = await store.rewrite()
                _log.info("%s is in force; %d values were encrypted anew", path, count)
            except SampanError as problem:
                _log.error("%s", problem)
        await clock.sleep(RELOAD_EVERY_S)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size
