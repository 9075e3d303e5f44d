"""What status.typeChecking says of a ValidatingAdmissionPolicy: what does not fit the kinds it matches.

As in Kubernetes only rules without wildcards say which kinds these are, and at most ten are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from sampan.kinds.groups.admissionregistration import expressions
from sampan.kinds.groups.checks import SPEC
from sampan.machinery.schema_node import UNKNOWN, SchemaNode
from sampan.schema import api
from sampan.schema.definitions import GroupVersionKind

TYPES_MOST: Final = 10


class Matched(msgspec.Struct, frozen=True):
    """A kind that a policy matches, with its schema."""

    gvk: GroupVersionKind
    node: SchemaNode

    @property
    def words(self) -> str:
        """As Kubernetes prints it: `apps/v1, Kind=Deployment`."""
        return f"{self.gvk.group}/{self.gvk.version}, Kind={self.gvk.kind}"


# (group, version, plural), and (apiVersion, kind); None for what is not there.
FindResource = Callable[[str, str, str], Matched | None]
FindKind = Callable[[str, str], Matched | None]


def checked(policy: Any, find: FindResource, find_kind: FindKind) -> Any:
    """The status of a policy that is looked at in its present generation."""
    status = msgspec.structs.replace(policy.status, observedGeneration=policy.metadata.generation)
    status.typeChecking = api.TypeChecking(expressionWarnings=list(_warnings(policy.spec, find, find_kind)))
    return status


def _warnings(spec: Any, find: FindResource, find_kind: FindKind) -> Iterator[Any]:
    kinds = _matched(spec, find)
    if not kinds:
        return
    param = None
    if spec.paramKind is not None:
        param = find_kind(spec.paramKind.apiVersion or "", spec.paramKind.kind or "")
    scopes = _scopes(spec, kinds, param)
    for position, validation in enumerate(spec.validations):
        path = SPEC["validations"][position]
        for name in ("expression", "messageExpression"):
            expression = getattr(validation, name)
            found = _faults(expression, spec, scopes) if expression else []
            if found:
                yield api.ExpressionWarning(fieldRef=str(path[name]), warning="\n".join(found))


def _matched(spec: Any, find: FindResource) -> list[Matched]:
    found: dict[GroupVersionKind, Matched] = {}
    rules = spec.matchConstraints.resourceRules if spec.matchConstraints is not None else ()
    for rule in rules:
        named = (*rule.apiGroups, *rule.apiVersions, *rule.resources)
        if any("*" in each for each in named):
            continue
        for group in rule.apiGroups:
            for version in rule.apiVersions:
                for plural in rule.resources:
                    one = None if "/" in plural else find(group, version, plural)
                    if one is not None:
                        found.setdefault(one.gvk, one)
    return sorted(found.values(), key=lambda one: one.words)[:TYPES_MOST]


class _Scope(msgspec.Struct, frozen=True):
    """What an expression can name where the object is of one kind."""

    kind: Matched
    types: dict[str, SchemaNode]
    # The policy's variables.
    members: dict[str, SchemaNode]


def _scopes(spec: Any, kinds: list[Matched], param: Matched | None) -> list[_Scope]:
    """One for each kind; none where a variable does not compile: that was said of the policy."""
    from sampan.machinery import cel
    from sampan.machinery.cel import fields

    known = _known(spec)
    try:
        variables = [(each.name, cel.compile(each.expression, known)) for each in spec.variables]
    except cel.CompileError:
        return []
    scopes = []
    for kind in kinds:
        types = {"object": kind.node, "oldObject": kind.node, "params": param.node if param else UNKNOWN}
        members: dict[str, SchemaNode] = {}
        for name, variable in variables:
            members[name] = fields.errors_of(variable, types, members)[1]
        scopes.append(_Scope(kind, types, members))
    return scopes


def _faults(expression: str, spec: Any, scopes: list[_Scope]) -> list[str]:
    from sampan.machinery import cel
    from sampan.machinery.cel import fields

    try:
        program = cel.compile(expression, _known(spec))
    except cel.CompileError:
        return []  # said when the policy was written
    found = []
    for scope in scopes:
        errors, _ = fields.errors_of(program, scope.types, scope.members)
        if errors:
            found.append(f"{scope.kind.words}: " + "\n".join(errors))
    return found


def _known(spec: Any) -> dict[str, str]:
    return {**expressions.policy_variables(spec), "variables": "dyn"}
