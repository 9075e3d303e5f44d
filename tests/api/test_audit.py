from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.apiserver.core.audit.auditor import Auditor, LogFile
from sampan.apiserver.core.audit.policy import parse
from sampan.apiserver.core.paths import parse as parse_path
from sampan.base.ids import RandomIds
from tests.api.server import CONFIG_MAPS, PODS, Api, config_map, run, user


def _policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}


def _audited(policy: dict[str, Any], tmp_path: Path, work: Any) -> list[dict[str, Any]]:
    path = tmp_path / "audit.log"

    async def whole(api: Api) -> None:
        auditor = Auditor(parse(policy), LogFile(path=path), api.clock, RandomIds())
        api.server.audit = auditor
        await work(api)
        await auditor.flush()

    asyncio.run(run(whole))
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_the_first_rule_that_matches_decides_how_much_is_written(tmp_path: Path) -> None:
    secrets = {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]}
    rules = (secrets, {"level": "None", "verbs": ["get"]}, {"level": "RequestResponse"})

    async def work(api: Api) -> None:
        secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
        (await api.post("/api/v1/namespaces/default/secrets", secret)).ok(201)
        (await api.post(CONFIG_MAPS, config_map("a", k="v"))).ok(201)
        (await api.get(f"{CONFIG_MAPS}/a")).ok()

    of_secret, of_map = _audited(_policy(*rules, omitStages=["RequestReceived"]), tmp_path, work)
    assert (of_secret["level"], of_secret["verb"]) == ("Metadata", "create")
    assert of_secret["objectRef"] == {
        "resource": "secrets",
        "namespace": "default",
        "apiVersion": "v1",
    }
    assert "requestObject" not in of_secret
    assert of_secret["responseStatus"]["code"] == 201
    assert of_map["requestObject"]["data"] == {"k": "v"}
    assert of_map["responseObject"]["metadata"]["uid"]
    assert of_map["user"]["username"] == "kubernetes-admin"
    assert of_map["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert of_map["stage"] == "ResponseComplete"


def test_refusals_impersonation_and_stages(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        answer = await api.get(CONFIG_MAPS, headers={"impersonate-user": "jane", "audit-id": "mine"})
        answer.refused(403, "Forbidden")
        assert answer.headers["Audit-Id"] == "mine"

    received, complete = _audited(_policy({"level": "Metadata"}), tmp_path, work)
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["auditID"] == complete["auditID"] == "mine"
    assert complete["user"]["username"] == "kubernetes-admin"
    assert complete["impersonatedUser"]["username"] == "jane"
    assert complete["annotations"] == {"authorization.k8s.io/decision": "forbid"}
    assert complete["responseStatus"]["reason"] == "Forbidden"


def test_requests_whose_credentials_do_not_hold(tmp_path: Path) -> None:
    rules = ({"level": "None", "users": ["jane"]}, {"level": "RequestResponse"})

    async def work(api: Api) -> None:
        bad = {"authorization": "Bearer x"}
        answer = await api.post(CONFIG_MAPS, config_map("a"), user=None, headers=bad | {"audit-id": "mine"})
        answer.refused(401, "Unauthorized")
        assert answer.headers["Audit-Id"] == "mine"
        assert (await api.get(CONFIG_MAPS, user=None, headers=bad, watch="true")).code == 401

    write, watch = _audited(_policy(*rules), tmp_path, work)
    assert (write["stage"], write["verb"], write["auditID"]) == ("ResponseStarted", "create", "mine")
    said = "Authentication failed, attempted: bearer"
    assert write["responseStatus"] == {"metadata": {}, "message": said, "code": 401}
    assert write["user"] == {}
    assert write["objectRef"]["resource"] == "configmaps"
    assert not {"requestObject", "responseObject"} & write.keys()
    assert (watch["verb"], watch["responseStatus"]["code"]) == ("watch", 401)


def test_a_watch_is_written_when_it_starts_and_when_it_ends(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        watch = await api.watch(CONFIG_MAPS)
        (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
        assert (await watch.next())["type"] == "ADDED"
        await watch.close()

    rule = {"level": "Metadata", "verbs": ["watch"], "omitStages": ["RequestReceived"]}
    stages = [event["stage"] for event in _audited(_policy(rule), tmp_path, work)]
    assert stages == ["ResponseStarted", "ResponseComplete"]


def test_admission_can_leave_notes_and_managed_fields_can_be_left_out(tmp_path: Path) -> None:
    class Noting:
        kinds = frozenset({"ConfigMap"})

        def mutate(self, attributes: Any) -> None:
            attributes.context.annotate("example.com/seen", "yes")

        def validate(self, attributes: Any) -> None:
            return None

    async def work(api: Api) -> None:
        chain = api.server._writer._admission
        chain._by_kind["ConfigMap"] = (*chain._every, Noting())
        (await api.apply(f"{CONFIG_MAPS}/a", config_map("a"), "me")).ok(201)

    rule = {"level": "RequestResponse", "omitManagedFields": True, "omitStages": ["RequestReceived"]}
    [event] = _audited(_policy(rule), tmp_path, work)
    assert event["annotations"]["example.com/seen"] == "yes"
    assert "managedFields" not in event["responseObject"]["metadata"]


def test_a_log_that_grows_too_large_is_put_aside_and_old_ones_go(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        log = LogFile(path=tmp_path / "small.log", max_size_bytes=10, max_backups=2)
        for _ in range(5):
            log.write(b"0123456\n", api.clock.now())
            await api.clock.advance(1)

    asyncio.run(run(work))
    files = sorted(file.name for file in tmp_path.iterdir())
    assert len(files) == 3
    assert "small.log" in files


@pytest.mark.parametrize(
    ("rule", "path", "fits"),
    [
        ({"users": ["jane"]}, PODS, True),
        ({"users": ["joe"]}, PODS, False),
        ({"userGroups": ["dev"]}, PODS, True),
        ({"namespaces": ["default"]}, PODS, True),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"resources": [{"resources": ["pods"]}]}, f"{PODS}/a/log", False),
        ({"resources": [{"resources": ["pods/*"]}]}, f"{PODS}/a/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, f"{PODS}/a/log", True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["b"]}]}, f"{PODS}/a", False),
        ({"resources": [{"group": "apps"}]}, PODS, False),
        ({"nonResourceURLs": ["/healthz*"]}, "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz*"]}, PODS, False),
    ],
)
def test_rules_match_as_in_kubernetes(rule: dict[str, Any], path: str, fits: bool) -> None:
    policy = parse(_policy({"level": "Metadata", **rule}))
    target = parse_path("GET", path, False)
    decided = policy.decide(user("jane", "dev"), "get", target, path)
    assert (decided.level == "Metadata") == fits


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"kind": "Pod"}, "must be a Policy"),
        (_policy(), "at least one rule"),
        (_policy({"level": "Everything"}), "is none of None"),
        (_policy({"level": "None", "omitStages": ["Later"]}), "omitStages"),
        (_policy({"level": "None", "nope": 1}), "nope"),
        (_policy({"level": "None", "namespaces": ["a"], "nonResourceURLs": ["/"]}), "neither"),
    ],
)
def test_a_bad_policy_is_refused(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(policy)
