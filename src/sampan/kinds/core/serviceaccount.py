"""ServiceAccount: who the processes of a pod are to the API."""

from __future__ import annotations

from typing import Final

from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import names
from sampan.schema import api


def prepare_create(account: api.ServiceAccount) -> None:
    """References to secrets carry names only."""
    account.secrets = [api.ObjectReference(name=reference.name) for reference in account.secrets]


def prepare_update(account: api.ServiceAccount, _old: api.ServiceAccount) -> None:
    """As on creation."""
    prepare_create(account)


KIND: Final = Kind(
    api_version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    short=("sa",),
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, AGE),
    subresources=(("serviceaccounts/token", "authentication.k8s.io/v1/TokenRequest", ("create",)),),
)
