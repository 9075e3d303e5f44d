"""Sentences of Kubernetes' conformance tests about webhook configurations."""

from __future__ import annotations

import pytest

from tests.api.server import CONFIG_MAPS, JSON_PATCH, Api, config_map
from tests.api.test_webhooks import MUTATING, VALIDATING, adds, allow, configure, deny, hooked, webhook
from tests.api.webhooks import Hooks

CONDITIONS = [{"name": "expression-1", "expression": "object.metadata.namespace == 'nowhere'"}]


@pytest.mark.conformance("AdmissionWebhook should mutate everything except 'skip-me' configmaps")
@hooked
async def test_mutate_everything_but_what_is_to_be_skipped(api: Api, server: Hooks) -> None:
    server.review("/add", adds("/data", {"added": "yes"}))
    conditions = [{"name": "not-skipped", "expression": "object.metadata.name != 'skip-me'"}]
    await configure(api, MUTATING, "add", webhook(server, "/add", matchConditions=conditions))
    assert (await api.post(CONFIG_MAPS, config_map("change-me"))).ok(201)["data"] == {"added": "yes"}
    assert "data" not in (await api.post(CONFIG_MAPS, config_map("skip-me"))).ok(201)
    assert [seen["name"] for seen in server.seen["/add"]] == ["change-me"]


@pytest.mark.conformance(
    "AdmissionWebhook should be able to create and update mutating webhook configurations with match "
    "conditions"
)
@hooked
async def test_match_conditions_of_mutating_webhooks(api: Api, server: Hooks) -> None:
    server.review("/add", adds("/data", {"added": "yes"}))
    made = await configure(api, MUTATING, "add", webhook(server, "/add", matchConditions=CONDITIONS))
    assert made["webhooks"][0]["matchConditions"] == CONDITIONS
    assert "data" not in (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    made["webhooks"][0]["matchConditions"][0]["expression"] = "object.metadata.namespace == 'default'"
    updated = (await api.put(f"{MUTATING}/add", made)).ok()
    assert updated["webhooks"][0]["matchConditions"] == made["webhooks"][0]["matchConditions"]
    assert (await api.post(CONFIG_MAPS, config_map("b"))).ok(201)["data"] == {"added": "yes"}


@pytest.mark.conformance(
    "AdmissionWebhook should be able to create and update validating webhook configurations with match "
    "conditions"
)
@hooked
async def test_match_conditions_of_validating_webhooks(api: Api, server: Hooks) -> None:
    server.review("/deny", deny())
    made = await configure(api, VALIDATING, "deny", webhook(server, "/deny", matchConditions=CONDITIONS))
    assert made["webhooks"][0]["matchConditions"] == CONDITIONS
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    more = [
        {"op": "replace", "path": "/webhooks/0/matchConditions/0/expression", "value": "object != null"},
        {
            "op": "add",
            "path": "/webhooks/0/matchConditions/-",
            "value": {"name": "two", "expression": "true"},
        },
    ]
    patched = (await api.patch(f"{VALIDATING}/deny", more, JSON_PATCH)).ok()
    assert [c["name"] for c in patched["webhooks"][0]["matchConditions"]] == ["expression-1", "two"]
    assert (await api.post(CONFIG_MAPS, config_map("b"))).code == 400


@pytest.mark.conformance("AdmissionWebhook listing mutating webhooks should work")
@hooked
async def test_mutating_webhooks_are_listed_and_deleted_together(api: Api, server: Hooks) -> None:
    for name in "abc":
        server.review(f"/{name}", adds(f"/data/{name}", "yes"))
        body = {
            "metadata": {"name": name, "labels": {"of": "e2e"}},
            "webhooks": [webhook(server, f"/{name}")],
        }
        (await api.post(MUTATING, body)).ok(201)
    assert (await api.get(MUTATING, labelSelector="of=e2e")).names == ["a", "b", "c"]
    changed = (await api.post(CONFIG_MAPS, config_map("one", key="x"))).ok(201)["data"]
    assert changed == {"key": "x", "a": "yes", "b": "yes", "c": "yes"}
    (await api.delete(MUTATING, labelSelector="of=e2e")).ok()
    assert (await api.post(CONFIG_MAPS, config_map("two", key="x"))).ok(201)["data"] == {"key": "x"}


@pytest.mark.conformance("AdmissionWebhook should honor timeout")
@hooked
async def test_a_timeout_is_ten_seconds_where_none_is_given(api: Api, server: Hooks) -> None:
    server.review("/see", allow)
    for url in (MUTATING, VALIDATING):
        made = await configure(api, url, "see", webhook(server, "/see"))
        assert made["webhooks"][0]["timeoutSeconds"] == 10
        for seconds in (0, 31):
            wrong = [webhook(server, "/see", timeoutSeconds=seconds)]
            said = (await api.patch(f"{url}/see", {"webhooks": wrong})).refused(422, "Invalid")
            assert "webhooks[0].timeoutSeconds: Invalid value" in said
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
