"""Whether a webhook or policy wants to see a write: rules, namespace selector, object selector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.admission.dynamic.subject import Subject
from sampan.apiserver.core.resource import Resource
from sampan.machinery import selectors
from sampan.machinery.selectors import Selector

GROUP: Final = "admissionregistration.k8s.io"
# Nothing that is configured here may stand in the way of removing it.
EXEMPT: Final = frozenset(
    {
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    }
)


def is_exempt(subject: Subject) -> bool:
    kind = subject.resource.kind
    return kind.group == GROUP and kind.plural in EXEMPT


class Matcher:
    """Rules and selectors of one webhook, policy or binding, ready to be asked."""

    def __init__(self, match: Any, rules: Sequence[Any], excluded: Sequence[Any] = ()) -> None:
        self._rules = rules
        self._excluded = excluded
        self._equivalent = match.matchPolicy != "Exact"
        self._namespaces: Selector = selectors.from_label_selector(match.namespaceSelector or _EVERYTHING)
        self._objects: Selector = selectors.from_label_selector(match.objectSelector or _EVERYTHING)

    def matches(self, subject: Subject) -> Resource | None:
        """The version in which the write is to be shown; None where it is not to be. Raises 404."""
        if not self._object_matches(subject):
            return None
        if self._excluded and self._by_rules(subject, self._excluded) is not None:
            return None
        # A policy's binding without rules takes whatever its policy takes.
        version = self._by_rules(subject, self._rules) if self._rules else subject.served
        if version is None or not self._namespace_matches(subject):
            return None
        return version

    def _by_rules(self, subject: Subject, rules: Sequence[Any]) -> Resource | None:
        for rule in rules:
            if _rule_matches(rule, subject, subject.served):
                return subject.served
        if self._equivalent:
            for version in subject.versions()[1:]:
                if any(_rule_matches(rule, subject, version) for rule in rules):
                    return version
        return None

    def _object_matches(self, subject: Subject) -> bool:
        if self._objects.empty:
            return True
        return any(labels is not None and self._objects.matches(labels) for labels in subject.labels())

    def _namespace_matches(self, subject: Subject) -> bool:
        if self._namespaces.empty or not subject.namespace:
            return True
        namespace = subject.namespace_object()
        if namespace is None:
            if subject.is_namespace:
                return True
            raise status.StatusError(
                404,
                "NotFound",
                f'namespaces "{subject.namespace}" not found',
                {"name": subject.namespace, "kind": "namespaces"},
            )
        return self._namespaces.matches(namespace.metadata.labels)


_EVERYTHING: Final[dict[str, Any]] = {"matchLabels": {}, "matchExpressions": []}


def _rule_matches(rule: Any, subject: Subject, version: Resource) -> bool:
    kind = version.kind
    names = getattr(rule, "resourceNames", None)
    return (
        _has(rule.operations, subject.operation)
        and _has(rule.apiGroups, kind.group)
        and _has(rule.apiVersions, kind.version)
        and any(_resource_matches(each, kind.plural, subject.subresource) for each in rule.resources)
        and _scope_matches(rule.scope, subject)
        and (not names or subject.name in names)
    )


def _has(values: Sequence[str], value: str) -> bool:
    return value in values or "*" in values


def _resource_matches(rule: str, plural: str, subresource: str) -> bool:
    resource, _, part = rule.partition("/")
    return resource in ("*", plural) and part in ("*", subresource)


def _scope_matches(scope: str | None, subject: Subject) -> bool:
    if scope == "Namespaced":
        return not subject.cluster_scoped
    return scope != "Cluster" or subject.cluster_scoped
