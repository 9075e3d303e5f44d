"""TLS contexts from the files that pki.py makes; no more is imported than that takes.

Certificates are renewed while a cluster runs. Every context made here takes over what lies in its files now
when `reload` is called: new connections have the new certificate, those there are go on.
"""

from __future__ import annotations

import contextlib
import ssl
import weakref
from pathlib import Path
from typing import Any, Final

from sampan.base.clock import Clock

RELOAD_EVERY_S: Final = 60.0

_Stamp = tuple[int, int]
# The contexts there are, with their files and what these were when they were read.
_loaded: weakref.WeakKeyDictionary[ssl.SSLContext, tuple[Path, Path, _Stamp]] = weakref.WeakKeyDictionary()


def server_context(authority: Path, directory: Path, name: str, *others: Path) -> ssl.SSLContext:
    """A TLS 1.2+ server context that takes client certificates of these authorities, and also none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, directory / f"{name}.crt", directory / f"{name}.key")
    for each in (authority, *others):
        context.load_verify_locations(each)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def subject_of(authority: Path) -> Any:
    """The subject of an authority's certificate, as `ssl.getpeercert` gives the issuer of what it signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(authority)
    return context.get_ca_certs()[0]["subject"]


def client_context(authority: Path, directory: Path, name: str) -> ssl.SSLContext:
    """A client context that trusts the authority and shows the certificate `name`."""
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, directory / f"{name}.crt", directory / f"{name}.key")
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    stamp = _stamp(certificate)
    context.load_cert_chain(certificate, key)
    _loaded[context] = (certificate, key, stamp)


def reload() -> int:
    """Take over every certificate that was renewed; returns how many that were.

    A pair that is being written just now does not fit together: it is taken over the next time. To be called
    where connections are accepted, not beside it: a context takes the certificate and then the key, and what
    connects between the two is shown a pair that does not fit.
    """
    count = 0
    for context, (certificate, key, stamp) in list(_loaded.items()):
        with contextlib.suppress(OSError):  # ssl.SSLError is one
            if _stamp(certificate) != stamp:
                # A context that refuses a pair has lost the one it had.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
                _load(context, certificate, key)
                count += 1
    return count


async def follow(clock: Clock) -> None:
    """Reload once a minute until cancelled."""
    while True:
        await clock.sleep(RELOAD_EVERY_S)
        reload()


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
