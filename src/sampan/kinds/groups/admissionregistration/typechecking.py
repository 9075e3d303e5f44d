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
    param = None
    if spec.paramKind is not None:
        param = find_kind(spec.paramKind.apiVersion or "", spec.paramKind.kind or "")
    for position, validation in enumerate(spec.validations):
        path = SPEC["validations"][position]
        for name in ("expression", "messageExpression"):
            expression = getattr(validation, name)
            found = _faults(expression, spec, kinds, param) if expression else []
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


def _faults(expression: str, spec: Any, kinds: list[Matched], param: Matched | None) -> list[str]:
    from sampan.machinery import cel
    from sampan.machinery.cel import fields

    known = {**expressions.policy_variables(spec), "variables": "dyn"}
    try:
        program = cel.compile(expression, known)
        variables = [(each.name, cel.compile(each.expression, known)) for each in spec.variables]
    except cel.CompileError:
        return []  # said when the policy was written
    found = []
    for kind in kinds:
        types = {"object": kind.node, "oldObject": kind.node, "params": param.node if param else UNKNOWN}
        members: dict[str, SchemaNode] = {}
        for name, variable in variables:
            members[name] = fields.errors_of(variable, types, members)[1]
        errors, _ = fields.errors_of(program, types, members)
        if errors:
            found.append(f"{kind.words}: " + "\n".join(errors))
    return found
