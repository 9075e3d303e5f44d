"""Custom resources as values: metadata typed, all else plain JSON.

`codec` treats them like any struct, through its hooks: `codec.decode(data, CustomObject)`, `codec.copy`,
`codec.to_builtins` and the rest work unchanged.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.schema.compile import decode_custom
from sampan.schema.definitions import NEWEST, load
from sampan.schema.walk import Walk, WrongType

OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
TYPED: Final = frozenset({"apiVersion", "kind", "metadata"})


class CustomObject:
    """An object of a custom kind. `content` holds its fields beside apiVersion, kind and metadata."""

    __slots__ = ("apiVersion", "content", "kind", "metadata")

    def __init__(
        self,
        kind: str | None = None,
        apiVersion: str | None = None,
        metadata: Any = None,
        content: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.apiVersion = apiVersion
        self.metadata = metadata if metadata is not None else object_meta({})
        self.content: dict[str, Any] = content if content is not None else {}

    @classmethod
    def from_json(cls, value: Any) -> CustomObject:
        """The object of parsed JSON. Raises ValueError where it is none."""
        if not isinstance(value, dict):
            raise ValueError("an object is a JSON object")
        metadata = value.get("metadata")
        try:
            typed = stored_meta(metadata if metadata is not None else {})
        except msgspec.ValidationError:  # nulls, or what is wrong
            typed = object_meta(metadata)
        return cls(
            _text(value.get("kind"), "kind"),
            _text(value.get("apiVersion"), "apiVersion"),
            typed,
            {name: item for name, item in value.items() if name not in TYPED},
        )

    def to_json(self) -> dict[str, Any]:
        """What msgspec encodes: metadata comes before everything that could hold a resourceVersion."""
        head: dict[str, Any] = {}
        if self.kind is not None:
            head["kind"] = self.kind
        if self.apiVersion is not None:
            head["apiVersion"] = self.apiVersion
        head["metadata"] = self.metadata
        head.update(self.content)
        return head

    @property
    def status(self) -> Any:
        return self.content.get("status")

    @status.setter
    def status(self, value: Any) -> None:
        if value is None:
            self.content.pop("status", None)
        else:
            self.content["status"] = value

    def shallow(self) -> CustomObject:
        """A copy whose own fields and metadata may be set; what they hold is shared."""
        metadata = msgspec.structs.replace(self.metadata)
        return CustomObject(self.kind, self.apiVersion, metadata, dict(self.content))

    def intent(self, *, status: bool) -> dict[str, Any]:
        """The fields that metadata.generation counts; `status` says that the status is not one of them."""
        return {k: v for k, v in self.content.items() if not (status and k == "status")}


def object_meta(value: Any) -> Any:
    """An ObjectMeta struct of parsed JSON, without what it has not. Raises ValueError."""
    try:
        pruned = Walk(load(NEWEST)).prune(value, OBJECT_META)
    except WrongType as wrong:
        raise ValueError(str(wrong)) from None
    try:
        return stored_meta(pruned)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def known_meta(value: Any) -> tuple[Any, list[str]]:
    """The metadata of an embedded resource without what an ObjectMeta has not, and the paths of that.

    What is no ObjectMeta at all comes back as it is: validation says what is wrong with it.
    """
    walk = Walk(load(NEWEST))
    try:
        return walk.prune(value, OBJECT_META), walk.unknown
    except WrongType:
        return value, []


def stored_meta(value: dict[str, Any]) -> Any:
    """An ObjectMeta struct of what this server wrote."""
    return msgspec.convert(value, _struct(), dec_hook=decode_custom, builtin_types=())


def _struct() -> Any:
    from sampan.schema import api  # late: it is made of this package's own modules

    return api.ObjectMeta


def _text(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is a string")
    return value
