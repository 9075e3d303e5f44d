"""Authorization: RBAC over the watch cache, with `system:masters` above it.

Rules are compiled when a role or binding changes, and decisions are remembered until the next such change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core import nodeauthz, roles
from sampan.apiserver.core.nodeauthz import NodeGraph
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.users import MASTERS, User, account_name

CACHED_DECISIONS: Final = 16384


class Access(msgspec.Struct, frozen=True):
    """What somebody wants to do. `path` is set for requests that are not about a resource."""

    verb: str
    group: str = ""
    resource: str = ""  # plural, or plural/subresource
    namespace: str = ""
    name: str = ""
    path: str = ""
    # The field selector of a list or watch, where the decision may hang on it.
    fields: str = ""


class Rule(msgspec.Struct, frozen=True):
    """A PolicyRule, ready to be asked."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    paths: tuple[str, ...]

    def allows(self, access: Access) -> bool:
        if "*" not in self.verbs and access.verb not in self.verbs:
            return False
        if access.path:
            return any(_path_matches(pattern, access.path) for pattern in self.paths)
        if "*" not in self.groups and access.group not in self.groups:
            return False
        if not self._covers(access.resource):
            return False
        return not self.names or access.name in self.names

    def _covers(self, resource: str) -> bool:
        if "*" in self.resources or resource in self.resources:
            return True
        _, slash, subresource = resource.partition("/")
        return bool(slash) and f"*/{subresource}" in self.resources


def compile_rule(rule: Any) -> Rule:
    """An api.PolicyRule as a Rule."""
    return Rule(
        frozenset(rule.verbs),
        frozenset(rule.apiGroups),
        frozenset(rule.resources),
        frozenset(rule.resourceNames),
        tuple(rule.nonResourceURLs),
    )


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


class _Binding(msgspec.Struct, frozen=True):
    users: frozenset[str]
    groups: frozenset[str]
    rules: tuple[Rule, ...]
    # What it is called in the reason for a decision.
    title: str
    subjects: tuple[tuple[str, str], ...]

    def binds(self, user: User) -> bool:
        return user.name in self.users or not self.groups.isdisjoint(user.groups)

    def subject(self, user: User) -> str:
        """The subject that the user is, as the reason names it."""
        return next((shown for name, shown in self.subjects if name == user.name or name in user.groups), "")


class Authorizer:
    """Answers whether a user may do something."""

    def __init__(self, find: Callable[[str], Resource], nodes: NodeGraph | None = None) -> None:
        self._find = find
        self.nodes = nodes
        self._node_rules: tuple[Rule, ...] = ()
        self._decisions: dict[tuple[User, Access], bool] = {}
        self._bindings: dict[str, list[_Binding]] | None = None

    def forget(self) -> None:
        """A role or a binding changed."""
        self._decisions.clear()
        self._bindings = None

    def allows(self, user: User, access: Access) -> bool:
        if MASTERS in user.groups:
            return True
        if self.nodes is not None and user.name.startswith(nodeauthz.PREFIX):
            node = nodeauthz.node_of(user)
            if node and self._node_may(node, access):
                return True
        known = self._decisions.get((user, access))
        if known is None:
            known = any(rule.allows(access) for rule in self.rules(user, access.namespace))
            if len(self._decisions) >= CACHED_DECISIONS:
                self._decisions.clear()
            self._decisions[(user, access)] = known
        return known

    def reason(self, user: User, access: Access) -> str:
        """By which binding the user may; "" where none says so."""
        for binding in self._bindings_of(user, access.namespace):
            if any(rule.allows(access) for rule in binding.rules):
                return f"RBAC: allowed by {binding.title} to {binding.subject(user)}"
        return ""

    def _node_may(self, node: str, access: Access) -> bool:
        assert self.nodes is not None
        decision = nodeauthz.decide(self.nodes, node, access)
        if decision is None:
            if not self._node_rules:
                lines = roles.CLUSTER_ROLES["system:node"]
                self._node_rules = tuple(map(compile_rule, roles.rules_of(lines)))
            decision = any(rule.allows(access) for rule in self._node_rules)
            # Volumes are a matter of the pods alone.
            if access.resource == "persistentvolumes" and not access.group:
                decision = False
        return decision

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that applies to the user, cluster-wide and in the namespace."""
        for binding in self._bindings_of(user, namespace):
            yield from binding.rules

    def _bindings_of(self, user: User, namespace: str) -> Iterator[_Binding]:
        if self._bindings is None:
            self._bindings = self._compile()
        for scope in ("", namespace) if namespace else ("",):
            for binding in self._bindings.get(scope, ()):
                if binding.binds(user):
                    yield binding

    def _compile(self) -> dict[str, list[_Binding]]:
        cluster_roles = self._roles("clusterroles")
        roles = self._roles("roles")
        bindings: dict[str, list[_Binding]] = {}
        for plural in ("clusterrolebindings", "rolebindings"):
            resource = self._find(plural)
            for item in resource.cache:
                bound = resource.decode_stored(item.data)
                ref = bound.roleRef
                key = ("", ref.name) if ref.kind == "ClusterRole" else (item.namespace, ref.name)
                rules = (cluster_roles if ref.kind == "ClusterRole" else roles).get(key, ())
                names, groups = _subjects(bound.subjects, item.namespace)
                where = f"/{item.namespace}" if item.namespace else ""
                own = f'{bound.kind or plural} "{item.name}{where}"'
                title = f'{own} of {ref.kind} "{ref.name}"'
                who = tuple(_shown(subject, item.namespace) for subject in bound.subjects)
                made = _Binding(names, groups, rules, title, who)
                bindings.setdefault(item.namespace, []).append(made)
        return bindings

    def _roles(self, plural: str) -> dict[tuple[str, str], tuple[Rule, ...]]:
        resource = self._find(plural)
        roles = {}
        for item in resource.cache:
            role = resource.decode_stored(item.data)
            roles[(item.namespace, item.name)] = tuple(map(compile_rule, role.rules))
        return roles


def _shown(subject: Any, namespace: str) -> tuple[str, str]:
    """The name that a user or group bears, and the subject in words."""
    if subject.kind != "ServiceAccount":
        return subject.name, f'{subject.kind} "{subject.name}"'
    where = subject.namespace or namespace
    return account_name(where, subject.name), f'ServiceAccount "{subject.name}/{where}"'


def _subjects(subjects: Sequence[Any], namespace: str) -> tuple[frozenset[str], frozenset[str]]:
    names, groups = set(), set()
    for subject in subjects:
        if subject.kind == "Group":
            groups.add(subject.name)
        elif subject.kind == "ServiceAccount":
            names.add(account_name(subject.namespace or namespace, subject.name))
        else:
            names.add(subject.name)
    return frozenset(names), frozenset(groups)


def refusal(user: User, access: Access) -> str:
    """The message of a 403, worded as kube-apiserver's."""
    if access.path:
        return f'forbidden: User "{user.name}" cannot {access.verb} path "{access.path}"'
    where = f' in the namespace "{access.namespace}"' if access.namespace else " at the cluster scope"
    return (
        f'User "{user.name}" cannot {access.verb} resource "{access.resource}" '
        f'in API group "{access.group}"{where}'
    )
