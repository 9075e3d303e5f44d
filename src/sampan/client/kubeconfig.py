"""Where the API server is and who we are: from a kubeconfig file, or from inside a pod."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from sampan.base.errors import SampanError
from sampan.client.http import HttpTransport, tls_context

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def load_kubeconfig(path: str | Path, context: str = "") -> HttpTransport:
    """The transport that a kubeconfig's context (its current one by default) describes.

    Certificates, tokens and token files are understood, as data or as files relative to the kubeconfig.
    Raises SampanError where the file is missing, incomplete, or asks for an exec plugin.
    """
    file = Path(path)
    try:
        config = yaml.safe_load(file.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise SampanError(f"the kubeconfig {file} cannot be read: {error}") from error
    wanted = context or config.get("current-context") or ""
    chosen = _named(config, "contexts", wanted, "context", file)
    cluster = _named(config, "clusters", chosen.get("cluster", ""), "cluster", file)
    user = _named(config, "users", chosen.get("user", ""), "user", file) if chosen.get("user") else {}
    if user.get("exec") or user.get("auth-provider"):
        raise SampanError(
            f"the user in {file} gets its credentials from a plugin; use a token or a certificate."
        )
    token_file = user.get("tokenFile")
    return HttpTransport(
        cluster.get("server") or "https://localhost:6443",
        tls=_tls(cluster, user, file.parent),
        token="" if token_file else user.get("token") or "",
        token_file=file.parent / token_file if token_file else None,
        server_name=cluster.get("tls-server-name"),
    )


def in_cluster(folder: Path = SERVICE_ACCOUNT) -> HttpTransport:
    """The transport of a pod's own service account. Raises SampanError outside of a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise SampanError("KUBERNETES_SERVICE_HOST and _PORT are not set; run in a pod or give a kubeconfig.")
    where = f"[{host}]" if ":" in host else host
    return HttpTransport(f"https://{where}:{port}", ca_file=folder / "ca.crt", token_file=folder / "token")


def _named(config: dict[str, Any], section: str, name: str, inner: str, file: Path) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(inner) or {}
            return found
    raise SampanError(
        f"the kubeconfig {file} has no {inner} named {name!r}; add it, or choose another context."
    )


def _tls(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext | None:
    if str(cluster.get("server", "")).startswith("http:"):
        return None
    ca_data = cluster.get("certificate-authority-data")
    ca_file = cluster.get("certificate-authority")
    cert, key = (_pem(user, field, folder) for field in ("client-certificate", "client-key"))
    ca_text = base64.b64decode(ca_data).decode() if ca_data else None
    ca_path = folder / ca_file if ca_file and not ca_text else None
    verify = not cluster.get("insecure-skip-tls-verify")
    if cert is None:
        return tls_context(ca_path, ca_data=ca_text, verify=verify)
    # The ssl module reads certificates from files only; these two live no longer than the call.
    with tempfile.TemporaryDirectory(prefix="sampan-client-") as held:
        cert_file, key_file = Path(held, "cert"), Path(held, "key")
        cert_file.write_bytes(cert)
        key_file.touch(mode=0o600)
        key_file.write_bytes(key or cert)
        return tls_context(ca_path, cert_file, key_file, ca_data=ca_text, verify=verify)


def _pem(user: dict[str, Any], field: str, folder: Path) -> bytes | None:
    data, file = user.get(f"{field}-data"), user.get(field)
    if data:
        return base64.b64decode(data)
    return (folder / file).read_bytes() if file else None
