"""Which FlowSchema a request belongs to, and to which flow of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sampan.apiserver.core.users import User, account_name

BY_USER: Final = "ByUser"
BY_NAMESPACE: Final = "ByNamespace"
_EVERY: Final = "*"


class Ask(msgspec.Struct, frozen=True):
    """What FlowSchemas look at. `path` is set for what is not about a resource."""

    verb: str
    group: str = ""
    resource: str = ""  # plural, or plural/subresource
    namespace: str = ""
    path: str = ""


class _Rule(msgspec.Struct, frozen=True):
    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    cluster: bool = False
    paths: tuple[str, ...] = ()

    def matches(self, ask: Ask) -> bool:
        if _EVERY not in self.verbs and ask.verb not in self.verbs:
            return False
        if ask.path or self.paths:
            return bool(ask.path) and any(_path_matches(pattern, ask.path) for pattern in self.paths)
        if not _has(self.groups, ask.group) or not _has(self.resources, ask.resource):
            return False
        return _has(self.namespaces, ask.namespace) if ask.namespace else self.cluster


class _Rules(msgspec.Struct, frozen=True):
    """Rules for some subjects."""

    users: frozenset[str]
    groups: frozenset[str]
    # Namespaces all of whose service accounts are meant.
    account_namespaces: frozenset[str]
    rules: tuple[_Rule, ...]

    def matches(self, user: User, ask: Ask) -> bool:
        return self._is_for(user) and any(rule.matches(ask) for rule in self.rules)

    def _is_for(self, user: User) -> bool:
        if user.name in self.users or _EVERY in self.users:
            return True
        if _EVERY in self.groups or not self.groups.isdisjoint(user.groups):
            return True
        parts = user.name.split(":")
        return len(parts) == 4 and parts[1] == "serviceaccount" and parts[2] in self.account_namespaces


class Schema(msgspec.Struct, frozen=True):
    """A FlowSchema, ready to be asked."""

    name: str
    uid: str
    level: str
    precedence: int
    distinguisher: str
    rules: tuple[_Rules, ...]

    def matches(self, user: User, ask: Ask) -> bool:
        return any(rules.matches(user, ask) for rules in self.rules)

    def flow(self, user: User, ask: Ask) -> str:
        """What tells this request's flow from others of the schema."""
        if self.distinguisher == BY_USER:
            return user.name
        return ask.namespace if self.distinguisher == BY_NAMESPACE else ""


def compiled(obj: Any) -> Schema:
    """An api.FlowSchema as a Schema."""
    spec = obj.spec
    return Schema(
        obj.metadata.name,
        obj.metadata.uid or "",
        spec.priorityLevelConfiguration.name if spec.priorityLevelConfiguration is not None else "",
        spec.matchingPrecedence or 0,
        spec.distinguisherMethod.type if spec.distinguisherMethod is not None else "",
        tuple(map(_rules, spec.rules)),
    )


def ordered(schemas: Iterable[Schema]) -> tuple[Schema, ...]:
    """In the order in which they are tried."""
    return tuple(sorted(schemas, key=lambda schema: (schema.precedence, schema.name)))


def classify(schemas: Iterable[Schema], user: User, ask: Ask) -> Schema | None:
    """The first schema that the request belongs to."""
    return next((schema for schema in schemas if schema.matches(user, ask)), None)


def _rules(given: Any) -> _Rules:
    users, groups, namespaces = set(), set(), set()
    for subject in given.subjects:
        if subject.user is not None:
            users.add(subject.user.name)
        elif subject.group is not None:
            groups.add(subject.group.name)
        elif subject.serviceAccount is not None:
            account = subject.serviceAccount
            if account.name == _EVERY:
                namespaces.add(account.namespace)
            else:
                users.add(account_name(account.namespace, account.name))
    rules = [
        _Rule(
            frozenset(rule.verbs),
            frozenset(rule.apiGroups),
            frozenset(rule.resources),
            frozenset(rule.namespaces),
            bool(rule.clusterScope),
        )
        for rule in given.resourceRules
    ]
    rules += [
        _Rule(frozenset(rule.verbs), paths=tuple(rule.nonResourceURLs)) for rule in given.nonResourceRules
    ]
    return _Rules(frozenset(users), frozenset(groups), frozenset(namespaces), tuple(rules))


def _has(names: frozenset[str], name: str) -> bool:
    return _EVERY in names or name in names


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern
