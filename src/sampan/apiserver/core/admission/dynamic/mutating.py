"""MutatingAdmissionPolicies: objects changed by apply configurations and JSON patches that CEL makes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from sampan.apiserver.core.admission.dynamic.matching import is_exempt
from sampan.apiserver.core.admission.dynamic.policies import Bound, Misconfigured, Policies
from sampan.apiserver.core.admission.dynamic.subject import Subject
from sampan.apiserver.core.admission.dynamic.variables import OutOfBudget, Scope
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError, forbidden
from sampan.machinery import cel
from sampan.machinery.patch import json_patch
from sampan.machinery.patch.apply import checks, typed
from sampan.machinery.patch.errors import PatchError
from sampan.machinery.schema_node import ATOMIC, LIST, UNKNOWN, SchemaNode

log = logging.getLogger(__name__)
Settle = Callable[[], Awaitable[bool]]
_PATCH_FIELDS: Final = frozenset({"op", "path", "value", "from"})


class Mutating(Policies):
    """Runs MutatingAdmissionPolicies."""

    async def mutate(self, policies: Sequence[Bound], subject: Subject, settle: Settle) -> bool:
        """Change the object; True where it was. Raises StatusError."""
        if is_exempt(subject) or subject.obj is None:
            return False
        changed = False
        invoked: list[Bound] = []
        again: dict[Bound, None] = {}
        for bound in policies:
            ran, made = self._run(bound, subject)
            if made:
                changed = True
                again.update(dict.fromkeys(invoked))
            if ran:
                invoked.append(bound)
        if changed and await settle():
            again.update(dict.fromkeys(invoked))
        for bound in policies:
            if bound in again and bound.policy.spec.reinvocationPolicy == "IfNeeded":
                self._run(bound, subject)
        return changed

    def _run(self, bound: Bound, subject: Subject) -> tuple[bool, bool]:
        """Whether the policy ran, and whether it changed the object."""
        ran = changed = False
        try:
            for version, scope in self.scopes(bound, subject):
                ran = True
                changed |= self._mutate(bound, subject, version, scope)
        except (Misconfigured, cel.CelError, PatchError, OutOfBudget) as failed:
            why = str(failed) or "mutation failed due to running out of cost budget"
            if bound.policy.fails:
                raise _refused(bound, subject, why) from None
            log.warning("MutatingAdmissionPolicy %s is left out: %s", bound.policy.name, why)
        return ran, changed

    def _mutate(self, bound: Bound, subject: Subject, version: Resource, scope: Scope) -> bool:
        """Raises what `_run` handles."""
        before = subject.document(version)
        assert before is not None
        document = before
        for mutation in bound.policy.spec.mutations:
            scope.values["object"] = document
            if mutation.patchType == "JSONPatch":
                value = self._evaluate(bound, mutation.jsonPatch.expression, scope)
                document = json_patch.apply(document, _operations(value))
            else:
                value = self._evaluate(bound, mutation.applyConfiguration.expression, scope)
                document = _merged(document, value, version.node)
        if document == before:
            return False
        try:
            subject.replace(document, version)
        except StatusError as broken:
            raise Misconfigured(f"the patched object is none: {broken.message}") from None
        return True

    @staticmethod
    def _evaluate(bound: Bound, expression: str, scope: Scope) -> Any:
        program = bound.policy.program(expression, checked=False)
        try:
            return scope.evaluate(program)
        except cel.CelError as failed:
            raise cel.CelError(f"expression '{expression}' resulted in error: {failed}") from None


def _operations(value: Any) -> list[json_patch.Operation]:
    """What `[JSONPatch{...}]` asks for. Raises CelError, PatchError."""
    if not isinstance(value, list):
        raise cel.CelError("must evaluate to a list of JSONPatch")
    made = []
    for each in value:
        if not isinstance(each, cel.Constructed) or each.type_name != "JSONPatch":
            raise cel.CelError("must evaluate to a list of JSONPatch")
        unknown = set(each) - _PATCH_FIELDS
        if unknown:
            raise cel.CelError(f"undefined field '{min(unknown)}' of JSONPatch")
        made.append(cel.to_json(each))
    return json_patch.check(made)


def _merged(document: dict[str, Any], value: Any, schema: SchemaNode) -> dict[str, Any]:
    """The object with an apply configuration merged into it. Raises CelError, PatchError."""
    if not isinstance(value, cel.Constructed) or value.type_name != "Object":
        raise cel.CelError("must evaluate to Object")
    _check_types(value, "Object")
    configuration = cel.to_json(value)
    for name in ("apiVersion", "kind"):
        configuration.pop(name, None)
    errors = checks.errors_of(configuration, schema)
    if errors:
        raise cel.CelError(f"error applying patch: invalid ApplyConfiguration: {checks.joined(errors)}")
    atomic = next(_atomic(configuration, schema, ""), None)
    if atomic is not None:
        raise cel.CelError(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs"
            f": {atomic}"
        )
    merged: dict[str, Any] = typed.merge(document, configuration, schema)
    return merged


def _check_types(value: Any, expected: str) -> None:
    """`Object.spec{...}` may stand only in the field spec."""
    if isinstance(value, cel.Constructed) and value.type_name != expected:
        raise cel.CelError(
            f'unexpected type name "{value.type_name}", expected "{expected}", '
            "which matches field name path from root Object type"
        )
    if isinstance(value, dict):
        for name, each in value.items():
            _check_types(each, f"{expected}.{name}")
    elif isinstance(value, list):
        for each in value:
            _check_types(each, expected)


def _atomic(value: Any, schema: SchemaNode, at: str) -> Iterator[str]:
    """Lists, maps and structs that would be replaced as a whole: that is for JSON patches."""
    if isinstance(value, list):
        if schema.kind == LIST and schema.list_type == ATOMIC:
            yield at
            return
        for each in value:
            yield from _atomic(each, schema.items(), f"{at}[]")
    elif isinstance(value, dict):
        if schema.map_type == ATOMIC:
            yield at
            return
        for name, each in value.items():
            yield from _atomic(each, schema.child(name) or UNKNOWN, f"{at}.{name}")


def _refused(bound: Bound, subject: Subject, why: str) -> StatusError:
    message = f"policy '{bound.policy.name}' with binding '{bound.name}' denied request: {why}"
    refused = forbidden(subject.served.kind, subject.name, message)
    refused.reason, refused.code = "Invalid", 422
    return refused
