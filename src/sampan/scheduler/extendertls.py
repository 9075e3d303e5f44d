"""TLS to an HTTP extender, as its tlsConfig says."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from pathlib import Path

from sampan.scheduler.configuration import ConfigurationError, Extender, TlsConfig


def tls_of(extender: Extender) -> ssl.SSLContext | bool:
    """How connections to it are made; True for the machine's own authorities. Raises ConfigurationError.

    As upstream, one with `enableHTTPS` and no authority is believed whoever it is.
    """
    if not extender.url_prefix.startswith("https:"):
        return True
    given = extender.tls_config or TlsConfig()
    where = f"the tlsConfig of the extender {extender.url_prefix}"
    try:
        return _context(given, trusts_anyone=given.insecure or (extender.enable_https and not _has_ca(given)))
    except OSError as problem:  # that of broken certificates is one, too
        name = f" {problem.filename}" if problem.filename else ""
        raise ConfigurationError(f"{where} cannot be used: {problem.strerror or problem}{name}") from None
    except (ValueError, binascii.Error) as problem:
        raise ConfigurationError(f"{where} cannot be used: {problem}") from None


def _has_ca(given: TlsConfig) -> bool:
    return bool(given.ca_data or given.ca_file)


def _context(given: TlsConfig, *, trusts_anyone: bool) -> ssl.SSLContext:
    if bool(given.cert_file or given.cert_data) != bool(given.key_file or given.key_data):
        raise ValueError("a certificate and its key are given together or not at all")
    authority = base64.b64decode(given.ca_data, validate=True).decode() if given.ca_data else None
    context = ssl.create_default_context(cafile=given.ca_file or None, cadata=authority)
    if trusts_anyone:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.cert_file and given.key_file:
        context.load_cert_chain(given.cert_file, given.key_file)
    elif given.cert_data:
        _load_inline(context, given)
    return context


def _load_inline(context: ssl.SSLContext, given: TlsConfig) -> None:
    """The key is on the disk while it is read: Python loads certificates from files alone."""
    with tempfile.TemporaryDirectory(prefix="sampan-") as directory:
        pair = []
        for name, data in (("tls.crt", given.cert_data), ("tls.key", given.key_data)):
            path = Path(directory) / name
            path.touch(0o600)
            path.write_bytes(base64.b64decode(data, validate=True))
            pair.append(str(path))
        context.load_cert_chain(*pair)
