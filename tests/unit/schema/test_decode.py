from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from sampan.schema import api, codec
from sampan.schema.decode import MAX_PROBLEMS, DecodeFailure, decode_object, problems
from sampan.schema.definitions import GroupVersionKind
from tests.shared import shared

POD = GroupVersionKind("", "v1", "Pod")


def test_a_good_body_has_no_problems() -> None:
    pod, found = decode_object(
        b'{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}}', api.Pod, POD
    )
    assert found == []
    assert (pod.apiVersion, pod.kind, pod.metadata.name) == ("v1", "Pod", "a")


def test_the_type_is_filled_only_with_its_own_kind() -> None:
    binding, _ = decode_object(b'{"target":{}}', api.Binding, POD)
    assert not binding.kind


def test_unknown_fields_are_named_in_order() -> None:
    containers = b'[{"name":"a","x":{}},{"name":"b"}]'
    body = b'{"spec":{"foo":1,"containers":%s},"metadata":{"labels":{"ok":"1"}},"y":0}' % containers
    pod, found = decode_object(body, api.Pod, POD)
    assert found == [
        'unknown field "spec.foo"',
        'unknown field "spec.containers[0].x"',
        'unknown field "y"',
    ]
    assert [c.name for c in pod.spec.containers] == ["a", "b"]
    assert decode_object(body, api.Pod, POD, strict=False)[1] == []


def test_repeated_keys_are_named_and_the_last_counts() -> None:
    metadata = b'{"name":"a","labels":{"x":"1","x":"2"},"name":"b"}'
    body = b'{"metadata":' + metadata + b',"spec":{"containers":[{"name":"c","name":"d"}]}}'
    pod, found = decode_object(body, api.Pod, POD)
    assert found == [
        'duplicate field "metadata.name"',
        'duplicate field "metadata.labels.x"',
        'duplicate field "spec.containers[0].name"',
    ]
    assert pod.metadata.name == "b"


def test_spaces_and_escapes_are_no_repetition() -> None:
    assert problems(b'{ "metadata" : { "name" : "a\\u002fb" } }', api.Pod) == []


def test_problems_are_bounded() -> None:
    body = json.dumps({f"x{n}": 1 for n in range(500)}).encode()
    assert len(problems(body, api.Pod)) == MAX_PROBLEMS


def test_null_is_absent() -> None:
    container = b'{"name":"a","image":null,"ports":null}'
    body = b'{"metadata":{"labels":null,"name":null},"spec":{"containers":[' + container + b"]}}"
    pod, found = decode_object(body, api.Pod, POD)
    assert found == []
    assert pod == decode_object(b'{"spec":{"containers":[{"name":"a"}]}}', api.Pod, POD)[0]


def test_null_in_lists_and_maps_is_the_zero_value() -> None:
    body = b'{"metadata":{"labels":{"a":null},"finalizers":[null]},"spec":{"containers":[null]}}'
    pod, _ = decode_object(body, api.Pod, POD)
    assert pod.metadata.labels == {"a": ""}
    assert pod.metadata.finalizers == [""]
    assert pod.spec.containers == [api.Container()]


def test_free_form_parts_keep_their_nulls() -> None:
    body = b'{"metadata":{"labels":null},"data":{"a":null},"revision":1}'
    revision, _ = decode_object(body, api.ControllerRevision)
    assert revision.data == {"a": None}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b'{"spec":{"containers":"x"}}',
            "json: cannot unmarshal string into Go struct field "
            "PodSpec.spec.containers of type []v1.Container",
        ),
        (
            b'{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}',
            "json: cannot unmarshal number into Go struct field "
            "EnvVar.spec.containers.env.value of type string",
        ),
        (
            b'{"metadata":{"labels":{"a":true}}}',
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            b'{"spec":{"terminationGracePeriodSeconds":1.5}}',
            "json: cannot unmarshal number 1.5 into Go struct field "
            "PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            b'{"spec":{"containers":[{"ports":[{"containerPort":99999999999}]}]}}',
            "json: cannot unmarshal number 99999999999 into Go struct field "
            "ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            b'{"metadata":{"creationTimestamp":"yesterday"}}',
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            b'{"metadata":{"creationTimestamp":"2024-01-01T00:00:00"}}',
            'parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": '
            'cannot parse "2024-01-01T00:00:00" as "2006"',
        ),
        (
            b'{"spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}',
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (b'{"a":' * 100_000, "exceeded max depth"),
    ],
)
def test_wrong_types_are_reported_in_the_words_of_go(body: bytes, message: str) -> None:
    with pytest.raises(DecodeFailure) as refused:
        decode_object(body, api.Pod, POD)
    assert str(refused.value) == message


def test_what_is_not_json() -> None:
    with pytest.raises(DecodeFailure, match=r"^couldn't get version/kind; json parse error: "):
        decode_object(b"{", api.Pod, POD)
    with pytest.raises(DecodeFailure):
        decode_object(b'"\xff"', api.Pod, POD)


def test_base64() -> None:
    secret, _ = decode_object(b'{"data":{"a":"aGk=\\n"}}', api.Secret)
    assert secret.data == {"a": b"hi"}
    with pytest.raises(DecodeFailure, match="illegal base64 data at input byte 2"):
        decode_object(b'{"data":{"a":"aG!="}}', api.Secret)


def test_types_that_are_not_published() -> None:
    class Mine(msgspec.Struct):
        x: int = 0

    assert decode_object(b'{"x":1,"y":2}', Mine) == (Mine(1), [])
    with pytest.raises(DecodeFailure):
        decode_object(b'{"x":"1"}', Mine)


def test_times_have_a_zone() -> None:
    body = b'{"metadata":{"creationTimestamp":"2024-01-01T00:00:00Z"}}'
    assert codec.decode(body, api.Pod).metadata.creationTimestamp == datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(msgspec.ValidationError):
        codec.decode(body.replace(b"Z", b""), api.Pod)


def test_every_fixture_decodes_without_a_problem() -> None:
    types = codec.types()
    seen = 0
    for path in sorted(shared("corpus/api-fixtures").glob("*.json")):
        body = path.read_bytes()
        head = json.loads(body)
        group, _, version = head.get("apiVersion", "").rpartition("/")
        gvk = GroupVersionKind(group, version, head.get("kind", ""))
        if gvk not in types.definitions.by_gvk:
            continue
        obj, found = decode_object(body, types.of_kind(gvk), gvk)
        assert found == [], path.name
        assert decode_object(codec.encode(obj), types.of_kind(gvk), gvk) == (obj, []), path.name
        seen += 1
    assert seen > 90
