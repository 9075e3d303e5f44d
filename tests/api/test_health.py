from __future__ import annotations

import asyncio
import re

import pytest

from sampan.apiserver.core import deadlines
from sampan.apiserver.core.health import answer
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.status import StatusError
from tests.api.server import CONFIG_MAPS, Api, config_map, served, user


def _ask(path: str, *, ready: bool = True, stored: bool = True, **query: str) -> tuple[int, str]:
    found = answer(Request(method="GET", path=path, query=query), ready=ready, stored=stored)
    assert found is not None
    assert found.content_type.startswith("text/plain")
    return found.status, found.body.decode()


def test_health_names_each_check_where_it_is_asked_to_or_one_fails() -> None:
    assert _ask("/livez") == (200, "ok")
    code, text = _ask("/readyz", verbose="")
    assert code == 200
    assert text.startswith("[+]ping ok\n[+]log ok\n[+]etcd ok\n")
    assert text.endswith("[+]shutdown ok\nreadyz check passed\n")
    code, text = _ask("/readyz", stored=False)
    assert code == 500
    assert "[-]etcd failed: reason withheld\n" in text
    assert text.endswith("readyz check failed\n")


def test_one_check_can_be_asked_for_or_left_out() -> None:
    assert _ask("/livez/etcd") == (200, "ok")
    assert _ask("/livez/etcd", stored=False)[0] == 500
    assert _ask("/livez", stored=False, exclude="etcd") == (200, "ok")
    assert "[+]etcd excluded: ok" in _ask("/livez", verbose="", exclude="etcd")[1]
    assert answer(Request(method="GET", path="/livez/nothing"), ready=True, stored=True) is None


def test_a_server_that_starts_lives_but_is_not_ready() -> None:
    assert _ask("/livez", ready=False)[0] == 200
    assert _ask("/readyz", ready=False)[0] == 500


def test_checks_have_the_names_that_scripts_ask_kube_apiserver_for() -> None:
    asked = (
        "start-apiserver-admission-initializer",
        "start-apiextensions-controllers",
        "crd-informer-synced",
        "storage-readiness",
        "start-system-namespaces-controller",
        "start-service-ip-repair-controllers",
        "start-cluster-authentication-info-controller",
        "start-kube-aggregator-informers",
        "apiservice-status-remote-available-controller",
        "kube-apiserver-autoregistration",
        "apiservice-openapi-controller",
        "start-legacy-token-tracking-controller",
        "start-kube-apiserver-identity-lease-controller",
    )
    for root in ("/healthz", "/livez", "/readyz"):
        lines = _ask(root, verbose="1")[1].splitlines()
        assert {f"[+]poststarthook/{name} ok" for name in asked} <= set(lines)
        assert "[+]autoregister-completion ok" in lines


@served
async def test_metrics_count_requests_objects_and_seats(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    for _ in range(3):
        (await api.get(f"{CONFIG_MAPS}/a")).ok()
    (await api.get("/api/v1/namespaces/default/made-up")).refused(404, "NotFound")
    (await api.get("/metrics", user=user("jane"))).refused(403, "Forbidden")
    page = await api.get("/metrics")
    assert page.response.content_type.startswith("text/plain; version=0.0.4")
    text = page.body.decode()
    labels = 'group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"'
    assert f'apiserver_request_total{{code="200",component="apiserver",dry_run="",{labels}}} 3' in text
    assert re.search(
        r'apiserver_request_duration_seconds_bucket\{.*verb="POST",version="v1",le="\+Inf"\} 1', text
    )
    assert 'apiserver_current_inflight_requests{request_kind="readOnly"} 1' in text
    assert f'apiserver_request_sli_duration_seconds_count{{component="apiserver",{labels}}} 3' in text
    assert 'apiserver_storage_objects{resource="configmaps"} 1' in text
    assert 'apiserver_resource_objects{group="",resource="configmaps"} 1' in text
    assert 'apiserver_resource_objects{group="apiregistration.k8s.io",resource="apiservices"}' in text
    assert 'apiserver_flowcontrol_upper_limit_seats{priority_level="workload-low"}' in text
    assert re.search(r'^kubernetes_build_info\{.*major="1",minor="\d+",.*\} 1$', text, re.M)
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"}' in text
    assert re.search(r"^process_resident_memory_bytes \d+", text, re.M)
    assert re.search(r"^etcd_request_duration_seconds_count.* \d+", text, re.M)
    assert "made-up" not in text


@served
async def test_each_check_is_a_metric(api: Api) -> None:
    lines = (await api.get("/metrics/slis")).body.decode().splitlines()
    assert 'kubernetes_healthcheck{name="etcd",type="readyz"} 1' in lines
    assert 'kubernetes_healthcheck{name="ping",type="livez"} 1' in lines
    (await api.get("/metrics/slis", user=user("jane"))).refused(403, "Forbidden")
    assert (await api.get("/metrics/slis", user=user("mona", "system:monitoring"))).code == 200
    assert "/metrics/slis" in (await api.get("/")).ok()["paths"]


@served
async def test_metrics_count_watches_that_are_open(api: Api) -> None:
    name = "apiserver_longrunning_requests"
    watches = [await api.watch(CONFIG_MAPS) for _ in range(2)]
    labels = 'component="apiserver",group="",resource="configmaps",scope="namespace"'
    line = f'{name}{{{labels},subresource="",verb="WATCH",version="v1"}} 2'
    assert line in (await api.get("/metrics")).body.decode()
    for watch in watches:
        await watch.close()
    assert f"{name}{{" not in (await api.get("/metrics")).body.decode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("1m", 60.0), ("1.5s", 1.5), ("1s500ms", 1.5), ("2h", 60.0), ("0", 60.0), ("0s", 60.0)],
)
def test_timeouts_are_go_durations(text: str, seconds: float) -> None:
    assert deadlines.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "5", "5 s", "s", "1" * 100 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(StatusError, match="invalid timeout"):
        deadlines.parse(text)


@served
async def test_a_request_that_takes_too_long_gets_504(api: Api) -> None:
    (await api.get(CONFIG_MAPS, timeout="5s")).ok()
    (await api.get(CONFIG_MAPS, timeout="soon")).refused(400, "BadRequest")

    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    api.server.store.commit = stuck  # type: ignore[method-assign, assignment]
    waiting = asyncio.ensure_future(api.post(CONFIG_MAPS, config_map("a"), timeout="5s"))
    await api.clock.advance(6)
    (await waiting).refused(504, "Timeout")
