"""What metrics.k8s.io/v1beta1 answers: discovery, NodeMetrics and PodMetrics. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.machinery import selectors
from sampan.machinery.selectors import SelectorError
from sampan.observe import documents
from sampan.observe.documents import Answer, refusal
from sampan.observe.metrics.usage import Amount, PodRef, Usage

GROUP: Final = "metrics.k8s.io"
VERSION: Final = "v1beta1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
_ROOT: Final = f"/apis/{API_VERSION}"
_VERBS: Final = ["get", "list"]


class Objects(msgspec.Struct, frozen=True):
    """The labels of the nodes and pods that there are: metrics of nothing else are answered."""

    nodes: Mapping[str, Mapping[str, str]] = {}
    pods: Mapping[tuple[str, str], Mapping[str, str]] = {}


def answer(path: str, query: Mapping[str, str], usage: Usage, objects: Objects) -> Answer:
    """The answer to a GET."""
    discovery = {"/apis": _group_list, f"/apis/{GROUP}": _group, _ROOT: _resources}
    document = discovery.get(path.rstrip("/"))
    if document is not None:
        return Answer(200, document())
    parts = path.removeprefix(_ROOT).strip("/").split("/") if path.startswith(f"{_ROOT}/") else []
    try:
        match parts:
            case ["nodes"]:
                chosen = _chosen(usage.nodes, query, lambda name: objects.nodes.get(name))
                return _listed("NodeMetricsList", [_node(n, usage.nodes[n], objects) for n in chosen])
            case ["nodes", name]:
                if name in usage.nodes and name in objects.nodes:
                    return _one("NodeMetrics", _node(name, usage.nodes[name], objects))
                return _not_found("nodes", name)
            case ["pods"]:
                return _pods(query, usage, objects, "")
            case ["namespaces", namespace, "pods"]:
                return _pods(query, usage, objects, namespace)
            case ["namespaces", namespace, "pods", name]:
                return _one_pod(usage, objects, namespace, name)
    except SelectorError as problem:
        return refusal(400, "BadRequest", f"unable to parse requirement: {problem}")
    return refusal(404, "NotFound", documents.NOWHERE)


def _pods(query: Mapping[str, str], usage: Usage, objects: Objects, namespace: str) -> Answer:
    refs = {(ref.namespace, ref.name): ref for ref in usage.pods if namespace in ("", ref.namespace)}
    chosen = _chosen(refs, query, lambda key: objects.pods.get(key))
    items = [_pod(refs[key], usage.pods[refs[key]], objects) for key in chosen]
    return _listed("PodMetricsList", items)


def _one_pod(usage: Usage, objects: Objects, namespace: str, name: str) -> Answer:
    for ref, amounts in usage.pods.items():
        if (ref.namespace, ref.name) == (namespace, name) and (namespace, name) in objects.pods:
            return _one("PodMetrics", _pod(ref, amounts, objects))
    return _not_found("pods", f"{namespace}/{name}")


def _chosen(
    known: Iterable[Any], query: Mapping[str, str], labels: Callable[[Any], Mapping[str, str] | None]
) -> list[Any]:
    selector = selectors.parse(query.get("labelSelector", ""))
    field, _, value = query.get("fieldSelector", "").partition("=")
    named = value.lstrip("=") if field == "metadata.name" else ""

    def matches(key: Any) -> bool:
        found = labels(key)
        name = key[1] if isinstance(key, tuple) else key
        return found is not None and selector.matches(found) and named in ("", name)

    return sorted(key for key in known if matches(key))


def _node(name: str, amount: Amount, objects: Objects) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": _time(amount.at), "labels": objects.nodes[name]}
    return {"metadata": metadata, **_when(amount), "usage": _usage(amount)}


def _pod(ref: PodRef, amounts: Mapping[str, Amount], objects: Objects) -> dict[str, Any]:
    first = max(amounts.values(), key=lambda amount: amount.at)
    metadata = {
        "name": ref.name,
        "namespace": ref.namespace,
        "creationTimestamp": _time(first.at),
        "labels": objects.pods[ref.namespace, ref.name],
    }
    containers = [{"name": name, "usage": _usage(amount)} for name, amount in sorted(amounts.items())]
    return {"metadata": metadata, **_when(first), "containers": containers}


def _when(amount: Amount) -> dict[str, Any]:
    return {"timestamp": _time(amount.at), "window": f"{amount.window_s:.3f}s"}


def _time(moment: datetime) -> datetime:
    return kube_time(moment)


def _usage(amount: Amount) -> dict[str, str]:
    return {"cpu": f"{amount.cpu_nano}n", "memory": f"{amount.memory_bytes // 1024}Ki"}


def _type(kind: str) -> dict[str, str]:
    return {"kind": kind, "apiVersion": API_VERSION}


def _one(kind: str, shown: dict[str, Any]) -> Answer:
    return Answer(200, {**_type(kind), **shown})


def _listed(kind: str, items: list[dict[str, Any]]) -> Answer:
    return Answer(200, {**_type(kind), "metadata": {}, "items": items})


def _group() -> dict[str, Any]:
    return documents.group(GROUP, VERSION)


def _group_list() -> dict[str, Any]:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def _resources() -> dict[str, Any]:
    listed = [
        {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": _VERBS}
        for name, namespaced, kind in (("nodes", False, "NodeMetrics"), ("pods", True, "PodMetrics"))
    ]
    return documents.resources(API_VERSION, listed)


def _not_found(plural: str, name: str) -> Answer:
    return refusal(404, "NotFound", f'{plural}.{GROUP} "{name}" not found')
