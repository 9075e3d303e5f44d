"""Certificates for pods: keys that never leave the node, and requests that a signer answers.

As kubelet does for `podCertificate` projections: one PodCertificateRequest for each, another one when the
certificate is to be refreshed. Nothing outlives the agent: one that starts again asks again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.node.errors import VolumeError
from sampan.node.references import get_or_none
from sampan.node.volumes.plan import Credentials, certificates_in
from sampan.schema import api

# A first certificate is waited for this long before the volume counts as failed for now.
WAIT_S: Final = 5.0
CHECK_S: Final = 0.25


class _Held(msgspec.Struct):
    """One projection's: what is good now, what was asked for, and why there will be none."""

    current: Credentials | None = None
    refresh_at: datetime | None = None
    asked: str = ""
    asked_key: bytes = b""
    refused: str = ""


class PodCertificates:
    """The certificates of a node's pods, in memory."""

    def __init__(self, client: Client, clock: Clock, node_name: str) -> None:
        self._client = client
        self._clock = clock
        self._node = node_name
        self._held: dict[str, dict[tuple[str, int], _Held]] = {}

    async def credentials(
        self, pod: api.Pod, volume: str, index: int, projection: api.PodCertificateProjection
    ) -> Credentials:
        """Key and certificates of the volume's source at `index`; asked for and waited for if need be.

        Raises VolumeError in kubelet's words while there are none, and ApiError.
        """
        held = self._held.setdefault(pod.metadata.uid or "", {}).setdefault((volume, index), _Held())
        if held.refused:
            raise VolumeError(held.refused)
        due = held.refresh_at is None or self._clock.now() >= held.refresh_at
        if due and not held.asked:
            await self._ask(pod, projection, held)
        until_s = self._clock.monotonic_s() + (WAIT_S if held.current is None else 0.0)
        while held.asked:
            await self._hear(pod.metadata.namespace or "", held)
            if self._clock.monotonic_s() >= until_s or held.refused:
                break
            if held.asked:
                await self._clock.sleep(CHECK_S)
        if held.current is None:
            raise VolumeError(held.refused or "credential bundle is not issued yet")
        return held.current

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._held.pop(uid, None)

    async def _ask(self, pod: api.Pod, projection: api.PodCertificateProjection, held: _Held) -> None:
        meta = pod.metadata
        account = await self._client.get(
            api.ServiceAccount, pod.spec.serviceAccountName or "default", meta.namespace or ""
        )
        node = await self._client.get(api.Node, self._node)
        key, proof = make_key(projection.keyType or "")
        request = api.PodCertificateRequest(
            metadata=api.ObjectMeta(
                generateName="req-",
                namespace=meta.namespace,
                ownerReferences=[
                    api.OwnerReference(apiVersion="v1", kind="Pod", name=meta.name or "", uid=meta.uid or "")
                ],
            ),
            spec=api.PodCertificateRequestSpec(
                signerName=projection.signerName,
                podName=meta.name or "",
                podUID=meta.uid or "",
                serviceAccountName=account.metadata.name or "",
                serviceAccountUID=account.metadata.uid or "",
                nodeName=self._node,
                nodeUID=node.metadata.uid or "",
                maxExpirationSeconds=projection.maxExpirationSeconds,
                stubPKCS10Request=proof,
                unverifiedUserAnnotations=projection.userAnnotations,
            ),
        )
        made = await self._client.create(request, meta.namespace or "")
        held.asked, held.asked_key = made.metadata.name or "", key

    async def _hear(self, namespace: str, held: _Held) -> None:
        """What became of the request that is under way."""
        request = await get_or_none(self._client, api.PodCertificateRequest, held.asked, namespace)
        if request is None:
            held.asked = ""  # somebody deleted it: the next look asks again
            return
        said = {c.type: c for c in request.status.conditions if c.status == "True"}
        for kind, word in (("Denied", "denied"), ("Failed", "failed")):
            if kind in said:
                why = said[kind]
                held.asked = ""
                held.refused = (
                    f"PodCertificateRequest was permanently {word}: "
                    f'reason="{why.reason or ""}" message="{why.message or ""}"'
                )
        if "Issued" in said:
            chain = "\n".join(certificates_in(request.status.certificateChain or "")) + "\n"
            held.current = Credentials(held.asked_key, chain.encode())
            held.refresh_at, held.asked = request.status.beginRefreshAt, ""


def make_key(kind: str) -> tuple[bytes, bytes]:
    """A new private key of that type as PEM, and an empty request signed by it (PKCS #10) that proves it.

    Raises VolumeError for a type that is not known.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key: Any
    match kind:
        case "RSA3072" | "RSA4096":
            key = rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
        case "ECDSAP256":
            key = ec.generate_private_key(ec.SECP256R1())
        case "ECDSAP384":
            key = ec.generate_private_key(ec.SECP384R1())
        case "ECDSAP521":
            key = ec.generate_private_key(ec.SECP521R1())
        case "ED25519":
            key = ed25519.Ed25519PrivateKey.generate()
        case _:
            raise VolumeError(f'unknown key type "{kind}"')
    digest = None if kind == "ED25519" else hashes.SHA256()
    proof = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, proof.public_bytes(serialization.Encoding.DER)
