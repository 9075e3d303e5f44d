"""Reads what autoscalers measure: the scale subresource, and the metrics APIs of Kubernetes.

metrics.k8s.io/v1beta1 gives the usage of pods, custom.metrics.k8s.io/v1beta2 what is measured about pods and
other objects, external.metrics.k8s.io/v1beta1 what lies outside the cluster. All that fails becomes a
sentence in a `Reading` or `Target`; nothing is raised.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from sampan.client.client import Client
from sampan.client.discovery import Discovery, UnknownKind
from sampan.client.errors import ApiError
from sampan.controllers.horizontalpodautoscaler.readings import PodReading, Reading, Target
from sampan.machinery import durations, selectors
from sampan.machinery.quantity import quantity
from sampan.schema import api

RESOURCE: Final = "/apis/metrics.k8s.io/v1beta1"
CUSTOM: Final = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL: Final = "/apis/external.metrics.k8s.io/v1beta1"
Troubles = (ApiError, ConnectionError, TimeoutError, UnknownKind, msgspec.DecodeError, ValueError)


class Meta(msgspec.Struct):
    """What an object of the metrics APIs is about."""

    name: str = ""


class ContainerUsage(msgspec.Struct):
    """What a container uses, by resource."""

    name: str
    usage: dict[str, str] = {}


class PodMetrics(msgspec.Struct):
    """PodMetrics of metrics.k8s.io."""

    metadata: Meta
    containers: list[ContainerUsage] = []
    timestamp: datetime | None = None
    window: str = ""


class _PodMetricsList(msgspec.Struct):
    items: list[PodMetrics] = []


class _Value(msgspec.Struct, rename="camel"):
    """An item of a MetricValueList or of an ExternalMetricValueList."""

    value: str
    described_object: Meta = msgspec.field(default_factory=Meta)
    timestamp: datetime | None = None
    window_seconds: float | None = None


class _Values(msgspec.Struct):
    items: list[_Value] = []


async def target_of(client: Client, discovery: Discovery, hpa: Any) -> Target:
    """The scale of what the autoscaler names."""
    ref, namespace = hpa.spec.scaleTargetRef, hpa.metadata.namespace
    try:
        resource = await discovery.resource(ref.apiVersion or "v1", ref.kind)
        scale = await client.read(resource.path(namespace, ref.name, "scale"), api.Scale)
    except Troubles as problem:
        return Target(error=str(problem))
    return Target(
        api_version=resource.api_version,
        kind=resource.kind,
        uid=scale.metadata.uid or "",
        replicas=scale.spec.replicas or 0,
        current=scale.status.replicas,
        selector=scale.status.selector or "",
    )


async def readings_of(client: Client, discovery: Discovery, hpa: Any, selector: str) -> tuple[Reading, ...]:
    """One reading for each of the autoscaler's metrics, in their order."""
    return tuple(
        await asyncio.gather(
            *(_read(client, discovery, hpa.metadata.namespace, spec, selector) for spec in hpa.spec.metrics)
        )
    )


async def _read(client: Client, discovery: Discovery, namespace: str, spec: Any, selector: str) -> Reading:
    try:
        match spec.type:
            case "Resource":
                return await _usage(client, namespace, selector, spec.resource.name, "")
            case "ContainerResource":
                source = spec.containerResource
                return await _usage(client, namespace, selector, source.name, source.container)
            case "Pods":
                return await _pods(client, namespace, selector, spec.pods.metric)
            case "Object":
                return await _object(client, discovery, namespace, spec.object)
            case "External":
                return await _external(client, namespace, spec.external.metric)
    except Troubles as problem:
        return Reading(error=f"{_UNABLE[spec.type]}: {problem}")
    return Reading(error=f"unknown metric source type {spec.type!r}")


_UNABLE: Final = {
    "Resource": "unable to fetch metrics from resource metrics API",
    "ContainerResource": "unable to fetch metrics from resource metrics API",
    "Pods": "unable to fetch metrics from custom metrics API",
    "Object": "unable to fetch metrics from custom metrics API",
    "External": "unable to fetch metrics from external metrics API",
}


async def usage_of_pods(client: Client, namespace: str, selector: str) -> list[PodMetrics]:
    """What the selected pods use now. Raises ApiError where nobody serves metrics."""
    query = {"labelSelector": selector}
    found = await client.read(f"{RESOURCE}/namespaces/{namespace}/pods", _PodMetricsList, query)
    return found.items


async def _usage(client: Client, namespace: str, selector: str, resource: str, container: str) -> Reading:
    pods = {}
    for one in await usage_of_pods(client, namespace, selector):
        counted = [c for c in one.containers if not container or c.name == container]
        if not counted or any(resource not in c.usage for c in counted):
            continue  # as upstream: a pod counts only where each of its containers was measured
        total_m = sum(quantity(c.usage[resource]).milli() for c in counted)
        pods[one.metadata.name] = PodReading(total_m, one.timestamp, seconds(one.window))
    return Reading(pods) if pods else Reading(error="no metrics returned from resource metrics API")


async def _pods(client: Client, namespace: str, selector: str, metric: Any) -> Reading:
    query = {"labelSelector": selector} | _metric_selector(metric, "metricLabelSelector")
    path = f"{CUSTOM}/namespaces/{namespace}/pods/*/{quote(metric.name, safe='')}"
    found = await client.read(path, _Values, query)
    pods = {
        one.described_object.name: PodReading(
            quantity(one.value).milli(), one.timestamp, one.window_seconds or 60.0
        )
        for one in found.items
    }
    return Reading(pods) if pods else Reading(error="no metrics returned from custom metrics API")


async def _object(client: Client, discovery: Discovery, namespace: str, source: Any) -> Reading:
    about, metric = source.describedObject, quote(source.metric.name, safe="")
    if about.kind == "Namespace":
        path = f"{CUSTOM}/namespaces/{about.name}/metrics/{metric}"
    else:
        resource = await discovery.resource(about.apiVersion or "v1", about.kind)
        group = resource.group
        plural = f"{resource.plural}.{group}" if group else resource.plural
        within = f"/namespaces/{namespace}" if resource.namespaced else ""
        path = f"{CUSTOM}{within}/{plural}/{about.name}/{metric}"
    found = await client.read(path, _Values, _metric_selector(source.metric, "metricLabelSelector"))
    if not found.items:
        return Reading(error="no metrics returned from custom metrics API")
    return Reading(amount_m=quantity(found.items[0].value).milli())


async def _external(client: Client, namespace: str, metric: Any) -> Reading:
    path = f"{EXTERNAL}/namespaces/{namespace}/{quote(metric.name, safe='')}"
    found = await client.read(path, _Values, _metric_selector(metric, "labelSelector"))
    if not found.items:
        return Reading(error="no metrics returned from external metrics API")
    return Reading(amount_m=sum(quantity(one.value).milli() for one in found.items))


def _metric_selector(metric: Any, parameter: str) -> dict[str, str]:
    if metric.selector is None:
        return {}
    return {parameter: str(selectors.from_label_selector(metric.selector))}


def seconds(duration: str) -> float:
    """The seconds of a Go duration such as `1m30s`; 0 for what is none."""
    try:
        return durations.parse_s(duration)
    except durations.DurationError:
        return 0.0
