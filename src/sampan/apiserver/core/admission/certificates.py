"""Who may approve and sign certificate requests, and which subjects may not be asked for.

CertificateApproval, CertificateSigning and CertificateSubjectRestriction, and who asked.
"""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.authz import Access, Authorizer
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.users import MASTERS
from sampan.schema import api

_GROUP: Final = "certificates.k8s.io"
_API_CLIENT: Final = "kubernetes.io/kube-apiserver-client"
_CSR: Final = frozenset({"CertificateSigningRequest"})


class CertificateRequesters:
    """Writes into a certificate request who asks: the signer goes by it, so a client cannot say it."""

    kinds = _CSR
    reads: tuple[type[Any], ...] = ()

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        user, spec = attributes.context.user, attributes.obj.spec
        spec.username, spec.uid = user.name, user.uid or None
        spec.groups = list(user.groups)
        spec.extra = {key: list(values) for key, values in user.extra.items()}

    def validate(self, attributes: Attributes) -> None:
        return None


class CertificateRights:
    """Approving needs the verb `approve` on the signer, signing the verb `sign`."""

    kinds = frozenset({"CertificateSigningRequest", "ClusterTrustBundle"})
    reads: tuple[type[Any], ...] = ()

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        if attributes.verb == "delete":
            return
        new, old = attributes.obj, attributes.old
        if attributes.context.resource.kind.kind == "ClusterTrustBundle":
            if new.spec.signerName:
                self._need(attributes, "attest", new.spec.signerName)
        elif attributes.subresource == "approval":
            self._need(attributes, "approve", old.spec.signerName)
        elif attributes.subresource == "status":
            if new.status.certificate != old.status.certificate or _failed(new) != _failed(old):
                self._need(attributes, "sign", old.spec.signerName)
        elif attributes.verb == "create" and new.spec.signerName == _API_CLIENT:
            self._refuse_masters(attributes, new)

    def _need(self, attributes: Attributes, verb: str, signer: str) -> None:
        user = attributes.context.user
        domain = signer.partition("/")[0]
        for name in (signer, f"{domain}/*"):
            if self._authorizer.allows(user, Access(verb, _GROUP, "signers", "", name)):
                return
        kind = attributes.context.resource.kind
        why = f'user not permitted to {verb} requests with signerName "{signer}"'
        raise status.forbidden(kind, attributes.obj.metadata.name or "", why)

    def _refuse_masters(self, attributes: Attributes, request: Any) -> None:
        from cryptography import x509  # late: it takes long to load
        from cryptography.x509.oid import NameOID

        try:
            subject = x509.load_pem_x509_csr(request.spec.request).subject
        except ValueError:
            return  # validation has said what is wrong with it
        groups = [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        if MASTERS in groups:
            kind = attributes.context.resource.kind
            why = f"use of {_API_CLIENT} signer with {MASTERS} group is not allowed"
            raise status.forbidden(kind, request.metadata.name or "", why)


def _failed(request: api.CertificateSigningRequest) -> bool:
    return any(condition.type == "Failed" for condition in request.status.conditions)
