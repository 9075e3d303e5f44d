"""Who may use the node's server: whoever shows a certificate of the cluster's authority that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

API_SERVER: Final = "kube-apiserver-kubelet-client"
MASTERS: Final = "system:masters"

# (common name, organizations) -> whether they may
Authorize = Callable[[str, tuple[str, ...]], bool]


def api_server_or_admin(common_name: str, organizations: tuple[str, ...]) -> bool:
    """The API server itself and the cluster's administrators, nobody else."""
    return common_name == API_SERVER or MASTERS in organizations


def subject(certificate: Mapping[str, Any] | None) -> tuple[str, tuple[str, ...]] | None:
    """(common name, organizations) of a verified certificate, as `ssl` gives it; None for none."""
    if not certificate:
        return None
    name, organizations = "", []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                organizations.append(value)
    return name, tuple(organizations)
