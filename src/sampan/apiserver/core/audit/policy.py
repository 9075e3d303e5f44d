"""The audit policy: which requests are written down, and how much of them. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.users import User

NONE: Final = "None"
METADATA: Final = "Metadata"
REQUEST: Final = "Request"
REQUEST_RESPONSE: Final = "RequestResponse"
LEVELS: Final = (NONE, METADATA, REQUEST, REQUEST_RESPONSE)
RECEIVED: Final = "RequestReceived"
STARTED: Final = "ResponseStarted"
COMPLETE: Final = "ResponseComplete"
PANIC: Final = "Panic"
STAGES: Final = (RECEIVED, STARTED, COMPLETE, PANIC)
_EVERY: Final = "*"


class Decision(msgspec.Struct, frozen=True):
    """What is written of a request."""

    level: str = NONE
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


class GroupResources(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()

    def covers(self, target: Target) -> bool:
        if self.group != target.group:
            return False
        if self.resources and not any(_resource_matches(pattern, target) for pattern in self.resources):
            return False
        return not self.resource_names or target.name in self.resource_names


class Rule(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One rule: what is left empty is no condition."""

    level: str
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    def matches(self, user: User, verb: str, target: Target | None, path: str) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.user_groups and not any(group in self.user_groups for group in user.groups):
            return False
        if self.verbs and verb not in self.verbs and _EVERY not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return target is not None and self._is_about(target)
        if self.non_resource_urls:
            return target is None and any(_path_matches(url, path) for url in self.non_resource_urls)
        return True

    def _is_about(self, target: Target) -> bool:
        if self.namespaces and target.namespace not in self.namespaces:
            return False
        return not self.resources or any(each.covers(target) for each in self.resources)


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """An audit.k8s.io/v1 Policy."""

    rules: tuple[Rule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False

    def decide(self, user: User, verb: str, target: Target | None, path: str) -> Decision:
        """By the first rule that matches; nothing is written where none does."""
        for rule in self.rules:
            if rule.matches(user, verb, target, path):
                omit = rule.omit_managed_fields
                return Decision(
                    rule.level,
                    frozenset((*self.omit_stages, *rule.omit_stages)),
                    self.omit_managed_fields if omit is None else omit,
                )
        return Decision()


def parse(document: Any) -> Policy:
    """A parsed policy file. Raises ValueError that names what is wrong."""
    if not isinstance(document, dict) or document.get("kind") != "Policy":
        raise ValueError("it must be a Policy of audit.k8s.io/v1")
    if document.get("apiVersion") != "audit.k8s.io/v1":
        raise ValueError(f"apiVersion {document.get('apiVersion')!r} is not served; use audit.k8s.io/v1")
    try:
        policy = msgspec.convert(document, Policy)
    except msgspec.ValidationError as problem:
        raise ValueError(str(problem)) from None
    if not policy.rules:
        raise ValueError("rules must hold at least one rule")
    _check_stages(policy.omit_stages, "omitStages")
    for position, rule in enumerate(policy.rules):
        where = f"rules[{position}]"
        if rule.level not in LEVELS:
            raise ValueError(f'{where}.level "{rule.level}" is none of {", ".join(LEVELS)}')
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            raise ValueError(f"{where}.nonResourceURLs goes with neither resources nor namespaces")
        _check_stages(rule.omit_stages, f"{where}.omitStages")
    return policy


def _check_stages(stages: tuple[str, ...], where: str) -> None:
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f'{where} "{stage}" is none of {", ".join(STAGES)}')


def _resource_matches(pattern: str, target: Target) -> bool:
    if pattern == _EVERY:
        return True
    resource, slash, subresource = pattern.partition("/")
    if not slash:
        return resource == target.plural and not target.subresource
    return resource in (_EVERY, target.plural) and (
        subresource == target.subresource or (subresource == _EVERY and bool(target.subresource))
    )


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith(_EVERY):
        return path.startswith(pattern[:-1])
    return path == pattern
