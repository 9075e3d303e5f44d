"""What extension servers need to know of this one: the ConfigMap extension-apiserver-authentication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sampan.apiserver.core.requestheader import EXTRA_PREFIX, GROUP_HEADER, UID_HEADER, USER_HEADER
from sampan.schema import api

NAME: Final = "extension-apiserver-authentication"
FRONT_PROXY_USER: Final = "front-proxy-client"
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
    yield api.ConfigMap(metadata=api.ObjectMeta(name=NAME, namespace="kube-system"), data=data)
    rule = api.PolicyRule(
        apiGroups=[""], resources=["configmaps"], resourceNames=[NAME], verbs=["get", "list", "watch"]
    )
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    metadata = api.ObjectMeta(name=_READER, namespace="kube-system", labels=labels)
    yield api.Role(metadata=metadata, rules=[rule])
