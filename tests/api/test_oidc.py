"""Users of an external OpenID Connect issuer: a real one, over TLS."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from sampan.apiserver.core.oidc.config import Refused, parse, user_of
from sampan.apiserver.core.oidc.issuers import Issuers
from sampan.apiserver.core.users import User
from sampan.base.errors import SampanError
from sampan.cluster import authentication, pki
from sampan.cluster.tls import server_context
from tests.api.server import Api, served

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def document(url: str = "https://issuer.example", authority: str = "", **more: Any) -> dict[str, Any]:
    mappings = {
        "username": {"claim": "sub", "prefix": "corp:"},
        "groups": {"claim": "roles", "prefix": "corp:"},
        "uid": {"claim": "uid"},
        "extra": [{"key": "example.com/team", "valueExpression": "claims.?team.orValue('')"}],
    }
    entry = {
        "issuer": {"url": url, "audiences": ["sampan"], "certificateAuthority": authority},
        "claimMappings": mappings,
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.level > 1", "message": "level too low"},
        ],
        "userValidationRules": [
            {"expression": "!user.username.startsWith('corp:system:')", "message": "reserved name"}
        ],
        **more,
    }
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    return {**kind, "jwt": [entry]}


GOOD: dict[str, Any] = {"sub": "ann", "hd": "example.com", "level": 2}


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        (GOOD, User("corp:ann", ("system:authenticated",))),
        (
            {**GOOD, "roles": ["a", "b"], "uid": "7", "team": "red"},
            User(
                "corp:ann", ("corp:a", "corp:b", "system:authenticated"), "7", {"example.com/team": ("red",)}
            ),
        ),
        ({**GOOD, "roles": "a"}, User("corp:ann", ("corp:a", "system:authenticated"))),
    ],
)
def test_claims_become_a_user(claims: dict[str, Any], user: User) -> None:
    [issuer] = parse(document())
    assert user_of(issuer, claims) == user


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hd": "evil.com"}, "required claim hd value does not match"),
        ({"level": 1}, "level too low"),
        ({"sub": "system:admin"}, "reserved name"),
        ({"sub": ""}, "names no user"),
        ({"sub": 5}, "names no user"),
        ({"roles": {"a": 1}}, "must be a string or a list of strings"),
        ({"uid": 5}, "uid is not a string"),
    ],
)
def test_claims_that_make_no_user(changes: dict[str, Any], why: str) -> None:
    [issuer] = parse(document())
    with pytest.raises(Refused, match=why):
        user_of(issuer, {**GOOD, **changes})


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"issuer": {"url": "http://a", "audiences": ["x"]}},
            "issuer.url must be a URL with the scheme https",
        ),
        ({"issuer": {"url": "https://a"}}, "audiences must name at least one"),
        ({"issuer": {"url": "https://a", "audiences": ["x", "y"]}}, "audienceMatchPolicy must be MatchAny"),
        ({"claimMappings": {}}, "username needs a claim or an expression"),
        ({"claimMappings": {"username": {"claim": "sub"}}}, "username.prefix is required"),
        ({"claimMappings": {"username": {"expression": "claims.("}}}, "compilation failed"),
        ({"userValidationRules": [{"claim": "a"}]}, r"userValidationRules\[0\] needs an expression"),
        ({"surprise": 1}, r"jwt\[0\].surprise is no field"),
    ],
)
def test_configurations_that_cannot_be(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    file = tmp_path / "authentication.yaml"
    file.write_text(yaml.safe_dump(document(**more)))
    with pytest.raises(SampanError, match=why):
        authentication.load(file)


class Provider:
    """An issuer on loopback."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.url = ""
        self.asked = 0

    def add(self, name: str) -> None:
        self.keys[name] = rsa.generate_private_key(65537, 2048)

    def token(self, key: str = "one", **changes: Any) -> str:
        claims = {"iss": self.url, "aud": "sampan", "exp": 4_000_000_000, **GOOD, **changes}
        return jwt.encode(claims, self.keys[key], "RS256", {"kid": key})

    async def discovery(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    async def jwks(self, _request: web.Request) -> web.Response:
        self.asked += 1
        found = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": name, "use": "sig"}
            for name, key in self.keys.items()
        ]
        return web.json_response({"keys": found})


@asynccontextmanager
async def provider() -> AsyncIterator[tuple[Provider, str]]:
    """It, and the authority of its certificate."""
    made = Provider()
    made.add("one")
    with tempfile.TemporaryDirectory() as name:
        directory, now = Path(name), datetime.now(UTC)
        authority = pki.make_authority("issuers", now)
        pki.save(directory, "ca", authority)
        pki.save(directory, "server", pki.issue(authority, "issuer", now, hosts=("localhost", "127.0.0.1")))
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", made.discovery)
        app.router.add_get("/keys", made.jwks)
        runner = web.AppRunner(app)
        await runner.setup()
        tls = server_context(directory / "ca.crt", directory, "server")
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        made.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield made, authority.certificate.decode()
        finally:
            await runner.cleanup()


async def _whoami(api: Api, token: str) -> Any:
    return await api.post(SELF, {}, user=None, headers={"authorization": f"Bearer {token}"})


@served
async def test_tokens_of_a_real_issuer(api: Api) -> None:
    async with provider() as (issuer, authority):
        server = api.server
        server.authenticator.external = Issuers(parse(document(issuer.url, authority)), api.clock)
        first = await asyncio.gather(*(_whoami(api, issuer.token(n=n)) for n in range(5)))
        for answer in first:
            info = answer.ok(201)["status"]["userInfo"]
            assert (info["username"], info["groups"]) == ("corp:ann", ["system:authenticated"])
        assert issuer.asked == 1
        reviewed = await api.post(REVIEWS, {"spec": {"token": issuer.token()}})
        assert reviewed.ok(201)["status"]["user"]["username"] == "corp:ann"
        forged = Provider()
        forged.add("one")
        forged.url = issuer.url
        for token in (
            forged.token(),
            issuer.token(aud="another"),
            issuer.token(exp=1),
            issuer.token(nbf=3_999_999_999),
            issuer.token(level=0),
            issuer.token(iss="https://elsewhere.example"),
        ):
            assert (await _whoami(api, token)).code == 401
        # A new key is found when it is first used, but the issuer is not asked at will.
        issuer.add("two")
        assert (await _whoami(api, issuer.token("two"))).code == 401
        assert issuer.asked == 1
        await api.clock.advance(11)
        (await _whoami(api, issuer.token("two"))).ok(201)
        assert issuer.asked == 2


@served
async def test_an_issuer_whose_certificate_is_not_trusted(api: Api) -> None:
    async with provider() as (issuer, _authority):
        other = pki.make_authority("others", datetime.now(UTC)).certificate.decode()
        api.server.authenticator.external = Issuers(parse(document(issuer.url, other)), api.clock)
        assert (await _whoami(api, issuer.token())).code == 401
        assert issuer.asked == 0
