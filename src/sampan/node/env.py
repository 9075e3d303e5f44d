"""The environment of a container: services, envFrom, env with references between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sampan.node.errors import ConfigError
from sampan.node.expansion import expand
from sampan.node.fields import field_value, resource_value
from sampan.node.model import NodeFacts
from sampan.schema import api


class EnvSources(msgspec.Struct, frozen=True, kw_only=True):
    """What environments are made from. ConfigMaps and Secrets of the pod's namespace that exist, by name."""

    config_maps: Mapping[str, api.ConfigMap] = msgspec.field(default_factory=dict)
    secrets: Mapping[str, api.Secret] = msgspec.field(default_factory=dict)
    services: Mapping[str, str] = msgspec.field(default_factory=dict)


class EnvNeeds(msgspec.Struct, frozen=True):
    """The names of the objects that a container's environment refers to."""

    config_maps: frozenset[str]
    secrets: frozenset[str]


def env_needs(container: api.Container) -> EnvNeeds:
    """Which ConfigMaps and Secrets have to be read before `container_env`."""
    maps, secrets = set(), set()
    for source in container.envFrom:
        if source.configMapRef is not None:
            maps.add(source.configMapRef.name or "")
        if source.secretRef is not None:
            secrets.add(source.secretRef.name or "")
    for var in container.env:
        if var.valueFrom is not None and var.valueFrom.configMapKeyRef is not None:
            maps.add(var.valueFrom.configMapKeyRef.name or "")
        if var.valueFrom is not None and var.valueFrom.secretKeyRef is not None:
            secrets.add(var.valueFrom.secretKeyRef.name or "")
    return EnvNeeds(frozenset(maps), frozenset(secrets))


def container_env(
    pod: api.Pod,
    container: api.Container,
    sources: EnvSources,
    node: NodeFacts,
    pod_ips: tuple[str, ...],
) -> dict[str, str]:
    """Every variable of the container: later sources win, `env` wins over `envFrom`, both over services.

    Raises ConfigError with kubelet's words where a ConfigMap, a Secret or a key that is not optional is
    missing.
    """
    own: dict[str, str] = {}
    for source in container.envFrom:
        own.update(_from_source(source, sources))
    known = dict(sources.services) | own
    for var in container.env:
        value = _value(pod, container, var, sources, node, pod_ips, known)
        if value is not None:
            own[var.name] = known[var.name] = value
    return dict(sources.services) | own


def _from_source(source: api.EnvFromSource, sources: EnvSources) -> dict[str, str]:
    prefix = source.prefix or ""
    if source.configMapRef is not None:
        name = source.configMapRef.name or ""
        found = sources.config_maps.get(name)
        if found is None:
            return _missing(f'configmap "{name}" not found', source.configMapRef.optional)
        values = found.data
    elif source.secretRef is not None:
        name = source.secretRef.name or ""
        secret = sources.secrets.get(name)
        if secret is None:
            return _missing(f'secret "{name}" not found', source.secretRef.optional)
        values = {key: value.decode(errors="replace") for key, value in secret.data.items()}
    else:
        return {}
    return {prefix + key: value for key, value in values.items() if _is_name(prefix + key)}


def _missing(message: str, optional: bool | None) -> dict[str, str]:
    if optional:
        return {}
    raise ConfigError(message)


def _is_name(name: str) -> bool:
    return bool(name) and "=" not in name and all(" " <= c <= "~" for c in name)


def _value(
    pod: api.Pod,
    container: api.Container,
    var: api.EnvVar,
    sources: EnvSources,
    node: NodeFacts,
    pod_ips: tuple[str, ...],
    known: Mapping[str, str],
) -> str | None:
    source = var.valueFrom
    if source is None or var.value:
        return expand(var.value or "", known)
    if source.fieldRef is not None:
        return field_value(pod, source.fieldRef.fieldPath, node, pod_ips)
    if source.resourceFieldRef is not None:
        return resource_value(pod, source.resourceFieldRef, container.name, node)
    namespace = pod.metadata.namespace or ""
    if source.configMapKeyRef is not None:
        return _config_map_key(source.configMapKeyRef, sources, namespace)
    if source.secretKeyRef is not None:
        return _secret_key(source.secretKeyRef, sources, namespace)
    raise ConfigError(f"environment variable {var.name} has a source that this node does not support")


def _config_map_key(ref: api.ConfigMapKeySelector, sources: EnvSources, namespace: str) -> str | None:
    found = sources.config_maps.get(ref.name or "")
    if found is None:
        if ref.optional:
            return None
        raise ConfigError(f'configmap "{ref.name}" not found')
    value = found.data.get(ref.key)
    if value is None and not ref.optional:
        raise ConfigError(f"couldn't find key {ref.key} in ConfigMap {namespace}/{ref.name}")
    return value


def _secret_key(ref: api.SecretKeySelector, sources: EnvSources, namespace: str) -> str | None:
    found = sources.secrets.get(ref.name or "")
    if found is None:
        if ref.optional:
            return None
        raise ConfigError(f'secret "{ref.name}" not found')
    value = found.data.get(ref.key)
    if value is None:
        if ref.optional:
            return None
        raise ConfigError(f"couldn't find key {ref.key} in Secret {namespace}/{ref.name}")
    return value.decode(errors="replace")
