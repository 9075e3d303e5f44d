"""Fixed documents: version, health, OpenAPI and the keys of the token issuer."""

from __future__ import annotations

import base64
import platform
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core import health
from sampan.apiserver.core.authn import ALGORITHM, TokenKeys
from sampan.apiserver.core.keyids import key_id
from sampan.apiserver.core.openapi import OpenApi
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.status import method_not_allowed
from sampan.kinds.kind import Kind

# How long clients may go by the issuer's documents.
_KEPT: Final = {"Cache-Control": "public, max-age=3600"}
_ISSUERS: Final = frozenset({"/openid/v1/jwks", "/.well-known/openid-configuration"})
_encode = msgspec.json.Encoder().encode


class Documents:
    """Answers what is neither a resource nor discovery."""

    def __init__(self, kinds: Sequence[Kind], version: str, keys: TokenKeys) -> None:
        self._version = version
        self._keys = keys
        self.openapi = OpenApi(kinds, version)

    def answer(self, request: Request, *, ready: bool, stored: bool) -> Response | None:
        """The document at the path; None where there is none."""
        path = request.path.rstrip("/")
        if (healthy := health.answer(request, ready=ready, stored=stored)) is not None:
            return healthy
        if path == "/version":
            if request.method != "GET":
                raise method_not_allowed(request.method)
            return Response(body=_encode(self.version_info()))
        if path.startswith("/openapi/"):
            return self.openapi.answer(request)
        if path in _ISSUERS and request.method != "GET":
            raise method_not_allowed(request.method)
        if path == "/openid/v1/jwks":
            return Response(
                body=_encode(self._jwks()), content_type="application/jwk-set+json", headers=dict(_KEPT)
            )
        if path == "/.well-known/openid-configuration":
            return Response(body=_encode(self._issuer(request)), headers=dict(_KEPT))
        return None

    def index(self, discovered: Sequence[str]) -> Response:
        """What `/` tells: the paths that there are."""
        fixed = [
            "/.well-known/openid-configuration",
            *(f"/{root}" for root in health.ROOTS),
            *(f"/{root}/{check}" for root in health.ROOTS for check in health.names(root)),
            "/metrics",
            "/metrics/slis",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/version",
        ]
        return Response(body=_encode({"paths": sorted((*fixed, *discovered))}))

    def version_info(self) -> dict[str, str]:
        """What /version tells."""
        major, minor = self._version.split(".")
        return {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "minCompatibilityMajor": major,
            "minCompatibilityMinor": str(int(minor) - 1),
            "gitVersion": f"v{self._version}.0+sampan",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": f"python{platform.python_version()}",
            "compiler": platform.python_implementation().lower(),
            "platform": f"linux/{_architecture()}",
        }

    def _issuer(self, request: Request) -> dict[str, Any]:
        return {
            "issuer": self._keys.issuer,
            "jwks_uri": f"https://{request.host}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def _jwks(self) -> dict[str, Any]:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        keys = []
        for pem in self._keys.public_pems:
            key = load_pem_public_key(pem)
            assert isinstance(key, EllipticCurvePublicKey)
            numbers = key.public_numbers()
            point = {"x": _b64(numbers.x), "y": _b64(numbers.y)}
            named = {"kid": key_id(key), "alg": ALGORITHM}
            keys.append({"use": "sig", "kty": "EC", **named, "crv": "P-256", **point})
        return {"keys": keys}


def _b64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
