"""The server on its socket: compressed answers, large requests, slow and vanishing clients."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import ssl
from typing import Any

import pytest
import yaml

from sampan.schema import api
from sampan.testing.cluster import Cluster
from tests.clients.manifests import config_map

LIMIT_S = 20


def address_and_tls(live: Cluster) -> tuple[tuple[str, int], ssl.SSLContext]:
    server = yaml.safe_load(live.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    host, port = server.removeprefix("https://").split(":")
    folder = live.kubeconfig.parent
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(str(folder / "admin.crt"), str(folder / "admin.key"))
    return (host, int(port)), tls


def ask(
    live: Cluster, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    (host, port), tls = address_and_tls(live)
    connection = http.client.HTTPSConnection(host, port, context=tls, timeout=LIMIT_S)
    with contextlib.closing(connection):
        connection.request(
            method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def opened(live: Cluster) -> ssl.SSLSocket:
    address, tls = address_and_tls(live)
    return tls.wrap_socket(socket.create_connection(address, LIMIT_S), server_hostname=address[0])


def test_large_answers_are_compressed(live: Cluster, own: str) -> None:
    path = f"/api/v1/namespaces/{own}/configmaps"
    _, headers, small = ask(live, "GET", path, Accept_Encoding="gzip")
    assert headers["Content-Encoding"] is None
    for number in range(2):
        live.client.create(
            api.ConfigMap(metadata=api.ObjectMeta(name=f"c{number}", namespace=own), data={"x": "y" * 90_000})
        )
    _, headers, plain = ask(live, "GET", path)
    assert headers["Content-Encoding"] is None
    code, headers, packed = ask(live, "GET", path, Accept_Encoding="gzip, deflate")
    assert (code, headers["Content-Encoding"]) == (200, "gzip")
    assert len(small) < len(packed) < len(plain)
    # Something else may have been written meanwhile, which moves the revision of the list.
    assert json.loads(gzip.decompress(packed))["items"] == json.loads(plain)["items"]


def test_what_is_too_large_or_too_deep(live: Cluster, own: str) -> None:
    path = f"/api/v1/namespaces/{own}/configmaps"
    large = json.dumps(config_map("large", x="y" * 4 * 1024 * 1024)).encode()
    assert ask(live, "POST", path, large)[0] == 413
    assert ask(live, "POST", path, b'{"metadata":' * 100_000)[0] == 400
    assert ask(live, "GET", f"{path}?labelSelector={'a' * 100_000}")[0] in (400, 414)
    assert ask(live, "GET", "/healthz")[0] == 200
    assert [m.metadata.name for m in live.client.list(api.ConfigMap, own)] == ["kube-root-ca.crt"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"\x00\xff\x16\x03garbage\r\n\r\n",
        b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{",
        b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"GET /api/v1/pods HTTP/1.1\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
        b"GET /%00%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)  # fmt: skip
def test_clients_that_vanish_or_talk_nonsense(live: Cluster, sent: bytes) -> None:
    """They get an answer or nothing; everybody else is served, and nothing is stored."""
    before = len(live.client.list(api.ConfigMap, "default"))
    for _ in range(5):
        connection = opened(live)
        connection.sendall(sent)
        connection.close()
    assert ask(live, "GET", "/healthz")[0] == 200
    assert len(live.client.list(api.ConfigMap, "default")) == before


def test_nobody_waits_for_a_slow_client(live: Cluster, own: str) -> None:
    body = json.dumps(config_map("slow", x="1")).encode()
    head = (
        f"POST /api/v1/namespaces/{own}/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with opened(live) as slow:
        slow.sendall(head.encode() + body[:10])
        live.client.create(api.ConfigMap(metadata=api.ObjectMeta(name="quick", namespace=own)))
        assert ask(live, "GET", f"/api/v1/namespaces/{own}/configmaps/slow")[0] == 404
        slow.sendall(body[10:])
        answer: Any = slow.recv(100)
        assert answer.startswith(b"HTTP/1.1 201")
    assert live.client.get(api.ConfigMap, "slow", own).data == {"x": "1"}
