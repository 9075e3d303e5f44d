from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest

from sampan.schema import codec, protobuf
from sampan.schema.definitions import NEWEST, GroupVersionKind, load
from sampan.schema.protobuf import ProtobufError, to_json

MAGIC = b"k8s\x00"


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def num(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def text(field: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + text(1, text(1, api_version) + text(2, kind)) + text(2, raw)


def read(api_version: str, kind: str, raw: bytes) -> Any:
    document = msgspec.json.decode(to_json(body(api_version, kind, raw)))
    assert (document.pop("apiVersion"), document.pop("kind")) == (api_version, kind)
    return document


def entry(key: str, value: str | bytes) -> bytes:
    return text(1, key) + text(2, value)


def test_metadata_maps_and_times() -> None:
    owner = text(1, "ReplicaSet") + text(3, "web") + text(4, "u-1") + text(5, "apps/v1") + num(6, 1)
    metadata = (
        text(1, "web-0")
        + text(2, "web-")
        + text(3, "default")
        + text(8, num(1, 1767225600))
        + num(10, 5)
        + text(11, entry("app", "web"))
        + text(11, entry("tier", ""))
        + text(12, entry("note", "hi"))
        + text(13, owner)
        + text(14, "example.com/a")
        + text(14, "example.com/b")
    )
    assert read("v1", "ConfigMap", text(1, metadata))["metadata"] == {
        "name": "web-0",
        "generateName": "web-",
        "namespace": "default",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
        "labels": {"app": "web", "tier": ""},
        "annotations": {"note": "hi"},
        "ownerReferences": [
            {"kind": "ReplicaSet", "name": "web", "uid": "u-1", "apiVersion": "apps/v1", "controller": True}
        ],
        "finalizers": ["example.com/a", "example.com/b"],
    }


def test_bytes_become_base64_and_false_pointers_are_kept() -> None:
    secret = read("v1", "Secret", text(2, entry("k", b"\x00\xff")) + num(5, 0))
    assert secret == {"data": {"k": base64.b64encode(b"\x00\xff").decode()}, "immutable": False}


def test_quantities_ports_and_zeroes() -> None:
    resources = text(1, entry("cpu", text(1, "500m"))) + text(2, entry("memory", text(1, "1Gi")))
    port = text(1, "http") + num(2, 0) + num(3, 8080) + text(4, "TCP")
    probe = text(1, text(2, text(1, "/") + text(2, num(1, 0) + num(2, 8080)))) + num(2, 3)
    named = text(1, text(2, text(2, num(1, 1) + text(3, "http"))))
    context = num(2, 0)
    container = (
        text(1, "main")
        + text(2, "web:1")
        + text(3, "run")
        + text(6, port)
        + text(8, resources)
        + text(10, probe)
        + text(11, named)
        + text(15, context)
        + num(18, 1)
    )
    pod = read("v1", "Pod", text(2, text(2, container) + num(4, 0) + text(10, "n1")))
    (shown,) = pod["spec"]["containers"]
    assert shown == {
        "name": "main",
        "image": "web:1",
        "command": ["run"],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "500m"}, "requests": {"memory": "1Gi"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": 8080}, "initialDelaySeconds": 3},
        "readinessProbe": {"httpGet": {"port": "http"}},
        "securityContext": {"privileged": False},
        "tty": True,
    }
    assert pod["spec"]["terminationGracePeriodSeconds"] == 0
    assert pod["spec"]["nodeName"] == "n1"
    codec.decode(msgspec.json.encode(pod), codec.types().of_kind(GroupVersionKind("", "v1", "Pod")))


def test_what_is_sent_as_a_message_counts_though_it_is_zero() -> None:
    zero, percent = num(1, 0) + num(2, 0), num(1, 1) + num(2, 0) + text(3, "20%")
    strategy = text(1, "RollingUpdate") + text(2, text(1, zero) + text(2, percent))
    shown = read("apps/v1", "DaemonSet", text(2, text(3, strategy)))
    assert shown["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "20%"}

    properties = text(29, entry("on", text(5, "boolean") + text(8, text(1, b"false"))))
    schema = text(1, text(5, "object") + text(30, num(1, 0)) + properties)
    version = text(1, "v1") + num(2, 1) + num(3, 1) + text(4, schema)
    raw = text(2, text(1, "example.com") + text(7, version))
    shown = read("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw)
    assert shown["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == {
        "type": "object",
        "additionalProperties": False,
        "properties": {"on": {"type": "boolean", "default": False}},
    }


def test_negative_numbers_are_ten_bytes() -> None:
    raw = text(2, num(1, -1 & (1 << 64) - 1))
    assert read("apps/v1", "Deployment", raw)["spec"]["replicas"] == -1


def test_repeated_numbers_come_packed_or_one_by_one() -> None:
    # spec.securityContext.supplementalGroups of a pod
    packed = text(2, text(14, text(4, varint(5) + varint(300))))
    single = text(2, text(14, num(4, 5) + num(4, 300)))
    for raw in (packed, single):
        context = read("v1", "Pod", raw)["spec"]["securityContext"]
        assert context["supplementalGroups"] == [5, 300]


def test_volume_sources_stand_beside_the_name() -> None:
    volume = text(1, "data") + text(2, text(2, text(1, "Memory")))
    (shown,) = read("v1", "Pod", text(2, text(1, volume)))["spec"]["volumes"]
    assert shown == {"name": "data", "emptyDir": {"medium": "Memory"}}


def test_micro_times_have_six_digits() -> None:
    lease = text(2, text(1, "me") + num(2, 40) + text(4, num(1, 1767225600) + num(2, 5000)))
    assert read("coordination.k8s.io/v1", "Lease", lease)["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 40,
        "renewTime": "2026-01-01T00:00:00.000005Z",
    }


def test_times_of_the_first_years_have_four_digits() -> None:
    """Go's zero time is in the year 1; clients that add to it send such moments."""
    seconds = -62135596800 + 2
    lease = text(2, text(3, num(1, seconds & (1 << 64) - 1)) + text(4, num(1, seconds & (1 << 64) - 1)))
    assert read("coordination.k8s.io/v1", "Lease", lease)["spec"] == {
        "acquireTime": "0001-01-01T00:00:02.000000Z",
        "renewTime": "0001-01-01T00:00:02.000000Z",
    }
    meta = text(1, text(8, num(1, seconds & (1 << 64) - 1)))
    assert read("v1", "Pod", meta)["metadata"] == {"creationTimestamp": "0001-01-01T00:00:02Z"}


def test_embedded_json() -> None:
    revision = text(1, text(1, "r")) + text(2, text(1, b'{"spec":{"a":[1]}}')) + num(3, 4)
    shown = read("apps/v1", "ControllerRevision", revision)
    assert (shown["data"], shown["revision"]) == ({"spec": {"a": [1]}}, 4)


def test_options_belong_to_every_group() -> None:
    raw = num(1, 0) + text(2, text(1, "u-1")) + text(4, "Foreground")
    for api_version in ("v1", "apps/v1"):
        assert read(api_version, "DeleteOptions", raw) == {
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u-1"},
            "propagationPolicy": "Foreground",
        }


def test_unknown_fields_are_passed_over() -> None:
    unknown = num(900, 7) + text(901, b"x") + varint(902 << 3 | 1) + struct.pack("<d", 1.0)
    unknown += varint(903 << 3 | 5) + b"abcd"
    assert read("v1", "ConfigMap", unknown + text(2, entry("k", "v"))) == {"data": {"k": "v"}}


def test_the_type_may_be_known_from_elsewhere() -> None:
    raw = MAGIC + text(2, text(2, entry("k", "v")))
    document = msgspec.json.decode(to_json(raw, GroupVersionKind("", "v1", "ConfigMap")))
    assert document["data"] == {"k": "v"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin"),
        (b"{}", "does not begin"),
        (MAGIC, "no protobuf form"),
        (body("v1", "Nothing", b""), "no protobuf form of Nothing"),
        (MAGIC + b"\x0a\xff", "ends in the middle"),
        (MAGIC + b"\x0a\x05ab", "ends in the middle of a field"),
        (MAGIC + b"\x0b", "wire type 3"),
        (body("v1", "ConfigMap", b"\xff" * 11), "ends in the middle of a number"),
        (body("v1", "ConfigMap", text(1, text(1, b"\xff"))), "not UTF-8"),
        (MAGIC + text(1, text(1, b"\xff")), "not UTF-8"),
        (body("v1", "ConfigMap", text(1, text(8, num(1, 1 << 62)))), "out of range"),
        (body("apps/v1", "ControllerRevision", text(2, text(1, b"{"))), "not JSON"),
        (body("v1", "ConfigMap", num(2, 5)), "wire type"),
        (body("v1", "Pod", text(2, num(2, 5))), "wire type"),
    ],
)
def test_bodies_that_are_no_objects(data: bytes, message: str) -> None:
    with pytest.raises(ProtobufError, match=message):
        to_json(data)


def test_nesting_has_an_end() -> None:
    schema = b""
    for _ in range(200):
        schema = text(28, text(1, schema)) if schema else text(5, "object")
    raw = text(2, text(7, text(4, text(1, schema))))
    with pytest.raises(ProtobufError):
        to_json(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw))


def _rows() -> dict[str, list[str]]:
    from importlib.resources import files

    lines = (files("sampan.schema") / "protobuf_numbers.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[0]: row[1:] for row in rows}


def test_every_number_names_a_published_field() -> None:
    table = protobuf._table()
    unknown = []
    for short, words in _rows().items():
        known = table[protobuf._full(short)]
        for word in words:
            name, _, number = word.rpartition("=")
            if int(number) not in known:
                unknown.append(f"{short} {name}")
    assert unknown == []


def test_no_number_stands_twice_in_a_message() -> None:
    for short, words in _rows().items():
        numbers = [word.rpartition("=")[2] for word in words]
        assert len(numbers) == len(set(numbers)), short


def test_every_served_kind_that_has_messages_has_all_its_fields() -> None:
    """What is published and has a message has a number, so that nothing a client sends is lost."""
    schemas, table = load(NEWEST).schemas, protobuf._table()
    missing = []
    for full, fields in table.items():
        inner = {f.name for f in fields.values() if not f.inline}
        for field in fields.values():
            if field.inline:
                inner |= _names_within(table, field.name)
        published = schemas.get(full, {}).get("properties", {})
        missing += [f"{full}.{name}" for name in published if name not in inner | {"kind", "apiVersion"}]
    assert missing == []


def _names_within(table: dict[str, Any], full: str) -> set[str]:
    found: set[str] = set()
    for field in table[full].values():
        found |= _names_within(table, field.name) if field.inline else {field.name}
    return found
