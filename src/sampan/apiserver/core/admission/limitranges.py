"""What LimitRanges make of a pod or a claim: the defaults they give, and what they do not allow.

Pure; follows plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sampan.kinds.core.resources import aggregate_container_limits, aggregate_container_requests
from sampan.machinery.quantity import Quantity

ANNOTATION: Final = "kubernetes.io/limit-ranger"
Amounts = Mapping[str, Quantity]


def give_defaults(pod: Any, limits: Any) -> None:
    """Fill in what the containers leave open, and note it in the pod's annotation."""
    requests: dict[str, Quantity] = {}
    most: dict[str, Quantity] = {}
    for item in limits.spec.limits:
        if item.type == "Container":
            requests.update(item.defaultRequest)
            most.update(item.default)
    if not requests and not most:
        return
    spec, notes = pod.spec, []
    for what, containers in (("container", spec.containers), ("init container", spec.initContainers)):
        for container in containers:
            given = _merge(container.resources.requests, requests)
            if given:
                notes.append(f"{', '.join(given)} request for {what} {container.name}")
            given = _merge(container.resources.limits, most)
            if given:
                notes.append(f"{', '.join(given)} limit for {what} {container.name}")
    if notes:
        pod.metadata.annotations[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"


def _merge(own: dict[str, Quantity], defaults: Amounts) -> list[str]:
    given = sorted(name for name in defaults if name not in own)
    for name in given:
        own[name] = defaults[name]
    return given


def pod_errors(pod: Any, limits: Any) -> Iterator[str]:
    """What one LimitRange has against a pod."""
    spec = pod.spec
    for item in limits.spec.limits:
        if item.type == "Container":
            for container in (*spec.containers, *spec.initContainers):
                resources = container.resources
                yield from _errors(item, "Container", resources.requests, resources.limits)
        elif item.type == "Pod":
            whole = spec.resources
            requests, most = aggregate_container_requests(spec), aggregate_container_limits(spec)
            if whole is not None:
                requests, most = requests | whole.requests, most | whole.limits
            yield from _errors(item, "Pod", requests, most)


def claim_errors(claim: Any, limits: Any) -> Iterator[str]:
    """What one LimitRange has against a PersistentVolumeClaim."""
    requests = claim.spec.resources.requests if claim.spec.resources is not None else {}
    for item in limits.spec.limits:
        if item.type != "PersistentVolumeClaim":
            continue
        for name, least in item.min.items():
            yield from _least(name, "PersistentVolumeClaim", least, requests, {})
        for name, most in item.max.items():
            start = f"maximum {name} usage per PersistentVolumeClaim is {most}"
            asked = requests.get(name)
            if asked is None:
                yield f"{start}.  No request is specified"
            elif asked.value > most.value:
                yield f"{start}, but request is {asked}"


def _errors(item: Any, type: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in item.min.items():
        yield from _least(name, type, least, requests, limits)
    for name, most in item.max.items():
        yield from _most(name, type, most, requests, limits)
    for name, ratio in item.maxLimitRequestRatio.items():
        yield from _ratio(name, type, ratio, requests, limits)


def _least(name: str, type: str, least: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"minimum {name} usage per {type} is {least}"
    asked, most = requests.get(name), limits.get(name)
    if asked is None:
        yield f"{start}.  No request is specified"
    elif asked.value < least.value:
        yield f"{start}, but request is {asked}"
    elif most is not None and most.value < least.value:
        yield f"{start}, but limit is {most}"


def _most(name: str, type: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"maximum {name} usage per {type} is {most}"
    asked, limit = requests.get(name), limits.get(name)
    if limit is None:
        yield f"{start}.  No limit is specified"
    elif limit.value > most.value:
        yield f"{start}, but limit is {limit}"
    elif asked is not None and asked.value > most.value:
        yield f"{start}, but request is {asked}"


def _ratio(name: str, type: str, ratio: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"{name} max limit to request ratio per {type} is {ratio}"
    asked, limit = requests.get(name), limits.get(name)
    if asked is None or not asked.value:
        yield f"{start}, but no request is specified or request is 0"
    elif limit is None or not limit.value:
        yield f"{start}, but no limit is specified or limit is 0"
    elif limit.value / asked.value > ratio.value:
        yield f"{start}, but provided ratio is {limit.value / asked.value:.6f}"
