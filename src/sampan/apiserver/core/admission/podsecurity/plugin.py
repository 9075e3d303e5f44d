"""PodSecurity: the labels of a namespace decide what pods may ask of their node there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.admission.podsecurity import policy
from sampan.apiserver.core.admission.podsecurity.policy import Policy, Standard, findings, sentence
from sampan.apiserver.core.context import Attributes, Context
from sampan.apiserver.core.resource import Resources
from sampan.machinery import field
from sampan.machinery.field import Path
from sampan.schema import api

# How many pods of a namespace are looked at when its labels become stricter (as Kubernetes).
CHECKED_PODS: Final = 3000
CACHED_POLICIES: Final = 4096
_MARK: Final = policy.PREFIX.encode()
_WITH_TEMPLATES: Final = frozenset(
    {"ReplicationController", "ReplicaSet", "Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob",
     "PodTemplate"}
)  # fmt: skip
_LABELS: Final = Path("metadata.labels")


class Exemptions(msgspec.Struct, frozen=True):
    """Who and what is never checked."""

    usernames: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


class PodSecurity:
    """Enforces, and warns about, the Pod Security Standards."""

    kinds: frozenset[str] = _WITH_TEMPLATES | {"Pod", "Namespace"}
    reads: tuple[type[Any], ...] = (api.Namespace,)
    changes_nothing = True

    def __init__(
        self, resources: Resources, defaults: Policy = policy.NONE, exempt: Exemptions | None = None
    ) -> None:
        self._namespaces = resources.of(api.Namespace)
        self._pods = resources.of(api.Pod)
        self._defaults = defaults
        self._exempt = exempt or Exemptions()
        self._policies: dict[str, tuple[int, Policy]] = {}

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        if attributes.verb == "delete":
            return
        kind = attributes.context.resource.kind.kind
        if kind == "Pod":
            self._pod(attributes)
        elif kind == "Namespace":
            if attributes.subresource in ("", "finalize"):
                self._namespace(attributes)
        elif not attributes.subresource:
            self._template(attributes)

    # -- pods ----------------------------------------------------------------------------------------

    def _pod(self, attributes: Attributes) -> None:
        if attributes.subresource not in ("", "ephemeralcontainers", "resize"):
            return
        asked = self._policy(attributes.namespace)
        if asked.is_idle or self._is_exempt(attributes.context, attributes.namespace, attributes.obj.spec):
            return
        pod, old = attributes.obj, attributes.old
        if old is not None and not _is_significant(pod, old):
            return
        context = attributes.context
        found = findings(asked.enforce, pod.metadata, pod.spec)
        if found:
            raise status.forbidden(
                context.resource.kind, pod.metadata.name or "", sentence(asked.enforce, found)
            )
        self._advise(asked, pod.metadata, pod.spec, context)

    def _template(self, attributes: Attributes) -> None:
        """Controllers' pods are refused when they come; here is told beforehand."""
        asked = self._policy(attributes.namespace)
        if asked.warn.level == policy.PRIVILEGED and asked.audit.level == policy.PRIVILEGED:
            return
        template = _template_of(attributes.obj)
        if template is None or self._is_exempt(attributes.context, attributes.namespace, template.spec):
            return
        self._advise(asked, template.metadata, template.spec, attributes.context)

    def _advise(self, asked: Policy, metadata: Any, spec: Any, context: Context) -> None:
        if asked.warn.level != policy.PRIVILEGED:
            found = findings(asked.warn, metadata, spec)
            if found:
                context.warn(f"would {sentence(asked.warn, found).replace('violates', 'violate', 1)}")

    def _is_exempt(self, context: Context, namespace: str, spec: Any) -> bool:
        exempt = self._exempt
        return (
            namespace in exempt.namespaces
            or context.user.name in exempt.usernames
            or (spec is not None and spec.runtimeClassName in exempt.runtime_classes)
        )

    def _policy(self, namespace: str) -> Policy:
        item = self._namespaces.cache.get("", namespace)
        if item is None or _MARK not in item.data:
            return self._defaults
        known = self._policies.get(namespace)
        if known is not None and known[0] == item.revision:
            return known[1]
        found = policy.parse(item.labels, self._defaults)[0]
        if len(self._policies) >= CACHED_POLICIES:
            self._policies.clear()
        self._policies[namespace] = (item.revision, found)
        return found

    # -- namespaces ----------------------------------------------------------------------------------

    def _namespace(self, attributes: Attributes) -> None:
        labels = attributes.obj.metadata.labels
        asked, errors = policy.parse(labels, self._defaults)
        name, old = attributes.obj.metadata.name or "", attributes.old
        if old is None:
            self._refuse_labels(attributes, errors)
            if name in self._exempt.namespaces:
                self._warn_of_exemption(attributes.context, asked, name)
            return
        before, errors_before = policy.parse(old.metadata.labels, self._defaults)
        self._refuse_labels(attributes, [error for error in errors if error not in errors_before])
        if asked.enforce == before.enforce or asked.enforce.level == policy.PRIVILEGED:
            return
        if name in self._exempt.namespaces:
            self._warn_of_exemption(attributes.context, asked, name)
            return
        is_looser = policy.LEVELS.index(asked.enforce.level) < policy.LEVELS.index(before.enforce.level)
        if asked.enforce.version == before.enforce.version and is_looser:
            return
        for text in self._violators(asked.enforce, name):
            attributes.context.warn(text)

    def _refuse_labels(self, attributes: Attributes, errors: list[policy.LabelError]) -> None:
        if errors:
            wrong = [field.invalid(_LABELS.key(e.label), e.value, e.detail) for e in errors]
            kind = attributes.context.resource.kind
            raise status.invalid(kind, attributes.obj.metadata.name or "", wrong)

    def _warn_of_exemption(self, context: Context, asked: Policy, name: str) -> None:
        if not asked.is_idle:
            listed = ", ".join(f"{mode}={level}" for mode, level in asked._asdict().items())
            context.warn(
                f'namespace "{name}" is exempt from Pod Security, and the policy ({listed}) will be ignored'
            )

    def _violators(self, standard: Standard, namespace: str) -> list[str]:
        """A warning for each set of reasons, and the pods that it is about."""
        pods_by_reasons: dict[str, list[str]] = defaultdict(list)
        for item in self._pods.cache.items(namespace)[:CHECKED_PODS]:
            pod = self._pods.decode_stored(item.data)
            found = findings(standard, pod.metadata, pod.spec)
            if found:
                pods_by_reasons[", ".join(each.reason for each in found)].append(item.name)
        if not pods_by_reasons:
            return []
        title = (
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
        )
        return [title, *(f"{_some(pods)}: {why}" for why, pods in sorted(pods_by_reasons.items()))]


def _some(pods: list[str]) -> str:
    more = len(pods) - 1
    if not more:
        return pods[0]
    return f"{pods[0]} (and {more} other pod{'s' if more > 1 else ''})"


def _template_of(obj: Any) -> Any | None:
    if obj.kind == "CronJob":
        return obj.spec.jobTemplate.spec.template
    return obj.template if obj.kind == "PodTemplate" else obj.spec.template


def _is_significant(pod: Any, old: Any) -> bool:
    """Whether an update changed anything that the standard could speak of."""

    def seen(each: Any) -> Any:
        spec = each.spec
        containers = tuple(
            (
                c.name,
                c.securityContext,
                c.ports,
                c.livenessProbe,
                c.readinessProbe,
                c.startupProbe,
                c.lifecycle,
            )
            for c in (*spec.initContainers, *spec.containers, *spec.ephemeralContainers)
        )
        return containers, spec.securityContext, spec.volumes, spec.hostNetwork, spec.hostPID, spec.hostIPC

    def annotations(each: Any) -> Mapping[str, str]:
        return {k: v for k, v in each.metadata.annotations.items() if ".security." in k or "seccomp" in k}

    return bool(seen(pod) != seen(old) or annotations(pod) != annotations(old))
