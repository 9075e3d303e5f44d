"""Calling admission webhooks: mutating ones one after the other, validating ones all at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sampan.apiserver.core import status
from sampan.apiserver.core.admission.dynamic import review
from sampan.apiserver.core.admission.dynamic.matching import Matcher, is_exempt
from sampan.apiserver.core.admission.dynamic.subject import Parts, Subject
from sampan.apiserver.core.admission.dynamic.variables import CONDITIONS_COST, OutOfBudget, Scope
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.webhooks.client import WebhookFailed, endpoint_of
from sampan.kinds.groups.admissionregistration import expressions
from sampan.machinery import cel
from sampan.machinery.patch import json_patch
from sampan.machinery.patch.errors import PatchError

log = logging.getLogger(__name__)
Settle = Callable[[], Awaitable[bool]]


class Hook:
    """One webhook of a configuration, ready to be asked."""

    def __init__(self, configuration: Any, webhook: Any, *, mutating: bool) -> None:
        self.configuration: str = configuration.metadata.name
        self.name: str = webhook.name
        self.webhook = webhook
        self.mutating = mutating
        self.matcher = Matcher(webhook, webhook.rules)
        self.again = mutating and webhook.reinvocationPolicy == "IfNeeded"
        self.fails = webhook.failurePolicy != "Ignore"
        self._conditions: list[tuple[str, cel.Program]] | None = None

    def conditions(self) -> list[tuple[str, cel.Program]]:
        """The match conditions by name. Raises CompileError."""
        if self._conditions is None:
            self._conditions = [
                (condition.name, cel.compile(condition.expression, expressions.WEBHOOK_VARIABLES))
                for condition in self.webhook.matchConditions
            ]
        return self._conditions


def hooks_of(configurations: Sequence[Any], *, mutating: bool) -> tuple[Hook, ...]:
    """Every webhook, in the order in which they are called: by their configurations' names."""
    return tuple(
        Hook(configuration, webhook, mutating=mutating)
        for configuration in sorted(configurations, key=lambda each: each.metadata.name)
        for webhook in configuration.webhooks
    )


class Webhooks:
    """Calls webhooks for one API server."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def mutate(self, hooks: Sequence[Hook], subject: Subject, settle: Settle) -> bool:
        """Have the object changed; True where it was. Raises StatusError.

        `settle` runs the built-in plugins again over a changed object, and says whether they changed it too.
        """
        if is_exempt(subject):
            return False
        changed = False
        invoked: list[Hook] = []
        again: dict[Hook, None] = {}
        for hook in hooks:
            version = self._wants(hook, subject)
            if version is None:
                continue
            if await self._mutate_once(hook, subject, version, 0):
                changed = True
                again.update(dict.fromkeys(invoked))
            invoked.append(hook)
        if changed and await settle():
            again.update(dict.fromkeys(invoked))
        for hook in hooks:
            if hook in again and hook.again:
                version = self._wants(hook, subject)
                if version is not None:
                    await self._mutate_once(hook, subject, version, 1)
        return changed

    async def validate(self, hooks: Sequence[Hook], subject: Subject) -> None:
        """Ask every webhook that wants to see the write. Raises StatusError."""
        if is_exempt(subject):
            return
        wanted = [(hook, self._wants(hook, subject)) for hook in hooks]
        calls = [
            self._validate_once(hook, subject, version) for hook, version in wanted if version is not None
        ]
        if not calls:
            return
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    # -- one webhook ---------------------------------------------------------------------------------

    def _wants(self, hook: Hook, subject: Subject) -> Resource | None:
        version = hook.matcher.matches(subject)
        if version is None or not hook.webhook.matchConditions:
            return version
        error = ""
        try:
            scope = Scope(self._parts, subject, version, CONDITIONS_COST)
            for name, program in hook.conditions():
                try:
                    if scope.evaluate(program) is not True:
                        return None
                except cel.CelError as failed:
                    # A condition that is false decides, even after one without a value.
                    error = error or f"match condition {name!r} resulted in error: {failed}"
        except (cel.CompileError, OutOfBudget) as failed:
            error = str(failed) or "match conditions failed due to running out of cost budget"
        if not error:
            return version
        if hook.fails:
            raise status.forbidden(subject.served.kind, subject.name, error)
        log.warning("webhook %s is left out: %s", hook.name, error)
        return None

    async def _mutate_once(self, hook: Hook, subject: Subject, version: Resource, round_: int) -> bool:
        verdict = await self._ask(hook, subject, version, round_)
        if verdict is None or not verdict.operations or subject.operation == "DELETE":
            return False
        document = subject.document(version)
        assert document is not None
        try:
            made = json_patch.apply(document, verdict.operations)
        except PatchError as broken:
            raise status.internal(str(broken)) from None
        if made == document or not isinstance(made, dict):
            return False
        try:
            subject.replace(made, version)
        except StatusError as broken:
            raise status.internal(
                f"admission webhook {_quoted(hook.name)} made an object that is none: {broken.message}"
            ) from None
        return True

    async def _validate_once(self, hook: Hook, subject: Subject, version: Resource) -> None:
        await self._ask(hook, subject, version, 0)

    async def _ask(
        self, hook: Hook, subject: Subject, version: Resource, round_: int
    ) -> review.Verdict | None:
        """The verdict of a webhook that allows; None where it failed and that is to be ignored."""
        context = subject.context
        if context.dry_run and hook.webhook.sideEffects not in ("None", "NoneOnDryRun"):
            raise status.bad_request(f"admission webhook {_quoted(hook.name)} does not support dry run")
        uid = self._parts.ids.uid()
        try:
            verdict = await self._call(hook, subject, version, uid)
        except WebhookFailed as failed:
            why = f"failed calling webhook {_quoted(hook.name)}: {failed}"
            if hook.fails:
                raise status.internal(why) from None
            log.warning("%s; the write goes on", why)
            context.annotate(_failed_open(hook, round_), hook.name)
            return None
        for text in verdict.warnings:
            context.warn(text)
        for key, value in verdict.annotations.items():
            context.annotate(f"{hook.name}/{key}", value)
        if not verdict.allowed:
            raise _denied(hook.name, verdict)
        return verdict

    async def _call(self, hook: Hook, subject: Subject, version: Resource, uid: str) -> review.Verdict:
        webhook = hook.webhook
        if "v1" not in webhook.admissionReviewVersions:
            raise WebhookFailed("no known AdmissionReview version: only v1 is spoken")
        body = review.encode(
            subject.request(uid, version), subject.document(version), subject.old_document(version)
        )
        try:
            endpoint = endpoint_of(webhook.clientConfig, self._parts.services.find)
            data = await self._parts.client.post(endpoint, body, float(webhook.timeoutSeconds or 10))
        except WebhookFailed as failed:
            raise WebhookFailed(f"failed to call webhook: {failed}") from None
        return review.decode(data, uid, hook.mutating)


def _failed_open(hook: Hook, round_: int) -> str:
    if hook.mutating:
        return f"failed-open.mutating.webhook.admission.k8s.io/round_{round_}_index_0"
    return f"failed-open.validating.webhook.admission.k8s.io/round_{round_}_index_0"


def _denied(name: str, verdict: review.Verdict) -> StatusError:
    denied = f"admission webhook {_quoted(name)} denied the request"
    if verdict.message:
        message = f"{denied}: {verdict.message}"
    elif verdict.reason:
        message = f"{denied}: {verdict.reason}"
    else:
        message = f"{denied} without explanation"
    code = verdict.code if 400 <= verdict.code < 600 else 400
    return StatusError(code, verdict.reason, message, verdict.details)


def _quoted(text: str) -> str:
    return f'"{text}"'
