"""Kubeconfigs: the cluster's own, and its context among the user's others."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from sampan.base.errors import SampanError
from sampan.cluster import pki
from sampan.cluster.config import Layout, Settings

LOCK_WAIT_S: Final = 5.0
_LOCK_POLL_S: Final = 0.05


def admin_config(layout: Layout, settings: Settings) -> bytes:
    """A kubeconfig that stands by itself: certificates are in it, not beside it."""
    return _dump(_document(layout, settings, "sampan"))


def _document(layout: Layout, settings: Settings, name: str) -> dict[str, Any]:
    admin, authority = pki.load(layout.pki, "admin"), layout.authority.read_bytes()
    assert admin is not None, "the administrator's certificate is made before the kubeconfig"
    cluster = {"certificate-authority-data": _b64(authority), "server": server_url(settings)}
    user = {"client-certificate-data": _b64(admin.certificate), "client-key-data": _b64(admin.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def server_url(settings: Settings) -> str:
    return f"https://127.0.0.1:{settings.port}"


def user_config_path() -> Path:
    """The file that kubectl changes: the first of $KUBECONFIG, else ~/.kube/config."""
    named = [p for p in os.environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    return Path(named[0]) if named else Path.home() / ".kube" / "config"


def merge(path: Path, layout: Layout, settings: Settings, name: str) -> None:
    """Put the cluster's context into the user's kubeconfig; every other entry stays as it is.

    Raises SampanError where the file is not a kubeconfig, and then leaves it alone.
    """
    mine = _document(layout, settings, name)
    with _locked(path):
        theirs = _load(path)
        for section in ("clusters", "users", "contexts"):
            kept = [entry for entry in theirs.get(section) or [] if entry.get("name") != name]
            theirs[section] = [*kept, *mine[section]]
        theirs.setdefault("apiVersion", "v1")
        theirs.setdefault("kind", "Config")
        theirs["current-context"] = name
        _write(path, theirs)


def context_name(path: Path, settings: Settings, wanted: str) -> str:
    """`wanted`, unless it is another cluster's already; then the cluster's id makes it this one's."""
    try:
        theirs = _load(path)
    except SampanError:
        return wanted
    entry = next((c for c in theirs.get("clusters") or [] if c.get("name") == wanted), None)
    server = ((entry or {}).get("cluster") or {}).get("server")
    return wanted if server in (None, server_url(settings)) else f"{wanted}-{settings.id}"


def remove_cluster(path: Path, layout: Layout) -> None:
    """Take out the contexts of this cluster, which its certificate authority tells; all others stay.

    Raises SampanError where the file is not a kubeconfig, and then leaves it alone.
    """
    if not path.exists() or not layout.authority.exists():
        return
    with _locked(path):
        _remove_cluster(path, _b64(layout.authority.read_bytes()))


def _remove_cluster(path: Path, authority: str) -> None:
    theirs = _load(path)
    mine = {
        entry.get("name")
        for entry in theirs.get("clusters") or []
        if (entry.get("cluster") or {}).get("certificate-authority-data") == authority
    }
    if not mine:
        return
    for section in ("clusters", "users", "contexts"):
        theirs[section] = [e for e in theirs.get(section) or [] if e.get("name") not in mine]
    if theirs.get("current-context") in mine:
        others = theirs.get("contexts") or []
        theirs["current-context"] = others[0]["name"] if others else ""
    _write(path, theirs)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock that kubectl takes when it writes the file: `config.lock` beside it.

    Raises SampanError where somebody else holds it for long.
    """
    lock = path.resolve().with_name(path.resolve().name + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline_s:
                raise SampanError(
                    f"{path} is locked by another program; if none is running, remove {lock}, "
                    "or use --no-merge."
                ) from None
            time.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as problem:
        raise SampanError(
            f"{path} cannot be read as a kubeconfig ({problem}); mend it, or use --no-merge."
        ) from problem
    if not _is_kubeconfig(document):
        raise SampanError(f"{path} is not a kubeconfig; mend it, or use --no-merge.")
    checked: dict[str, Any] = document
    return checked


def _is_kubeconfig(document: Any) -> bool:
    """Whether the document has the shape that merging relies on."""
    if not isinstance(document, dict):
        return False
    for section, body in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        entries = document.get(section) or []
        if not isinstance(entries, list):
            return False
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get(body) or {}, dict):
                return False
    return True


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pki.write_private(path.resolve(), _dump(document))


def _dump(document: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text.encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
