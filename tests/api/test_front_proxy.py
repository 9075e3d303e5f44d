"""A front proxy that names the user in headers, over TLS: whose word is taken, and whose is not."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from sampan.apiserver.core.requestheader import FrontProxy
from sampan.apiserver.core.users import User
from sampan.apiserver.http.relay import Relay
from sampan.apiserver.http.serve import HttpServer
from sampan.cluster import pki
from sampan.cluster.tls import client_context, server_context, subject_of
from tests.api.server import Api, run

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
JANE = (
    ("X-Remote-User", "jane"),
    ("X-Remote-Group", "dev"),
    ("X-Remote-Group", "ops"),
    ("X-Remote-Uid", "u-1"),
    ("X-Remote-Extra-Example.org%2fScopes", "view"),
    ("X-Remote-Extra-Example.org%2fScopes", "edit"),
)
ROOT = User("root", ("system:masters",))
TOKEN = (("Authorization", "Bearer secret"),)


def _credentials(folder: Path) -> None:
    now = datetime.now(UTC)
    clients, front = pki.make_authority("clients", now), pki.make_authority("front", now)
    pki.save(folder, "ca", clients)
    pki.save(folder, "front-ca", front)
    pki.save(folder, "server", pki.issue(clients, "server", now, hosts=("127.0.0.1",)))
    pki.save(folder, "client", pki.issue(clients, "proxy", now, organizations=("clients",)))
    pki.save(folder, "proxy", pki.issue(front, "proxy", now))
    pki.save(folder, "other", pki.issue(front, "root", now, organizations=("system:masters",)))


@pytest.mark.parametrize(
    ("certificate", "headers", "code", "user"),
    [
        pytest.param(
            "proxy",
            JANE,
            201,
            {
                "username": "jane",
                "uid": "u-1",
                "groups": ["dev", "ops", "system:authenticated"],
                "extra": {"example.org/scopes": ["view", "edit"]},
            },
            id="the proxy's word",
        ),
        pytest.param("proxy", (), 401, None, id="a proxy that names nobody"),
        pytest.param("other", JANE, 401, None, id="a name that may not say"),
        pytest.param("other", (), 401, None, id="the proxies' authority makes no administrators"),
        pytest.param("other", (*JANE, *TOKEN), 201, {"username": "root"}, id="a token beside it"),
        pytest.param("client", JANE, 201, {"username": "proxy"}, id="a client of the same name"),
    ],
)
def test_whose_word_is_taken(
    tmp_path: Path, certificate: str, headers: Any, code: int, user: dict[str, Any] | None
) -> None:
    _credentials(tmp_path)

    async def work(api: Api) -> None:
        http = HttpServer(api.server, Relay())
        http.front_proxy = FrontProxy(subject_of(tmp_path / "front-ca.crt"), frozenset({"proxy"}))
        tls = server_context(tmp_path / "ca.crt", tmp_path, "server", tmp_path / "front-ca.crt")
        port = await http.start("127.0.0.1", 0, tls)
        shown: ssl.SSLContext = client_context(tmp_path / "ca.crt", tmp_path, certificate)
        async with aiohttp.ClientSession() as session:
            url = f"https://127.0.0.1:{port}{SELF}"
            async with session.post(url, json={}, headers=list(headers), ssl=shown) as answer:
                assert answer.status == code
                found = msgspec.json.decode(await answer.read())
        await http.close()
        if user is not None:
            info = found["status"]["userInfo"]
            assert {name: info.get(name) for name in user} == user

    asyncio.run(run(work, static_tokens={"secret": ROOT}))
