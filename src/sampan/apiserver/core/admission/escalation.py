"""Nobody gives away rights that he does not have: the escalation and bind checks of RBAC.

Follows pkg/registry/rbac: writing a role needs all that the role allows, or the verb `escalate` on it;
writing a binding needs all that the role allows, or the verb `bind` on the role.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.authz import Access, Authorizer, Rule, compile_rule
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.users import MASTERS
from sampan.schema import api

_GROUP: Final = "rbac.authorization.k8s.io"
_ROLES: Final = frozenset({"Role", "ClusterRole"})
_BINDINGS: Final = frozenset({"RoleBinding", "ClusterRoleBinding"})


_EVERYTHING: Final = [
    api.PolicyRule(apiGroups=["*"], resources=["*"], verbs=["*"]),
    api.PolicyRule(nonResourceURLs=["*"], verbs=["*"]),
]


class RightsOfWriters:
    """Refuses roles and bindings that hold more than their writer has."""

    kinds: frozenset[str] = _ROLES | _BINDINGS
    reads: tuple[type[Any], ...] = (api.ClusterRole, api.Role)

    def __init__(self, resources: Resources, authorizer: Authorizer) -> None:
        self._cluster_roles = resources.of(api.ClusterRole)
        self._roles = resources.of(api.Role)
        self._authorizer = authorizer

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        user, kind = attributes.context.user, attributes.context.resource.kind
        if attributes.verb == "delete" or MASTERS in user.groups:
            return
        old, new = attributes.old, attributes.obj
        if kind.kind in _ROLES:
            aggregation = getattr(new, "aggregationRule", None)
            same = old is not None and getattr(old, "aggregationRule", None) == aggregation
            if same and old.rules == new.rules:
                return
            asked = Access("escalate", _GROUP, kind.plural, attributes.namespace, new.metadata.name or "")
            # Whatever a rule of aggregation may come to select.
            rules = new.rules if same or aggregation is None else [*new.rules, *_EVERYTHING]
        else:
            if old is not None and (old.roleRef, old.subjects) == (new.roleRef, new.subjects):
                return
            asked, rules = self._bound(new, attributes.namespace)
        if self._authorizer.allows(user, asked):
            return
        missing = list(lacking(map(compile_rule, rules), self._authorizer.rules(user, attributes.namespace)))
        if missing:
            why = (
                f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions '
                f"not currently held: {'; '.join(missing[:5])}"
            )
            raise status.forbidden(kind, new.metadata.name or "", why)

    def _bound(self, binding: Any, namespace: str) -> tuple[Access, list[api.PolicyRule]]:
        """What binding asks for: the verb `bind` on the role, or the role's own rules."""
        ref = binding.roleRef
        is_cluster = ref.kind == "ClusterRole"
        plural = "clusterroles" if is_cluster else "roles"
        item = (
            self._cluster_roles.cache.get("", ref.name)
            if is_cluster
            else self._roles.cache.get(namespace, ref.name)
        )
        asked = Access("bind", _GROUP, plural, namespace, ref.name)
        if item is None:
            # A role that comes later could hold anything.
            return asked, _EVERYTHING[:1]
        resource = self._cluster_roles if is_cluster else self._roles
        return asked, resource.decode_stored(item.data).rules


def lacking(wanted: Iterable[Rule], held: Iterable[Rule]) -> Iterator[str]:
    """A description of each single permission in `wanted` that no rule in `held` gives."""
    owned = tuple(held)
    for rule in wanted:
        for verb, path in product(sorted(rule.verbs), rule.paths):
            if not any(_gives_path(own, verb, path) for own in owned):
                yield f"{{NonResourceURLs:[{path}], Verbs:[{verb}]}}"
        for verb, group, resource in product(sorted(rule.verbs), sorted(rule.groups), sorted(rule.resources)):
            for name in sorted(rule.names) or [""]:
                if not any(_gives(own, verb, group, resource, name) for own in owned):
                    yield f"{{APIGroups:[{group!r}], Resources:[{resource!r}], Verbs:[{verb!r}]}}"


def _gives(own: Rule, verb: str, group: str, resource: str, name: str) -> bool:
    if not ("*" in own.verbs or verb in own.verbs) or not ("*" in own.groups or group in own.groups):
        return False
    if own.names and name not in own.names:
        return False
    _, slash, subresource = resource.partition("/")
    return (
        "*" in own.resources
        or resource in own.resources
        or (bool(slash) and f"*/{subresource}" in own.resources)
    )


def _gives_path(own: Rule, verb: str, path: str) -> bool:
    if "*" not in own.verbs and verb not in own.verbs:
        return False
    return any(p in ("*", path) or (p.endswith("*") and path.startswith(p[:-1])) for p in own.paths)
