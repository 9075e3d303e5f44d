"""Which of its names a definition gets, and the conditions that say so: NamesAccepted, Established and more.

Follows apiextensions' naming, establishing and API-approval controllers: the names of a group are first come,
first served; a definition is established once all its names are accepted, and stays so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.kinds.custom.definition import Definition
from sampan.schema import api

APPROVED: Final = "api-approved.kubernetes.io"
_PROTECTED: Final = ("k8s.io", "kubernetes.io")


class Used(msgspec.Struct, frozen=True):
    """Names of a group that other definitions hold."""

    resources: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()


class Holders:
    """Which definitions hold which names, by group: so that settling one does not look at all others."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str], set[str]] = {}
        self._kinds: dict[tuple[str, str], set[str]] = {}

    def take(self, definition: Definition) -> None:
        """Note the names that a definition has accepted."""
        for held, keys in self._held(definition):
            for key in keys:
                held.setdefault(key, set()).add(definition.name)

    def release(self, definition: Definition) -> None:
        """Forget them."""
        for held, keys in self._held(definition):
            for key in keys:
                names = held.get(key, set())
                names.discard(definition.name)
                if not names:
                    held.pop(key, None)

    def used(self, group: str, name: str, wanted: Any) -> Used:
        """Those of the names that the definition `name` wants which others hold."""
        resources = (wanted.plural, wanted.singular or "", *wanted.shortNames)
        kinds = (wanted.kind, wanted.listKind or "")
        return Used(
            frozenset(one for one in resources if self._resources.get((group, one), set()) - {name}),
            frozenset(one for one in kinds if self._kinds.get((group, one), set()) - {name}),
        )

    def _held(self, definition: Definition) -> Iterator[tuple[dict[tuple[str, str], set[str]], list[Any]]]:
        names, group = definition.status.acceptedNames, definition.spec.group
        resources = (names.plural, names.singular, *names.shortNames)
        yield self._resources, [(group, one) for one in resources if one]
        yield self._kinds, [(group, one) for one in (names.kind, names.listKind) if one]


def status_of(crd: Any, used: Used, now: datetime) -> Any:
    """The status of a CustomResourceDefinition struct, given what others use. `crd` stays as it is.

    Planning again from the result gives it back unchanged.
    """
    wanted = crd.spec.names
    old = crd.status.acceptedNames or api.CustomResourceDefinitionNames(plural="", kind="")
    accepted = msgspec.structs.replace(old, categories=list(wanted.categories))
    reason, message = "", ""
    for name, taken, conflict in (
        ("plural", used.resources, "PluralConflict"),
        ("singular", used.resources, "SingularConflict"),
        ("shortNames", used.resources, "ShortNamesConflict"),
        ("kind", used.kinds, "KindConflict"),
        ("listKind", used.kinds, "ListKindConflict"),
    ):
        problems = list(_taken(getattr(wanted, name), getattr(old, name), taken))
        if problems:
            reason = conflict
            message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        else:
            setattr(accepted, name, getattr(wanted, name))
    names_accepted = (
        ("NamesAccepted", "False", reason, message)
        if reason
        else ("NamesAccepted", "True", "NoConflicts", "no conflicts found")
    )
    conditions = _with(crd.status.conditions, names_accepted, now)
    conditions = _with(conditions, _established(crd, not reason), now)
    approval = _approval(crd)
    if approval is not None:
        conditions = _with(conditions, approval, now)
    return msgspec.structs.replace(crd.status, acceptedNames=accepted, conditions=conditions)


def terminating(status: Any, reason: str, message: str, now: datetime, holds: bool = True) -> Any:
    """The status with the condition Terminating."""
    condition = ("Terminating", "True" if holds else "False", reason, message)
    return msgspec.structs.replace(status, conditions=_with(status.conditions, condition, now))


def _taken(wanted: Any, accepted: Any, used: frozenset[str]) -> Iterator[str]:
    own = set(accepted) if isinstance(accepted, list) else {accepted}
    for name in wanted if isinstance(wanted, list) else [wanted]:
        if name not in own and name in used:
            yield f'"{name}" is already in use'


def _established(crd: Any, accepted: bool) -> tuple[str, str, str, str]:
    for condition in crd.status.conditions:
        if condition.type == "Established" and condition.status == "True":
            return ("Established", "True", condition.reason or "", condition.message or "")
    if accepted:
        return ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
    return ("Established", "False", "NotAccepted", "not all names are accepted")


def _approval(crd: Any) -> tuple[str, str, str, str] | None:
    group = crd.spec.group
    if not any(group == domain or group.endswith(f".{domain}") for domain in _PROTECTED):
        return None
    value = crd.metadata.annotations.get(APPROVED, "")
    kind = "KubernetesAPIApprovalPolicyConformant"
    if value.startswith("unapproved"):
        return (kind, "False", "UnapprovedAnnotation", f'not approved: "{value}"')
    return (kind, "True", "ApprovedAnnotation", f"approved in {value}")


def _with(conditions: list[Any], wanted: tuple[str, str, str, str], now: datetime) -> list[Any]:
    """The conditions with this one set; a transition happens where the status changes."""
    kind, status, reason, message = wanted
    made = api.CustomResourceDefinitionCondition(
        type=kind, status=status, reason=reason, message=message, lastTransitionTime=now
    )
    found = []
    known = False
    for condition in conditions:
        if condition.type != kind:
            found.append(condition)
            continue
        known = True
        if condition.status == status:
            made.lastTransitionTime = condition.lastTransitionTime
        if condition.observedGeneration is not None:
            made.observedGeneration = condition.observedGeneration
        found.append(made)
    return found if known else [*found, made]
