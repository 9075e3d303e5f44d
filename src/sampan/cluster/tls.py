"""TLS contexts from the files that pki.py makes; no more is imported than that takes."""

from __future__ import annotations

import ssl
from pathlib import Path


def server_context(authority: Path, directory: Path, name: str) -> ssl.SSLContext:
    """A TLS 1.2+ server context that takes client certificates of the authority, and also none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(authority: Path, directory: Path, name: str) -> ssl.SSLContext:
    """A client context that trusts the authority and shows the certificate `name`."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    return context
