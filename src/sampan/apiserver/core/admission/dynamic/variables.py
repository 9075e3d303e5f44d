"""The variables that expressions of webhooks and policies see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sampan.apiserver.core import users
from sampan.apiserver.core.admission.dynamic.subject import Parts, Subject
from sampan.apiserver.core.authz import Access, Authorizer
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.users import User
from sampan.machinery import cel
from sampan.schema import codec

# Kubernetes' RuntimeCELCostBudget and RuntimeCELCostBudgetMatchConditions.
POLICY_COST: Final = 10_000_000
CONDITIONS_COST: Final = 2_500_000


class OutOfBudget(Exception):
    """The expressions of one policy together took more than they may."""


class Scope:
    """The variables of one write for one policy (or webhook), and the cost that its expressions have left."""

    def __init__(self, parts: Parts, subject: Subject, version: Resource, budget: int) -> None:
        self.values: dict[str, Any] = {
            "object": subject.document(version),
            "oldObject": subject.old_document(version),
            "request": subject.request("", version),
            "authorizer": cel.Authorizer(_asker(parts.authorizer, subject.user)),
            "authorizer.requestResource": cel.resource_check(
                _asker(parts.authorizer, subject.user), _own_question(subject)
            ),
        }
        self._left = budget

    def with_policy(
        self, subject: Subject, params: Any, variables: Sequence[tuple[str, cel.Program]]
    ) -> None:
        """Add what only policies have."""
        namespace = subject.namespace_object() if not subject.is_namespace else None
        self.values["namespaceObject"] = codec.to_builtins(namespace) if namespace is not None else None
        self.values["params"] = params
        self.values["variables"] = Variables(self, dict(variables))

    def evaluate(self, program: cel.Program) -> Any:
        """Raises CelError; OutOfBudget where all of them together took too much."""
        limit = min(cel.PER_CALL_LIMIT, self._left)
        before = self._left
        try:
            value, cost = program.measured(self.values, limit)
        except cel.CostExceeded:
            self._left = 0
            if limit < cel.PER_CALL_LIMIT:
                raise OutOfBudget from None
            raise
        # What variables took has already been counted.
        self._left = min(before - cost, self._left)
        return value


class Variables(cel.Lazy):
    """`variables`: each is computed when it is first used, and once."""

    __slots__ = ("_programs", "_scope", "_values")

    def __init__(self, scope: Scope, programs: dict[str, cel.Program]) -> None:
        self._scope = scope
        self._programs = programs
        self._values: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        return name in self._programs

    def get(self, name: str) -> Any:
        program = self._programs.get(name)
        if program is None:
            raise cel.CelError(f"no such key: {name}")
        if name not in self._values:
            try:
                self._values[name] = self._scope.evaluate(program)
            except cel.CelError as failed:
                raise cel.CelError(f'composited variable "{name}" fails to evaluate: {failed}') from None
        return self._values[name]


def _own_question(subject: Subject) -> cel.Question:
    kind = subject.served.kind
    return cel.Question(
        "",
        group=kind.group,
        resource=kind.plural,
        subresource=subject.subresource,
        namespace=subject.namespace,
        name=subject.name,
    )


def _asker(authorizer: Authorizer, user: User) -> Callable[[cel.Question], tuple[bool, str]]:
    def ask(question: cel.Question) -> tuple[bool, str]:
        who = user
        if question.service_account is not None:
            who = users.service_account(*question.service_account)
        resource = question.resource + (f"/{question.subresource}" if question.subresource else "")
        access = Access(
            question.verb, question.group, resource, question.namespace, question.name, question.path
        )
        return authorizer.allows(who, access), ""

    return ask
