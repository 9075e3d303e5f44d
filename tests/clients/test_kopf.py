"""An operator written with kopf: handlers, a timer, a daemon, an index, status and finalizers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import kopf
import pytest

from sampan.client.errors import ApiError
from sampan.schema import api
from sampan.testing.cluster import Cluster

pytestmark = pytest.mark.clients
WAIT_S = 20
SELECTED = {"operated": "yes"}


class Seen:
    """What the operator's handlers were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def note(self, handler: str, name: str) -> None:
        self.calls.append((handler, name))

    def count(self, handler: str, name: str) -> int:
        return self.calls.count((handler, name))


def operator(seen: Seen) -> kopf.OperatorRegistry:
    """An operator for config maps with the label `operated`."""
    registry = kopf.OperatorRegistry()
    mine: dict[str, Any] = {"labels": SELECTED, "registry": registry}

    @kopf.on.startup(registry=registry)
    def settle(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = True
        settings.watching.server_timeout = WAIT_S
        settings.peering.standalone = True

    @kopf.on.login(registry=registry)
    def login(**told: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_kubeconfig(**told)

    @kopf.on.create("configmaps", **mine)
    def create(name: str, patch: kopf.Patch, body: kopf.Body, **_: Any) -> None:
        seen.note("create", name)
        patch.metadata.annotations["made-by"] = "operator"
        kopf.info(body, reason="Made", message="the operator made it")

    @kopf.on.update("configmaps", field="data.x", **mine)
    def update(name: str, old: Any, new: Any, **_: Any) -> None:
        seen.note(f"update {old} to {new}", name)

    @kopf.on.delete("configmaps", **mine)
    def delete(name: str, **_: Any) -> None:
        seen.note("delete", name)

    @kopf.timer("configmaps", interval=0.2, **mine)
    def tick(name: str, **_: Any) -> None:
        seen.note("tick", name)

    @kopf.daemon("configmaps", cancellation_timeout=1, **mine)
    async def stay(name: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
        seen.note("daemon begins", name)
        await stopped.wait()
        seen.note("daemon ends", name)

    @kopf.index("configmaps", id="by_name", **mine)
    def by_name(name: str, **_: Any) -> dict[str, str]:
        return {name: "there"}

    @kopf.on.event("configmaps", registry=registry, labels={"asked": "yes"})
    def ask(name: str, by_name: kopf.Index[str, str], **_: Any) -> None:
        seen.note(f"index has {sorted(by_name)}", name)

    return registry


def with_admission(registry: kopf.OperatorRegistry, live: Cluster) -> None:
    """Give the operator webhooks, served over HTTPS with a certificate of the cluster's authority."""

    @kopf.on.startup(registry=registry)
    def serve(settings: kopf.OperatorSettings, **_: Any) -> None:
        folder = live.kubeconfig.parent
        settings.admission.server = kopf.WebhookServer(
            addr="127.0.0.1",
            host="127.0.0.1",
            certfile=str(folder / "server.crt"),
            pkeyfile=str(folder / "server.key"),
            cafile=str(folder / "ca.crt"),
        )
        settings.admission.managed = "operator.example.com"

    @kopf.on.validate("configmaps", labels={"checked": "yes"}, registry=registry)
    def check(body: kopf.Body, warnings: list[str], **_: Any) -> None:
        warnings.append("the operator has looked at it")
        if dict(body.get("data") or {}).get("x") == "bad":
            raise kopf.AdmissionError("x must not be bad", code=400)

    @kopf.on.mutate("configmaps", labels={"checked": "yes"}, registry=registry)
    def change(patch: kopf.Patch, **_: Any) -> None:
        patch.metadata.annotations["mutated-by"] = "operator"


@pytest.fixture
def seen(
    live: Cluster, own: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Seen]:
    """What a running operator sees in the namespace `own`."""
    monkeypatch.setenv("KUBECONFIG", str(live.kubeconfig))
    noted, stop, ready = Seen(), threading.Event(), threading.Event()
    failures: list[BaseException] = []
    registry = operator(noted)
    if getattr(request, "param", "") == "admission":
        with_admission(registry, live)

    def run() -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=registry, namespaces=[own], stop_flag=stop, ready_flag=ready,
                    standalone=True,
                )
            )  # fmt: skip
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(WAIT_S)
    yield noted
    stop.set()
    thread.join(WAIT_S)
    assert (failures, thread.is_alive()) == ([], False)


def test_an_operator(live: Cluster, own: str, seen: Seen) -> None:
    labelled = api.ObjectMeta(name="a", namespace=own, labels=dict(SELECTED))
    live.client.create(api.ConfigMap(metadata=labelled, data={"x": "1"}))
    live.wait_until(lambda: seen.count("create", "a") == 1)
    live.wait_until(lambda: seen.count("daemon begins", "a") == 1)
    live.wait_until(lambda: seen.count("tick", "a") >= 3)
    live.wait_until(
        lambda: live.client.get(api.ConfigMap, "a", own).metadata.annotations.get("made-by") == "operator",
    )
    made = live.client.get(api.ConfigMap, "a", own)
    assert made.metadata.finalizers == ["kopf.zalando.org/KopfFinalizerMarker"]
    live.client.patch(api.ConfigMap, "a", own, {"data": {"x": "2"}})
    live.wait_until(lambda: seen.count("update 1 to 2", "a") == 1)
    asking = api.ObjectMeta(name="b", namespace=own, labels={"asked": "yes"})
    live.client.create(api.ConfigMap(metadata=asking))
    live.wait_until(lambda: seen.count("index has ['a']", "b") >= 1)
    live.client.delete(api.ConfigMap, "a", own)
    live.wait_until(lambda: seen.count("delete", "a") == 1 and seen.count("daemon ends", "a") == 1)
    live.wait_until(lambda: all(m.metadata.name != "a" for m in live.client.list(api.ConfigMap, own)))
    # Events are written last, when all else is done.
    live.wait_until(lambda: "Made" in {event.reason for event in live.client.list(api.Event, own)})


def test_nothing_is_left_in_the_way(live: Cluster, own: str, seen: Seen) -> None:
    """An object that the operator has never seen goes at once."""
    live.client.create(api.ConfigMap(metadata=api.ObjectMeta(name="other", namespace=own)))
    live.client.delete(api.ConfigMap, "other", own)
    assert all(m.metadata.name != "other" for m in live.client.list(api.ConfigMap, own))
    assert seen.calls == []


@pytest.mark.parametrize("seen", ["admission"], indirect=True)
def test_an_operator_with_admission(live: Cluster, own: str, seen: Seen) -> None:
    """kopf writes its own webhook configurations, for its own server."""
    for kind in (api.ValidatingWebhookConfiguration, api.MutatingWebhookConfiguration):
        live.wait_until(lambda kind=kind: any(hook.webhooks for hook in live.client.list(kind)))
    checked = {"checked": "yes"}
    good = api.ConfigMap(metadata=api.ObjectMeta(name="good", namespace=own, labels=checked), data={"x": "1"})
    assert live.client.create(good).metadata.annotations["mutated-by"] == "operator"
    bad = api.ConfigMap(metadata=api.ObjectMeta(name="bad", namespace=own, labels=checked), data={"x": "bad"})
    with pytest.raises(ApiError, match="x must not be bad") as refused:
        live.client.create(bad)
    assert refused.value.code == 400
    plain = api.ConfigMap(metadata=api.ObjectMeta(name="plain", namespace=own), data={"x": "bad"})
    assert not live.client.create(plain).metadata.annotations
    # Whoever comes next must not wait for this operator's webhooks.
    for kind in (api.ValidatingWebhookConfiguration, api.MutatingWebhookConfiguration):
        for hook in live.client.list(kind):
            live.client.delete(kind, hook.metadata.name or "")
