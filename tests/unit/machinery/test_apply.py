from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sampan.machinery.patch.apply import engine, fieldset, managers
from sampan.machinery.patch.apply.conflicts import ApplyConflict
from sampan.machinery.patch.apply.engine import Applied, ConfigurationRefused
from sampan.machinery.patch.apply.managers import Managed
from sampan.machinery.patch.errors import PatchMalformed
from sampan.machinery.patch.values import copy
from sampan.schema import api, codec, nodes
from sampan.schema.definitions import GroupVersionKind

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
DEPLOYMENT = nodes.of_kind(GroupVersionKind("apps", "v1", "Deployment"))
EMPTY = codec.to_builtins(api.Deployment())
TYPE = {"apiVersion": "apps/v1", "kind": "Deployment"}


def deployment(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**TYPE, "metadata": {"name": "web", "namespace": "default", **metadata}, "spec": spec}


def pod(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(containers)}}


def apply(
    live: dict[str, Any], config: dict[str, Any], manager: str, managed: Managed = (), **options: Any
) -> Applied:
    return engine.apply(
        live, config, manager, schema=DEPLOYMENT, managed=managed, now=NOW, empty=EMPTY, **options
    )


def update(
    old: dict[str, Any],
    new: dict[str, Any],
    manager: str,
    managed: Managed = (),
    now: datetime = NOW,
    **o: Any,
) -> Managed:
    return engine.track_update(
        old, new, manager, api_version="apps/v1", schema=DEPLOYMENT, managed=managed, now=now, **o
    )


def owned(managed: Managed, manager: str) -> list[str]:
    return sorted(
        fieldset.path_text(path)
        for entry in managed
        if entry.manager == manager
        for path in entry.fields.paths()
    )


def stored(obj: dict[str, Any]) -> dict[str, Any]:
    """The object as it is once the server has it."""
    return {**obj, "metadata": {**obj["metadata"], "uid": "u"}}


def test_an_apply_owns_what_it_names() -> None:
    config = deployment(
        {
            "replicas": 2,
            "selector": {"matchLabels": {"a": "b"}},
            "template": pod({"name": "c", "image": "i"}),
        },
        labels={"x": "y"},
        finalizers=["a/b"],
    )
    applied = apply(EMPTY, config, "me")
    assert owned(applied.managed, "me") == [
        '.metadata.finalizers[="a/b"]',
        ".metadata.labels.x",
        ".spec.replicas",
        ".spec.selector",
        '.spec.template.spec.containers[name="c"]',
        '.spec.template.spec.containers[name="c"].image',
        '.spec.template.spec.containers[name="c"].name',
    ]
    (entry,) = managers.encode(applied.managed)
    assert entry["operation"] == "Apply"
    assert entry["time"] == "2024-05-01T12:00:00Z"
    assert "f:name" not in entry["fieldsV1"]["f:metadata"]


def test_applying_again_changes_nothing() -> None:
    config = deployment({"replicas": 2, "template": pod({"name": "c"})})
    first = apply(EMPTY, config, "me")
    later = engine.apply(
        first.object, config, "me", schema=DEPLOYMENT, managed=first.managed, now=NOW + timedelta(days=1)
    )
    assert not later.changed
    assert later.managed == first.managed


def test_a_conflict_names_the_manager_and_the_field() -> None:
    live = stored(apply(EMPTY, deployment({"replicas": 2}), "one").object)
    managed = apply(EMPTY, deployment({"replicas": 2}), "one").managed
    with pytest.raises(ApplyConflict) as refused:
        apply(live, deployment({"replicas": 3}), "two", managed)
    assert str(refused.value) == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    assert refused.value.code == 409
    (cause,) = refused.value.conflicts
    assert (cause.field, cause.message) == (".spec.replicas", 'conflict with "one"')


def test_several_conflicts_are_listed_by_manager() -> None:
    live = stored(deployment({"replicas": 2, "paused": True, "template": pod({"name": "c", "image": "1"})}))
    managed = update(EMPTY, live, "kubectl-create")
    config = deployment({"replicas": 3, "paused": False, "template": pod({"name": "c", "image": "2"})})
    with pytest.raises(ApplyConflict) as refused:
        apply(live, config, "me", managed)
    assert str(refused.value) == (
        "Apply failed with 3 conflicts: "
        'conflicts with "kubectl-create" using apps/v1:\n'
        "- .spec.paused\n"
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="c"].image'
    )


def test_force_takes_and_equal_values_are_shared() -> None:
    one = apply(EMPTY, deployment({"replicas": 2, "paused": True}), "one")
    both = apply(stored(one.object), deployment({"replicas": 2}), "two", one.managed)
    assert owned(both.managed, "one") == [".spec.paused", ".spec.replicas"]
    assert owned(both.managed, "two") == [".spec.replicas"]
    taken = apply(both.object, deployment({"replicas": 5}), "two", both.managed, force=True)
    assert taken.object["spec"]["replicas"] == 5
    assert owned(taken.managed, "one") == [".spec.paused"]


def test_what_is_no_longer_applied_goes_unless_another_applies_it() -> None:
    one = apply(EMPTY, deployment({"replicas": 2, "paused": True}), "one")
    two = apply(stored(one.object), deployment({"replicas": 2}), "two", one.managed)
    gone = apply(two.object, deployment({}), "one", two.managed)
    assert gone.object["spec"] == {"replicas": 2, "template": EMPTY["spec"]["template"]}
    assert owned(gone.managed, "one") == [".spec"], "an empty map is itself a field"
    assert owned(gone.managed, "two") == [".spec.replicas"]


def test_a_removed_item_goes_with_all_that_updates_put_into_it() -> None:
    one = apply(EMPTY, deployment({"template": pod({"name": "a"}, {"name": "b"})}), "one")
    live = stored(one.object)
    new = copy(live)
    new["spec"]["template"]["spec"]["containers"][1]["image"] = "x"
    managed = update(live, new, "webhook", one.managed)
    less = apply(new, deployment({"template": pod({"name": "a"})}), "one", managed)
    assert less.object["spec"]["template"]["spec"]["containers"] == [{"name": "a"}]
    assert owned(less.managed, "webhook") == []


def test_what_others_put_beside_stays() -> None:
    one = apply(EMPTY, deployment({}, labels={"a": "1"}), "one")
    live = stored(one.object)
    new = copy(live)
    new["metadata"]["labels"]["b"] = "2"
    managed = update(live, new, "other", one.managed)
    less = apply(new, deployment({}), "one", managed)
    assert less.object["metadata"]["labels"] == {"b": "2"}


def test_an_emptied_map_goes() -> None:
    one = apply(EMPTY, deployment({}, labels={"a": "1"}), "one")
    less = apply(stored(one.object), deployment({}), "one", one.managed)
    assert "labels" not in less.object["metadata"]


def test_items_with_defaulted_keys_are_the_same_item() -> None:
    port = {"containerPort": 80}
    config = deployment({"template": pod({"name": "c", "ports": [port]})})
    live = stored(apply(EMPTY, config, "one").object)
    live["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "protocol": "TCP"}]
    again = apply(live, config, "two", ())
    assert again.object["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP"}
    ]


def test_the_order_of_an_apply_wins_and_strangers_keep_their_place() -> None:
    live = stored(deployment({"template": pod({"name": "a"}, {"name": "x"}, {"name": "b"})}))
    config = deployment({"template": pod({"name": "b"}, {"name": "n"}, {"name": "a"})})
    applied = apply(live, config, "me", ())
    names = [c["name"] for c in applied.object["spec"]["template"]["spec"]["containers"]]
    assert [n for n in names if n != "x"] == ["b", "n", "a"]
    assert set(names) == {"a", "b", "n", "x"}


def test_before_the_first_apply_somebody_owned_it() -> None:
    live = stored(deployment({"replicas": 2}))
    with pytest.raises(ApplyConflict, match='"before-first-apply" using apps/v1'):
        apply(live, deployment({"replicas": 3}), "me")
    taken = apply(live, deployment({"replicas": 2, "paused": True}), "me")
    assert owned(taken.managed, "before-first-apply") == [".spec.replicas"]


def test_updates_take_what_they_change_and_drop_what_they_remove() -> None:
    one = apply(EMPTY, deployment({"replicas": 2, "paused": True}, labels={"a": "1", "b": "2"}), "one")
    old = stored(one.object)
    new = copy(old)
    new["spec"]["replicas"] = 7
    del new["metadata"]["labels"]["b"]
    new["metadata"]["annotations"] = {"k": "v"}
    managed = update(old, new, "kubectl-edit", one.managed)
    assert owned(managed, "one") == [".metadata.labels.a", ".spec.paused"]
    assert owned(managed, "kubectl-edit") == [
        ".metadata.annotations",
        ".metadata.annotations.k",
        ".spec.replicas",
    ]
    assert update(new, copy(new), "nobody", managed) is managed


def test_creation_is_tracked_and_what_was_never_tracked_is_not() -> None:
    created = deployment({"replicas": 1, "template": pod({"name": "c"})}, labels={"a": "b"})
    managed = update(EMPTY, created, "kubectl-create")
    assert owned(managed, "kubectl-create") == [
        ".metadata.labels",
        ".metadata.labels.a",
        ".spec.replicas",
        '.spec.template.spec.containers[name="c"]',
        '.spec.template.spec.containers[name="c"].name',
    ]
    assert update(stored(created), stored(deployment({"replicas": 2})), "kubectl", ()) == ()


def test_status_is_another_entry_of_the_same_manager() -> None:
    old = stored(deployment({"replicas": 1}))
    managed = update(EMPTY, old, "m")
    new = {**old, "status": {"replicas": 1}}
    managed = update(old, new, "m", managed, subresource="status")
    assert [(e["operation"], e.get("subresource")) for e in managers.encode(managed)] == [
        ("Update", None),
        ("Update", "status"),
    ]
    assert str(managed[1]) == '"m" with subresource "status" using apps/v1'


def test_ignored_fields_are_nobodys() -> None:
    status = fieldset.of(("f:status",))
    applied = apply(EMPTY, {**deployment({"replicas": 1}), "status": {"replicas": 9}}, "me", ignored=status)
    assert owned(applied.managed, "me") == [".spec.replicas"]


def test_old_update_managers_are_joined() -> None:
    obj = stored(deployment({"replicas": 0}))
    managed = update(EMPTY, obj, "first")
    for number in range(15):
        new = stored(deployment({"replicas": 0}, labels={f"l{n}": "x" for n in range(number + 1)}))
        managed = update(obj, new, f"m{number:02}", managed, now=NOW + timedelta(minutes=number))
        obj = new
    assert len(managed) == managers.MAX_UPDATE_MANAGERS
    assert ".metadata.labels.l0" in owned(managed, managers.ANCIENT_CHANGES)
    assert ".spec.replicas" in owned(managed, managers.ANCIENT_CHANGES)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"nonsense": 1}, ".spec.nonsense: field not declared in schema"),
        ({"replicas": "x"}, ".spec.replicas: expected numeric (int or float), got string"),
        (
            {"template": pod({"name": "a"}, {"name": "a"})},
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            {"template": pod({"image": "a"})},
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits "
            'key field "name" (and doesn\'t have default value)',
        ),
    ],
)
def test_configurations_that_do_not_fit(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        apply(EMPTY, deployment(spec), "me")
    assert str(refused.value) == (
        f"failed to create typed patch object (default/web; apps/v1, Kind=Deployment): {message}"
    )


def test_a_configuration_has_no_managed_fields() -> None:
    with pytest.raises(PatchMalformed, match=r"^metadata.managedFields must be nil$"):
        apply(EMPTY, deployment({}, managedFields=[{}]), "me")


def test_custom_resources_follow_their_schema() -> None:
    schema = nodes.of_custom(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "items": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["id", "kind"],
                            "items": {
                                "type": "object",
                                "properties": {
                                    "id": {"type": "string"},
                                    "kind": {"type": "string", "default": "k"},
                                    "v": {"type": "integer"},
                                },
                            },
                        }
                    },
                }
            },
        }
    )
    head = {"apiVersion": "e.com/v1", "kind": "C", "metadata": {"name": "c"}}
    one = {**head, "spec": {"items": [{"id": "1", "v": 1}]}}
    two = {**head, "spec": {"items": [{"id": "1", "kind": "k", "v": 1}, {"id": "2", "v": 2}]}}
    first = engine.apply({}, one, "one", schema=schema, managed=(), now=NOW)
    both = engine.apply(first.object, two, "two", schema=schema, managed=first.managed, now=NOW)
    assert [item["id"] for item in both.object["spec"]["items"]] == ["1", "2"]
    assert '.spec.items[id="1",kind="k"].v' in owned(both.managed, "one")
    anything = engine.apply({}, one, "x", schema=nodes.of_custom(None), managed=(), now=NOW)
    assert owned(anything.managed, "x") == [".spec", ".spec.items"], "a list is one whole"


LAST = "kubectl.kubernetes.io/last-applied-configuration"


def test_kubectl_takes_over_from_its_client_side_apply() -> None:
    config = deployment({"replicas": 2, "paused": True})
    live = stored(deployment({"replicas": 2, "paused": True}, annotations={LAST: json.dumps(config)}))
    managed = update(EMPTY, live, "kubectl-client-side-apply")
    moved = apply(live, deployment({"replicas": 3}), "kubectl", managed)
    assert moved.object["spec"]["replicas"] == 3
    told = json.loads(moved.object["metadata"]["annotations"][LAST])
    assert told["spec"] == {"replicas": 3}
    with pytest.raises(ApplyConflict):
        apply(live, deployment({"replicas": 3}), "somebody", managed)


def test_kubectl_does_not_take_what_others_changed_since() -> None:
    config = deployment({"replicas": 2, "paused": True})
    live = stored(deployment({"replicas": 9, "paused": True}, annotations={LAST: json.dumps(config)}))
    managed = update(EMPTY, live, "hpa")
    with pytest.raises(ApplyConflict) as refused:
        apply(live, deployment({"replicas": 3, "paused": False}), "kubectl", managed)
    assert [c.field for c in refused.value.conflicts] == [".spec.replicas"]


def test_entries_that_clients_set() -> None:
    live = [{"manager": "a", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:x": {}}}]
    mine = [{"manager": "b", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:y": {}}}]
    assert managers.for_update(live, mine)[0].manager == "b"
    assert managers.for_update(live, [])[0].manager == "a"
    assert managers.for_update(live, [{}]) == ()
    assert managers.for_update(live, mine, "status")[0].manager == "a"
    broken = [{"manager": "b", "operation": "Apply", "fieldsV1": {"nonsense": {}}}]
    assert managers.for_update(live, broken)[0].manager == "a"


@pytest.mark.parametrize(
    ("field_manager", "agent", "name"),
    [
        ("x", "y", "x"),
        ("", "kubectl/v1.32 (linux)", "kubectl"),
        ("", "", "unknown"),
        ("", "a" * 200, "a" * 128),
    ],
)
def test_who_writes(field_manager: str, agent: str, name: str) -> None:
    assert managers.manager_name(field_manager, agent) == name


def test_entries_survive_the_structs() -> None:
    applied = apply(EMPTY, deployment({"replicas": 1}), "me")
    entry = codec.from_builtins(managers.encode(applied.managed)[0], api.ManagedFieldsEntry)
    assert managers.decode([entry]) == applied.managed


def test_what_kubectl_applied_before_the_first_apply_is_kubectls() -> None:
    """So that it finds itself among the managers, and takes over what it set, and nothing else."""
    applied = deployment({"replicas": 2})
    live = stored(deployment({"replicas": 2, "paused": True}))
    live["metadata"]["annotations"] = {LAST: msgspec.json.encode(applied).decode()}
    taken = apply(live, deployment({"replicas": 2}), "kubectl")
    assert owned(taken.managed, "kubectl-client-side-apply") == [
        ".metadata.annotations",
        f".metadata.annotations.{LAST}",
        ".spec.replicas",
    ]
    assert owned(taken.managed, "before-first-apply") == [".spec.paused"]


def test_fields_are_written_in_the_order_of_kube_apiserver() -> None:
    given: dict[str, Any] = {
        "f:spec": {
            "f:ports": {'k:{"port":443}': {"f:port": {}, ".": {}}, 'k:{"port":80}': {}},
            "f:finalizers": {'v:"b"': {}, 'v:"a"': {}, "v:10": {}, "v:9": {}},
            ".": {},
        },
        "f:data": {"i:10": {}, "i:9": {}},
    }
    written = json.dumps(fieldset.ordered(fieldset.parse(given)), separators=(",", ":"))
    assert written == (
        '{"f:data":{"i:9":{},"i:10":{}},"f:spec":{".":{},"f:finalizers":{"v:9":{},"v:10":{},"v:\\"a\\"":{},'
        '"v:\\"b\\"":{}},"f:ports":{"k:{\\"port\\":80}":{},"k:{\\"port\\":443}":{".":{},"f:port":{}}}}}'
    )
