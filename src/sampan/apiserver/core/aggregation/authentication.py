"""What extension servers need to know of this one: the ConfigMap extension-apiserver-authentication."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.apiserver.core.requestheader import EXTRA_PREFIX, GROUP_HEADER, UID_HEADER, USER_HEADER
from sampan.schema import api

NAME: Final = "extension-apiserver-authentication"
FRONT_PROXY_USER: Final = "front-proxy-client"
NAMESPACE: Final = "kube-system"
KEY: Final = f"/registry/core/configmaps/{NAMESPACE}/{NAME}"
_AUTHORITIES: Final = ("client-ca-file", "requestheader-client-ca-file")
_LISTS: Final = (
    "requestheader-allowed-names",
    "requestheader-extra-headers-prefix",
    "requestheader-group-headers",
    "requestheader-uid-headers",
    "requestheader-username-headers",
)
_CERTIFICATE: Final = re.compile("-----BEGIN CERTIFICATE-----\n.*?\n-----END CERTIFICATE-----\n?", re.DOTALL)
_READER: Final = "extension-apiserver-authentication-reader"


def objects(client_ca: str, front_proxy_ca: str) -> Iterator[Any]:
    """The ConfigMap, and the role that lets servers read it. Nothing where there are no authorities."""
    if not client_ca or not front_proxy_ca:
        return
    data = {
        "client-ca-file": client_ca,
        "requestheader-allowed-names": f'["{FRONT_PROXY_USER}"]',
        "requestheader-client-ca-file": front_proxy_ca,
        "requestheader-extra-headers-prefix": f'["{EXTRA_PREFIX}"]',
        "requestheader-group-headers": f'["{GROUP_HEADER}"]',
        "requestheader-uid-headers": f'["{UID_HEADER}"]',
        "requestheader-username-headers": f'["{USER_HEADER}"]',
    }
    yield api.ConfigMap(metadata=api.ObjectMeta(name=NAME, namespace=NAMESPACE), data=data)
    rule = api.PolicyRule(
        apiGroups=[""], resources=["configmaps"], resourceNames=[NAME], verbs=["get", "list", "watch"]
    )
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    metadata = api.ObjectMeta(name=_READER, namespace=NAMESPACE, labels=labels)
    yield api.Role(metadata=metadata, rules=[rule])


def combined(present: Mapping[str, str], own: Mapping[str, str], now: datetime) -> dict[str, str]:
    """The data of the ConfigMap that is there with this server's own in it.

    Other servers of the cluster may use other authorities for a while: theirs stay until they run out, as
    with kube-apiserver.
    """
    data = dict(present)
    for name in _AUTHORITIES:
        if data.get(name) != own[name]:
            data[name] = _bundle(own[name], data.get(name, ""), now)
    for name in _LISTS:
        mine, theirs = _list(own[name]), _list(data.get(name, ""))
        both = [*mine, *(each for each in theirs if each not in mine)]
        if both != theirs:
            data[name] = msgspec.json.encode(both).decode()
    return data


def _bundle(own: str, present: str, now: datetime) -> str:
    mine = [text.strip() for text in _CERTIFICATE.findall(own)]
    more = dict.fromkeys(text.strip() for text in _CERTIFICATE.findall(present))
    kept = [text for text in more if text not in mine and _holds(text, now)]
    return own if not kept else "".join(f"{text}\n" for text in (*mine, *kept))


def _holds(certificate: str, now: datetime) -> bool:
    from cryptography import x509  # late: only where authorities differ

    try:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc > now
    except ValueError:
        return False


def _list(text: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        return []
