"""All of dynamic admission in one place for the chain: what is configured, and in which order it acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampan.apiserver.core.admission.chain import Plugin
from sampan.apiserver.core.admission.dynamic.matching import GROUP
from sampan.apiserver.core.admission.dynamic.subject import Parts, Subject
from sampan.apiserver.core.context import Attributes
from sampan.schema import api, codec

if TYPE_CHECKING:
    from sampan.apiserver.core.admission.dynamic.configured import Configured

# Changes under this key change what is configured.
PREFIX: Final = f"/registry/{GROUP}/"


class Dynamic:
    """Webhooks and policies. Where none are configured, `mutates` and `validates` are False."""

    def __init__(self, parts: Parts) -> None:
        self.mutates = False
        self.validates = False
        self._parts = parts
        self._configured: Configured | None = None

    def forget(self) -> None:
        """A configuration, policy or binding changed: it takes effect with the next write."""
        self._configured = None
        self.mutates = self._any(api.MutatingWebhookConfiguration) or self._any(
            api.MutatingAdmissionPolicyBinding
        )
        self.validates = self._any(api.ValidatingWebhookConfiguration) or self._any(
            api.ValidatingAdmissionPolicyBinding
        )

    def _any(self, kind: type[msgspec.Struct]) -> bool:
        return next(iter(self._parts.resources.of(kind).cache), None) is not None

    @property
    def configured(self) -> Configured:
        if self._configured is None:
            # Late: most servers never have any, and the expressions' library takes a while to load.
            from sampan.apiserver.core.admission.dynamic.configured import Configured

            self._configured = Configured(self._parts, self._load)
        return self._configured

    def _load(self, kind: type[msgspec.Struct]) -> list[Any]:
        resource = self._parts.resources.of(kind)
        return [resource.decode_stored(item.data) for item in resource.cache]

    async def mutate(self, attributes: Attributes, plugins: Sequence[Plugin]) -> bool:
        """Policies, then webhooks, change the object; True where they did. Raises StatusError."""
        subject, configured = self._subject(attributes), self.configured

        async def settle() -> bool:
            return self._settle(attributes, plugins, subject)

        return await configured.mutate(subject, settle)

    async def validate(self, attributes: Attributes) -> None:
        """Policies, then webhooks, look at the object as it will be. Raises StatusError."""
        await self.configured.validate(self._subject(attributes))

    def _subject(self, attributes: Attributes) -> Subject:
        return Subject(
            attributes.context,
            attributes.verb,
            attributes.subresource,
            attributes.namespace,
            attributes.obj,
            attributes.old,
            self._parts,
        )

    @staticmethod
    def _settle(attributes: Attributes, plugins: Sequence[Plugin], subject: Subject) -> bool:
        """Defaults and built-in plugins again, over what others made; True where that changed it."""
        if subject.obj is None:
            return False
        before = codec.encode(subject.obj)
        attributes.context.resource.kind.default(subject.obj)
        for plugin in plugins:
            plugin.mutate(attributes)
        subject.renew()
        return codec.encode(subject.obj) != before
