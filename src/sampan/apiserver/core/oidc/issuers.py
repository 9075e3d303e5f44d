"""Verifying the tokens of external issuers: their keys are fetched over HTTPS and remembered."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core.authn import issuer_of
from sampan.apiserver.core.oidc.config import Issuer, Refused, user_of
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.users import User
from sampan.base.clock import Clock

# An unknown key makes an issuer be asked again, but not more often than this.
REFETCH_AFTER_S: Final = 10.0
FETCH_MOST_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 1 << 20
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
_log = logging.getLogger(__name__)


class Issuers:
    """All configured issuers."""

    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._by_url = {issuer.url: _Keys(issuer, clock) for issuer in issuers}
        self._clock = clock

    def __contains__(self, url: str) -> bool:
        return url in self._by_url

    async def load(self) -> None:
        """Fetch all keys, so that the first who asks need not wait."""
        await asyncio.gather(*(keys.fetch() for keys in self._by_url.values()))

    async def prepare(self, request: Request) -> None:
        """Fetch the key of the request's token where it is one of ours and the key is not known yet."""
        header = request.headers.get("authorization", "")
        if header[:7].lower() != "bearer ":
            return
        token = header[7:].strip()
        keys = self._by_url.get(issuer_of(token))
        if keys is not None and _key_id(token) not in keys.known:
            await keys.fetch()

    def user(self, token: str, url: str) -> tuple[User, float] | None:
        """Who shows the token, and for how long (s) that holds; None where it does not."""
        try:
            return self._user(token, url)
        except Refused as why:
            _log.info("%s", why)
            return None

    def _user(self, token: str, url: str) -> tuple[User, float]:
        import jwt

        keys = self._by_url[url]
        key = keys.known.get(_key_id(token))
        if key is None:
            raise Refused(f"the issuer {url} has no such key")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                list(ALGORITHMS),
                audience=list(keys.issuer.audiences),
                issuer=url,
                # Times are checked by the cluster's own clock.
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as problem:
            raise Refused(f"a token of {url} does not hold: {problem}") from None
        now_s = self._clock.now().timestamp()
        times = claims["exp"], claims.get("nbf", 0)
        if not all(isinstance(at, int | float) for at in times) or not times[1] <= now_s < times[0]:
            raise Refused(f"a token of {url} is not good at this time")
        return user_of(keys.issuer, claims), times[0] - now_s


class _Keys:
    """One issuer's keys, by their ids."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        self.issuer = issuer
        self.known: dict[str, Any] = {}
        self._clock = clock
        self._fetched_s: float | None = None
        self._turn = asyncio.Lock()

    async def fetch(self) -> None:
        """Ask the issuer, unless that was done a moment ago. What goes wrong is told in the log."""
        asked_s = self._clock.monotonic_s()
        async with self._turn:
            last_s = self._fetched_s
            if last_s is not None and asked_s < last_s + REFETCH_AFTER_S:
                return
            try:
                async with asyncio.timeout(FETCH_MOST_S):
                    self.known = await self._fetched()
            except Exception as problem:  # whatever a stranger's server or its answer brings about
                _log.warning(
                    "cannot fetch the keys of %s: %s", self.issuer.url, problem or "no answer in time"
                )
            self._fetched_s = self._clock.monotonic_s()

    async def _fetched(self) -> dict[str, Any]:
        import aiohttp
        import jwt

        context = ssl.create_default_context(cadata=self.issuer.authority or None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            document = await _json(session, self.issuer.discovery_url)
            if document["issuer"] != self.issuer.url:
                raise ValueError(f"its discovery document is of {document['issuer']!r}")
            found = await _json(session, document["jwks_uri"])
        keys = jwt.PyJWKSet.from_dict(found).keys
        return {key.key_id or "": key for key in keys if key.public_key_use in (None, "sig")}


async def _json(session: Any, url: str) -> Any:
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not HTTPS")
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"{url} answered {answer.status}")
        body = await answer.content.read(MAX_ANSWER_BYTES + 1)
        while not answer.content.at_eof() and len(body) <= MAX_ANSWER_BYTES:
            body += await answer.content.read(MAX_ANSWER_BYTES)
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"{url} answered more than {MAX_ANSWER_BYTES} bytes")
        return msgspec.json.decode(body)


def _key_id(token: str) -> str:
    import jwt

    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except jwt.PyJWTError:
        return ""
