"""Authentication: from a request to a User.

Tried in this order, as kube-apiserver does: a client certificate that the transport verified (a front proxy's
stands for the user in its headers), a static token, a bootstrap or service-account token. A request without
credentials is anonymous.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampan.apiserver.core import bootstraptokens, users, websockets
from sampan.apiserver.core.keyids import signing_key_id
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import unauthorized
from sampan.apiserver.core.users import User
from sampan.base.clock import Clock
from sampan.base.ids import RandomIds
from sampan.kinds.core.secret import INVALID_SINCE, LEGACY_CLAIMS, LEGACY_ISSUER, SERVICE_ACCOUNT_TOKEN

if TYPE_CHECKING:
    from sampan.apiserver.core.oidc.issuers import Issuers

ALGORITHM: Final = "ES256"
# Verified tokens remembered, so that a signature is checked once and not at every request.
CACHED_TOKENS: Final = 4096
CACHE_S: Final = 10.0


class TokenKeys(msgspec.Struct, frozen=True):
    """The PEM keys that sign and verify service-account tokens."""

    private_pem: bytes
    # Every key whose tokens are still honoured, the signing one included.
    public_pems: tuple[bytes, ...]
    issuer: str
    audiences: tuple[str, ...]


class Authenticator:
    """Finds out who asks. Looks up live objects so that tokens die with what they are bound to."""

    def __init__(
        self,
        clock: Clock,
        keys: TokenKeys,
        static_tokens: Mapping[str, User],
        find: Callable[[str], Resource],
        *,
        anonymous: bool = True,
        anonymous_paths: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._ids = RandomIds()
        self._static = static_tokens
        self._find = find
        self._anonymous = anonymous
        self._anonymous_paths = frozenset(anonymous_paths)
        # Issuers other than this cluster; None where none are configured.
        self.external: Issuers | None = None
        # Told of each Secret whose token was shown and verified.
        self.legacy_used: Callable[[Any], None] = lambda _secret: None
        self._verified: dict[str, tuple[float, User]] = {}

    def user(self, request: Request) -> User:
        """The user, impersonation not yet applied. Raises 401 for credentials that do not hold."""
        if request.user is not None and request.user is not users.REFUSED:
            return request.user
        header = request.headers.get("authorization", "")
        if header[:7].lower() == "bearer ":
            return self.token_user(header[7:].strip())
        if header or request.user is not None:
            raise unauthorized()
        if (token := websockets.take_token(request)) is not None:
            return self.token_user(token)
        if not self._anonymous and request.path not in self._anonymous_paths:
            raise unauthorized()
        return users.ANONYMOUS

    def token_user(self, token: str) -> User:
        """The user behind a bearer token. Raises 401."""
        static = self._static.get(token)
        if static is not None:
            return static
        if (parts := bootstraptokens.parts_of(token)) is not None:
            return self._bootstrap_user(*parts)
        now_s = self._clock.monotonic_s()
        known = self._verified.get(token)
        if known is not None and known[0] > now_s:
            return known[1]
        user, left_s = self._verify(token)
        if len(self._verified) >= CACHED_TOKENS:
            self._verified.clear()
        # Not beyond the token's own end.
        self._verified[token] = (now_s + min(CACHE_S, left_s), user)
        return user

    def review(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]]:
        """The user behind a token, and for which of the audiences it is (this server's own, where none are
        asked for). Raises 401."""
        asked = list(audiences or self._keys.audiences)
        static = self._static.get(token)
        if static is not None:
            return static, asked
        if (parts := bootstraptokens.parts_of(token)) is not None:
            return self._bootstrap_user(*parts), asked
        issuer = issuer_of(token)
        if issuer == LEGACY_ISSUER or (self.external is not None and issuer in self.external):
            held = [audience for audience in asked if audience in self._keys.audiences]
            if not held:
                raise unauthorized()
            return self._verify(token)[0], held
        claims = self._claims(token, asked)
        held = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        return self._service_account(claims), [audience for audience in asked if audience in held]

    def forget(self) -> None:
        """Verify every token anew: something that tokens are bound to changed."""
        self._verified.clear()

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom tokens are where nobody says."""
        return self._keys.audiences

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        audiences: Sequence[str],
        lifetime_s: int,
        bound: Mapping[str, Any] | None,
    ) -> tuple[str, datetime]:
        """A signed service-account token and its expiry.

        `bound`: {"pod": {"name": …, "uid": …}, "node": …}: that it is for, and the node where that runs.
        """
        now = self._clock.now()
        expires = (now + timedelta(seconds=lifetime_s)).replace(microsecond=0)
        private: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": uid},
            **(bound or {}),
        }
        claims = {
            "aud": list(audiences or self._keys.audiences),
            "exp": int(expires.timestamp()),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "iss": self._keys.issuer,
            "jti": self._ids.uid(),
            "sub": users.account_name(namespace, name),
            "kubernetes.io": private,
        }
        import jwt  # late: it brings all of cryptography

        pem = self._keys.private_pem
        return jwt.encode(claims, pem, ALGORITHM, {"kid": signing_key_id(pem)}), expires

    def _bootstrap_user(self, token_id: str, token_secret: str) -> User:
        secrets = self._find("secrets")
        item = secrets.cache.get(bootstraptokens.NAMESPACE, bootstraptokens.secret_name(token_id))
        if item is None:
            raise unauthorized()
        secret = secrets.decode_stored(item.data)
        user = bootstraptokens.user_of(secret, token_id, token_secret, self._clock.now())
        if user is None:
            raise unauthorized()
        return user

    def _verify(self, token: str) -> tuple[User, float]:
        """Who shows a signed token, and for how long (s) that holds."""
        issuer = issuer_of(token)
        if issuer == LEGACY_ISSUER:
            return self._secret_user(token), CACHE_S
        if self.external is not None and issuer in self.external:
            found = self.external.user(token, issuer)
            if found is None:
                raise unauthorized()
            return found
        claims = self._claims(token, self._keys.audiences)
        return self._service_account(claims), claims["exp"] - self._clock.now().timestamp()

    def _secret_user(self, token: str) -> User:
        """The account whose token a Secret holds: both must be live, and the token still in it."""
        import jwt

        claims: dict[str, Any] = {}
        for pem in self._keys.public_pems:
            try:
                claims = jwt.decode(token, pem, [ALGORITHM], issuer=LEGACY_ISSUER)
            except jwt.PyJWTError:
                continue
            break
        named = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, secret_name, name, uid = (claims.get(f"{LEGACY_CLAIMS}{part}", "") for part in named)
        if not all((namespace, secret_name, name, uid)):
            raise unauthorized()
        secrets = self._find("secrets")
        item = secrets.cache.get(namespace, secret_name)
        secret: Any = secrets.decode_stored(item.data) if item is not None else None
        if secret is None or secret.type != SERVICE_ACCOUNT_TOKEN:
            raise unauthorized()
        meta, held = secret.metadata, bytes(secret.data.get("token", b""))
        if meta.deletionTimestamp is not None:
            raise unauthorized()
        if not hmac.compare_digest(held, token.encode()):
            raise unauthorized()
        live = self._live("serviceaccounts", namespace, {"name": name, "uid": uid})
        self.legacy_used(secret)  # one that is refused, too: its owner sees who still shows it
        if meta.labels.get(INVALID_SINCE):
            raise unauthorized()
        return users.service_account(namespace, name, live)

    def _service_account(self, claims: Mapping[str, Any]) -> User:
        private: Any = claims.get("kubernetes.io")
        try:
            namespace = private["namespace"]
            account = private["serviceaccount"]
            pod, node = private.get("pod"), private.get("node")
            live = self._live("serviceaccounts", namespace, account)
            if pod is not None:
                self._live("pods", namespace, pod)
            elif node is not None:
                # A pod's node may be gone for a while before the pod is.
                self._live("nodes", "", node)
            if (secret := private.get("secret")) is not None:
                self._live("secrets", namespace, secret)
            token_id = str(claims.get("jti", ""))
            return users.service_account(
                namespace, account["name"], live, _named(pod), _named(node), token_id
            )
        except (KeyError, TypeError, AttributeError):
            raise unauthorized() from None

    def _claims(self, token: str, audiences: Sequence[str]) -> dict[str, Any]:
        import jwt

        now_s = self._clock.now().timestamp()
        for pem in self._keys.public_pems:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    pem,
                    [ALGORITHM],
                    audience=list(audiences),
                    issuer=self._keys.issuer,
                    # Times are checked below against the cluster's own clock.
                    options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
                )
            except jwt.PyJWTError:
                continue
            if claims.get("exp", 0) <= now_s:
                raise unauthorized()
            return claims
        raise unauthorized()

    def _live(self, plural: str, namespace: str, ref: Mapping[str, str]) -> str:
        """The uid of the live object; 401 where it is gone or is another one of the same name."""
        resource = self._find(plural)
        item = resource.cache.get(namespace, ref["name"])
        if item is None:
            raise unauthorized()
        uid: str = resource.decode_stored(item.data).metadata.uid
        if uid != ref["uid"]:
            raise unauthorized()
        return uid


def issuer_of(token: str) -> str:
    """Who a token says has issued it, unverified; "" where it is no JSON web token."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return ""
    issuer = claims.get("iss", "") if isinstance(claims, dict) else ""
    return issuer if isinstance(issuer, str) else ""


def _named(ref: Any) -> tuple[str, str] | None:
    return None if ref is None else (ref["name"], ref.get("uid") or "")
