"""The webhooks and policies that there are at one moment, compiled, and the order in which they act."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from sampan.apiserver.core.admission.dynamic.hooks import Webhooks, hooks_of
from sampan.apiserver.core.admission.dynamic.mutating import Mutating
from sampan.apiserver.core.admission.dynamic.policies import Validating, bound_policies
from sampan.apiserver.core.admission.dynamic.subject import Parts, Subject
from sampan.schema import api

Load = Callable[[type[msgspec.Struct]], list[Any]]
Settle = Callable[[], Awaitable[bool]]


class Configured:
    """What is configured now: policies act before webhooks, as in Kubernetes."""

    def __init__(self, parts: Parts, load: Load) -> None:
        self._webhooks = Webhooks(parts)
        self._mutating = Mutating(parts)
        self._validating = Validating(parts)
        self._mutating_hooks = hooks_of(load(api.MutatingWebhookConfiguration), mutating=True)
        self._validating_hooks = hooks_of(load(api.ValidatingWebhookConfiguration), mutating=False)
        self._mutating_policies = bound_policies(
            load(api.MutatingAdmissionPolicy), load(api.MutatingAdmissionPolicyBinding)
        )
        self._validating_policies = bound_policies(
            load(api.ValidatingAdmissionPolicy), load(api.ValidatingAdmissionPolicyBinding)
        )

    async def mutate(self, subject: Subject, settle: Settle) -> bool:
        """True where the object was changed. Raises StatusError."""
        changed = await self._mutating.mutate(self._mutating_policies, subject, settle)
        return await self._webhooks.mutate(self._mutating_hooks, subject, settle) or changed

    async def validate(self, subject: Subject) -> None:
        """Raises StatusError where one of them refuses."""
        self._validating.validate(self._validating_policies, subject)
        await self._webhooks.validate(self._validating_hooks, subject)
