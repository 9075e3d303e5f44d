"""Pods of one body, bound: what a binding made of the first of them is stamped out for those that follow.

A binding looks at a pod's spec, status and generation, and changes nothing in its metadata. So where the
bytes of a pod behind its metadata have been seen before, what becomes of them is known, but for the node's
name and the time; neither needs the pod to be decoded, checked and encoded again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sampan.apiserver.core.resource import Resource
from sampan.machinery.patch.apply import writers
from sampan.schema import api
from sampan.store.items import Item, stored

# Bodies that are remembered at once, and the largest of them: 8 MiB in all at most.
MAX_BODIES: Final = 512
MAX_BODY_BYTES: Final = 16 * 1024
# Between metadata and the rest. Within a string the quotes would have backslashes before them.
_SPEC: Final = b'},"spec":{'
_NODE: Final = "stands-where-the-name-of-a-node-comes"
# Stands where the time of the binding comes; nothing real happened in that year.
_NEVER: Final = datetime(1000, 1, 2, 3, 4, 5, tzinfo=UTC)
_SCHEDULED: Final = "PodScheduled"


class _Metadata(msgspec.Struct):
    uid: str = ""
    generation: int = 0
    deletionTimestamp: str = ""
    managedFields: msgspec.Raw = msgspec.Raw()


class _Head(msgspec.Struct):
    metadata: _Metadata


_head: Final = msgspec.json.Decoder(_Head)


class Body(msgspec.Struct, frozen=True):
    """All of a pod that decides what a binding makes of it."""

    generation: int
    rest: bytes


class Seen(msgspec.Struct, frozen=True):
    """A pod that is to be bound: its bytes up to its spec, as they are stored, and its body."""

    head: bytes
    body: Body


class _Stamp(msgspec.Struct, frozen=True):
    """What comes behind the metadata of a bound pod, in three parts; which gap is the node's name."""

    parts: tuple[bytes, bytes, bytes]
    node_first: bool


class BoundPods:
    """What bindings have made of the bodies seen last."""

    def __init__(self) -> None:
        # None for a body that has been seen once: most come only once, and a stamp is not made for them.
        self._stamps: dict[Body, _Stamp | None] = {}

    def look(self, item: Item, uid: str) -> Seen | None:
        """The pod as it is remembered; None where its binding has to be looked at by itself."""
        data = item.data
        if len(data) > MAX_BODY_BYTES:
            return None
        head, mark, rest = data.partition(_SPEC)
        if not mark:
            return None
        metadata = _head.decode(head + b"}}").metadata
        if metadata.deletionTimestamp or metadata.managedFields or (uid and uid != metadata.uid):
            return None
        return Seen(stored(head, writers.bound(item.owners)) + mark, Body(metadata.generation, rest))

    def out(self, seen: Seen, node: str, now: datetime) -> bytes | None:
        """The pod as it is stored once it is bound; None where that is not known."""
        stamp = self._stamps.get(seen.body)
        if stamp is None:
            return None
        first, second = msgspec.json.encode(node), msgspec.json.encode(now)
        if not stamp.node_first:
            first, second = second, first
        before, between, after = stamp.parts
        return b"".join((seen.head, before, first, between, second, after))

    def learn(self, seen: Seen, pods: Resource, pod: api.Pod, value: bytes) -> None:
        """Remember what a binding that did nothing else made of it: `pod`, which is stored as `value`."""
        if not value.startswith(seen.head):
            return  # its metadata changed too
        stamps = self._stamps
        if seen.body not in stamps:
            if len(stamps) >= MAX_BODIES:
                del stamps[next(iter(stamps))]
            stamps[seen.body] = None
        elif stamps[seen.body] is None:
            made = _cut(pods, pod)
            if made is not None:
                stamps[seen.body] = made


def _cut(pods: Resource, pod: api.Pod) -> _Stamp | None:
    """A stamp from a bound pod; None where something else in it is what should stand in a gap."""
    replace = msgspec.structs.replace
    conditions = [
        replace(each, lastTransitionTime=_NEVER) if each.type == _SCHEDULED else each
        for each in pod.status.conditions
    ]
    marked: Any = replace(
        pod,
        metadata=replace(pod.metadata),
        spec=replace(pod.spec, nodeName=_NODE),
        status=replace(pod.status, conditions=conditions),
    )
    _, _, rest = pods.encode(marked).partition(_SPEC)
    gaps = [msgspec.json.encode(_NODE), msgspec.json.encode(_NEVER)]
    if any(rest.count(gap) != 1 for gap in gaps):
        return None
    node_first = rest.index(gaps[0]) < rest.index(gaps[1])
    first, second = gaps if node_first else reversed(gaps)
    before, _, behind = rest.partition(first)
    between, _, after = behind.partition(second)
    return _Stamp((before, between, after), node_first)
