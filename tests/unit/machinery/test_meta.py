from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from sampan.machinery import meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api, codec


def errors(m: api.ObjectMeta, *, namespaced: bool = True) -> list[str]:
    return [str(e) for e in meta.validate_object_meta(m, namespaced, names.dns1123_subdomain)]


def test_whole_metadata_has_no_errors() -> None:
    good = api.ObjectMeta(
        name="a",
        namespace="b",
        labels={"x": "y"},
        annotations={"UPPER.example.com/x": "anything"},
        finalizers=["example.com/f"],
        ownerReferences=[api.OwnerReference(apiVersion="v1", kind="Pod", name="p", uid="u", controller=True)],
    )
    assert errors(good) == []


def test_name_and_namespace() -> None:
    assert errors(api.ObjectMeta()) == [
        "metadata.name: Required value: name or generateName is required",
        "metadata.namespace: Required value",
    ]
    assert errors(api.ObjectMeta(name="a", namespace="b"), namespaced=False) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]
    wrong = errors(api.ObjectMeta(name="A", generateName="Bx-", namespace="b"))
    assert [e.split(":")[0] for e in wrong] == ["metadata.generateName", "metadata.name"]
    assert errors(api.ObjectMeta(name="web-x1", generateName="web-", namespace="b")) == []


def test_labels_and_annotations() -> None:
    bad = api.ObjectMeta(name="a", namespace="b", labels={"-": "ok", "k": "%"}, annotations={"a/b/c": ""})
    found = errors(bad)
    assert len(found) == 3
    assert found[0].startswith('metadata.labels: Invalid value: "-": name part must consist of')
    assert found[1].startswith('metadata.labels: Invalid value: "%": a valid label must be')
    huge = api.ObjectMeta(name="a", namespace="b", annotations={"k": "x" * (256 * 1024)})
    assert errors(huge) == ["metadata.annotations: Too long: may not be more than 262144 bytes"]


def test_owners() -> None:
    owner = api.OwnerReference(apiVersion="v1", kind="A", name="x", uid="u", controller=True)
    other = msgspec.structs.replace(owner, kind="B")
    twice = errors(api.ObjectMeta(name="a", namespace="b", ownerReferences=[owner, other]))
    assert len(twice) == 1
    assert 'Found "true" in references for A/x and B/x' in twice[0]
    event = api.OwnerReference(apiVersion="v1", kind="Event", name="", uid="u")
    found = errors(api.ObjectMeta(name="a", namespace="b", ownerReferences=[event]))
    assert found[0] == "metadata.ownerReferences[0].name: Required value: must not be empty"
    assert found[1].endswith("/v1, Kind=Event is disallowed from being an owner")


def test_finalizers_exclude_each_other() -> None:
    found = errors(api.ObjectMeta(name="a", namespace="b", finalizers=["orphan", "foregroundDeletion"]))
    assert found == [
        'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: '
        "finalizer orphan and foregroundDeletion cannot be both set"
    ]


def test_managed_fields() -> None:
    entry = api.ManagedFieldsEntry(operation="Other", fieldsType="V2", manager="a\n")
    found = meta.validate_managed_fields([entry], Path("metadata")["managedFields"])
    assert [e.detail for e in found] == [
        "must be `Apply` or `Update`",
        "must be `FieldsV1`",
        "invalid character U+000A (at position 1)",
    ]


def update(new: api.ObjectMeta, old: api.ObjectMeta) -> list[FieldError]:
    return meta.validate_object_meta_update(new, old)


def test_what_an_update_may_not_change() -> None:
    old = api.ObjectMeta(name="a", namespace="b", uid="u", resourceVersion="1", generation=2)
    assert update(codec.copy(old), old) == []
    new = api.ObjectMeta(name="z", namespace="b", uid="u", generation=1)
    assert [str(e) for e in update(new, old)] == [
        'metadata.resourceVersion: Invalid value: "": must be specified for an update',
        "metadata.generation: Invalid value: 1: must not be decremented",
        'metadata.name: Invalid value: "z": field is immutable',
    ]


def test_no_finalizer_is_added_to_what_is_being_deleted() -> None:
    old = api.ObjectMeta(
        name="a", resourceVersion="1", deletionTimestamp=datetime(2024, 1, 1, tzinfo=UTC), finalizers=["a/b"]
    )
    new = codec.copy(old)
    new.finalizers = ["a/c", "a/b"]
    assert [str(e) for e in update(new, old)] == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"a/c"}'
    ]


def test_label_selectors() -> None:
    selector = api.LabelSelector(
        matchLabels={"a": "b"},
        matchExpressions=[
            api.LabelSelectorRequirement(key="a", operator="In"),
            api.LabelSelectorRequirement(key="a", operator="Exists", values=["x"]),
            api.LabelSelectorRequirement(key="a", operator="Like"),
        ],
    )
    assert [str(e) for e in meta.validate_label_selector(selector, Path("spec")["selector"])] == [
        "spec.selector.matchExpressions[0].values: Required value: "
        "must be specified when `operator` is 'In' or 'NotIn'",
        "spec.selector.matchExpressions[1].values: Forbidden: "
        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        'spec.selector.matchExpressions[2].operator: Invalid value: "Like": not a valid selector operator',
    ]
    assert meta.validate_label_selector(None, Path("spec")) == []
