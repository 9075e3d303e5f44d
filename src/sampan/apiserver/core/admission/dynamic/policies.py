"""ValidatingAdmissionPolicies and MutatingAdmissionPolicies with their bindings and parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core.admission.dynamic.matching import Matcher, is_exempt
from sampan.apiserver.core.admission.dynamic.subject import Parts, Subject
from sampan.apiserver.core.admission.dynamic.variables import POLICY_COST, OutOfBudget, Scope
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError, forbidden
from sampan.kinds.groups.admissionregistration import expressions
from sampan.machinery import cel, selectors

# A message that an expression makes is left out where it is longer.
MAX_MESSAGE_LENGTH: Final = 5 * 1024
MAX_ANNOTATION_LENGTH: Final = 10 * 1024
_CODES: Final = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
_NO_BUDGET: Final = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class Misconfigured(Exception):
    """A policy or binding cannot be used as it is; the text says why."""


class Bound:
    """A policy with one of its bindings."""

    def __init__(self, policy: Policy, binding: Any) -> None:
        self.policy = policy
        self.binding = binding
        self.name: str = binding.metadata.name
        match = binding.spec.matchResources
        self.matcher = (
            Matcher(match, match.resourceRules, match.excludeResourceRules) if match is not None else None
        )

    @property
    def actions(self) -> Sequence[str]:
        return getattr(self.binding.spec, "validationActions", ())


class Policy:
    """A policy, its expressions compiled at their first use."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.spec = policy.spec
        self.name: str = policy.metadata.name
        match = policy.spec.matchConstraints
        self.matcher = Matcher(match, match.resourceRules, match.excludeResourceRules)
        self.fails = policy.spec.failurePolicy != "Ignore"
        self._programs: dict[tuple[str, bool], cel.Program] = {}

    def program(self, expression: str, *, checked: bool = True, variables: bool = True) -> cel.Program:
        """Raises Misconfigured where the expression does not compile."""
        key = (expression, checked)
        found = self._programs.get(key)
        if found is None:
            known = expressions.policy_variables(self.spec)
            if variables:
                known["variables"] = "dyn"
            try:
                found = self._programs[key] = cel.compile(expression, known, checked=checked)
            except cel.CompileError as refused:
                raise Misconfigured(str(refused)) from None
        return found

    def variables(self) -> list[tuple[str, cel.Program]]:
        return [(each.name, self.program(each.expression)) for each in self.spec.variables]


def bound_policies(policies: Sequence[Any], bindings: Sequence[Any]) -> tuple[Bound, ...]:
    """Every policy with each of its bindings, in the order of names."""
    made = {each.metadata.name: Policy(each) for each in policies}
    ordered = sorted(bindings, key=lambda each: (each.spec.policyName or "", each.metadata.name))
    return tuple(Bound(made[b.spec.policyName], b) for b in ordered if b.spec.policyName in made)


class Policies:
    """What both kinds of policies have in common: matching, parameters, conditions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def scopes(self, bound: Bound, subject: Subject) -> Iterator[tuple[Resource, Scope]]:
        """The variables for each set of parameters with which the policy is to be run on the write.

        Raises Misconfigured, CelError, OutOfBudget and StatusError.
        """
        version = bound.policy.matcher.matches(subject)
        if version is None or (bound.matcher is not None and bound.matcher.matches(subject) is None):
            return
        variables: list[tuple[str, cel.Program]] | None = None
        for params in self._params(bound, subject):
            scope = Scope(self._parts, subject, version, POLICY_COST)
            if variables is None:
                variables = bound.policy.variables()
            scope.with_policy(subject, params, variables)
            if self._conditions_hold(bound.policy, scope):
                yield version, scope

    def _conditions_hold(self, policy: Policy, scope: Scope) -> bool:
        error: cel.CelError | None = None
        for condition in policy.spec.matchConditions:
            try:
                if scope.evaluate(policy.program(condition.expression)) is not True:
                    return False
            except cel.CelError as failed:
                error = error or cel.CelError(
                    f"match condition {condition.name!r} resulted in error: {failed}"
                )
        if error is not None:
            raise error
        return True

    # -- parameters ----------------------------------------------------------------------------------

    def _params(self, bound: Bound, subject: Subject) -> Sequence[Any]:
        kind, ref = bound.policy.spec.paramKind, bound.binding.spec.paramRef
        if kind is None or ref is None:
            return (None,)
        resource = self._resource(kind)
        namespace = self._params_namespace(resource, ref, subject)
        if ref.name:
            item = resource.cache.get(namespace, ref.name)
            items = [item] if item is not None else []
        else:
            selector = selectors.from_label_selector(ref.selector)
            items = [item for item in resource.cache.items(namespace) if selector.matches(item.labels)]
        if not items and ref.parameterNotFoundAction == "Deny":
            raise Misconfigured(
                "failed to configure binding: no params found for policy binding with `Deny` "
                "parameterNotFoundAction"
            )
        return [msgspec.json.decode(resource.present(item.data)) for item in items]

    def _resource(self, kind: Any) -> Resource:
        found = self._parts.resources.of_kind(kind.apiVersion, kind.kind)
        if found is not None:
            return found
        raise Misconfigured(
            "failed to configure policy: failed to find resource referenced by paramKind: "
            f"'{kind.apiVersion}, Kind={kind.kind}'"
        )

    @staticmethod
    def _params_namespace(resource: Resource, ref: Any, subject: Subject) -> str:
        if not resource.kind.namespaced:
            if ref.namespace:
                raise Misconfigured(
                    "failed to configure binding: paramRef.namespace must not be provided for a "
                    "cluster-scoped `paramKind`"
                )
            return ""
        namespace: str = ref.namespace or subject.namespace
        if not namespace:
            raise Misconfigured(
                "failed to configure binding: cannot use namespaced paramRef in policy binding that matches "
                "cluster-scoped resources"
            )
        return namespace


class Failure(msgspec.Struct, frozen=True):
    """A validation that did not hold."""

    bound: Bound
    message: str
    reason: str = ""
    index: int = 0


class Validating(Policies):
    """Runs ValidatingAdmissionPolicies."""

    def validate(self, policies: Sequence[Bound], subject: Subject) -> None:
        """Raises StatusError where a policy denies the write."""
        if is_exempt(subject):
            return
        denied: list[Failure] = []
        audited: list[Failure] = []
        for bound in policies:
            for failure in self._failures(bound, subject):
                self._act(failure, subject, denied, audited)
        if audited:
            subject.context.annotate(
                "validation.policy.admission.k8s.io/validation_failure",
                json.dumps([_shown(failure) for failure in audited]),
            )
        if denied:
            raise _denial(denied[0], subject)

    def _failures(self, bound: Bound, subject: Subject) -> list[Failure]:
        found: list[Failure] = []
        try:
            for _, scope in self.scopes(bound, subject):
                found += self._run(bound, subject, scope)
        except (Misconfigured, cel.CelError) as failed:
            if bound.policy.fails:
                found.append(Failure(bound, str(failed)))
        except OutOfBudget:
            if bound.policy.fails:
                found.append(Failure(bound, _NO_BUDGET))
        return found

    def _run(self, bound: Bound, subject: Subject, scope: Scope) -> list[Failure]:
        policy, found = bound.policy, []
        for index, validation in enumerate(policy.spec.validations):
            expression = validation.expression
            try:
                value = scope.evaluate(policy.program(expression))
            except cel.CelError as failed:
                if policy.fails:
                    why = f"expression '{expression}' resulted in error: {failed}"
                    found.append(Failure(bound, why, index=index))
                continue
            if value is not True:
                message = self._message(policy, validation, scope)
                found.append(Failure(bound, message, validation.reason or "", index))
        self._annotate(policy, subject, scope)
        return found

    def _message(self, policy: Policy, validation: Any, scope: Scope) -> str:
        made: Any = None
        if validation.messageExpression:
            try:
                made = scope.evaluate(policy.program(validation.messageExpression))
            except (cel.CelError, Misconfigured):
                made = None
        if isinstance(made, str):
            text = made.strip()
            if text and "\n" not in text and len(text) <= MAX_MESSAGE_LENGTH:
                return text
        return (validation.message or "").strip() or f"failed expression: {validation.expression.strip()}"

    def _annotate(self, policy: Policy, subject: Subject, scope: Scope) -> None:
        for annotation in policy.spec.auditAnnotations:
            try:
                value = scope.evaluate(policy.program(annotation.valueExpression))
            except cel.CelError:
                if policy.fails:
                    raise
                continue
            if isinstance(value, str) and value.strip():
                key = f"{policy.name}/{annotation.key}"
                subject.context.annotate(key, value.strip()[:MAX_ANNOTATION_LENGTH])

    @staticmethod
    def _act(failure: Failure, subject: Subject, denied: list[Failure], audited: list[Failure]) -> None:
        bound = failure.bound
        for action in bound.actions:
            if action == "Deny":
                denied.append(failure)
            elif action == "Audit":
                audited.append(failure)
            elif action == "Warn":
                subject.context.warn(
                    f"Validation failed for ValidatingAdmissionPolicy '{bound.policy.name}' with binding "
                    f"'{bound.name}': {failure.message}"
                )


def _shown(failure: Failure) -> dict[str, Any]:
    bound = failure.bound
    return {
        "message": failure.message,
        "policy": bound.policy.name,
        "binding": bound.name,
        "expressionIndex": failure.index,
        "validationActions": list(bound.actions),
    }


def _denial(failure: Failure, subject: Subject) -> StatusError:
    bound = failure.bound
    why = (
        f"ValidatingAdmissionPolicy '{bound.policy.name}' with binding '{bound.name}' denied request: "
        f"{failure.message}"
    )
    refused = forbidden(subject.served.kind, subject.name, why)
    refused.reason = failure.reason or "Invalid"
    refused.code = _CODES.get(refused.reason, 422)
    refused.details["causes"] = [{"message": why}]
    return refused
