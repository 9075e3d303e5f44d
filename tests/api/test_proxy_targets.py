"""Where `.../proxy` of pods leads: redirects to its root, the path as it was asked for, certificates."""

from __future__ import annotations

import pytest

from tests.api.server import PODS, Api, served

PROXY = f"{PODS}/web:8080/proxy"


async def _running(api: Api) -> None:
    await api.pod(node="n1")
    (await api.patch(f"{PODS}/web/status", {"status": {"podIP": "10.1.2.3"}})).ok()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@served
async def test_a_proxy_without_a_path_is_redirected_to_its_root(api: Api, method: str) -> None:
    await _running(api)
    answer = await api.call(method, PROXY, q="a b")
    assert (answer.response.status, answer.response.headers["Location"]) == (301, f"{PROXY}/?q=a+b")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", PROXY, "http://10.1.2.3:8080/"),
        ("GET", f"{PROXY}/", "http://10.1.2.3:8080/"),
        ("GET", f"{PROXY}/a/b", "http://10.1.2.3:8080/a/b"),
        ("GET", f"{PROXY}/a/b/", "http://10.1.2.3:8080/a/b/"),
        ("GET", f"{PODS}/https:web:443/proxy/a", "https://10.1.2.3:443/a"),
    ],
)
@served
async def test_the_path_is_passed_on_as_it_was_asked_for(
    api: Api, method: str, path: str, expected: str
) -> None:
    await _running(api)
    tunnel = (await api.call(method, path)).response.tunnel
    assert tunnel is not None
    assert (tunnel.url, tunnel.insecure, tunnel.to_node) == (expected, True, False)
    assert tunnel.prefix == path[: path.index("/proxy") + len("/proxy")]
