"""What a plan may ask for: the one vocabulary of everything that controllers do to the cluster.

Plans are data; `executor` carries them out. Each effect on an existing object carries the uid it was
planned for (and the resourceVersion where losing a race must stop it), so that a stale plan does nothing;
a conflict makes the key be planned again.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Effect(msgspec.Struct, frozen=True):
    """Something to do to the cluster."""


class Ref(msgspec.Struct, frozen=True):
    """An object: `api_version` and `kind` as in its type meta; empty namespace for cluster scope."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""


class Emit(Effect, frozen=True):
    """Record an Event about the object; repeated ones are counted, not stored again."""

    about: Ref
    type: str  # Normal or Warning
    reason: str
    message: str
    action: str = ""


class Create(Effect, frozen=True):
    """Create the object. `expect_exists` makes AlreadyExists a success (idempotent creates).

    In a namespace that is going away, nothing is created and that is a success. `done` and `failed` are
    recorded afterwards, with the name that the server generated in place of `{name}` and the error's text in
    place of `{error}`.
    """

    obj: Any
    expect_exists: bool = False
    done: Emit | None = None
    failed: Emit | tuple[Emit, ...] | None = None


class Update(Effect, frozen=True):
    """Replace the object, or the named subresource; its metadata.resourceVersion guards it."""

    obj: Any
    subresource: str = ""


class UpdateStatus(Effect, frozen=True):
    """Replace the status subresource; metadata.resourceVersion guards it."""

    obj: Any


class Patch(Effect, frozen=True):
    """A JSON merge patch; include metadata.uid or metadata.resourceVersion in it to guard."""

    ref: Ref
    patch: dict[str, Any]
    subresource: str = ""


class Apply(Effect, frozen=True):
    """Server-side apply as `manager`."""

    obj: Any
    manager: str
    force: bool = True
    subresource: str = ""


class Remove(Effect, frozen=True):
    """Delete, with the ref's uid (and resourceVersion if set) as preconditions. NotFound is a success.

    `done` and `failed` are as in `Create`.
    """

    ref: Ref
    propagation: str | None = None
    grace_s: int | None = None
    done: Emit | None = None
    failed: Emit | None = None


class RemoveAll(Effect, frozen=True):
    """Delete every object of a kind in one namespace by one request.

    Where the server has no such request for the kind, they are listed and deleted one by one.
    """

    api_version: str
    kind: str
    namespace: str
    propagation: str | None = None


class Evict(Effect, frozen=True):
    """Ask the eviction API to remove a pod, respecting disruption budgets."""

    ref: Ref


class Plan(msgspec.Struct, frozen=True):
    """What a controller decided for one key.

    `effects` run in order; a failed one stops the rest and the key is planned again with back-off. Neighbours
    of one class on different objects may run at the same time.
    `waiting_for` says in one sentence what has to happen before there is more to do ("" when nothing).
    `requeue_after_s` asks to look again at that time even if nothing changes.
    `notices` are events about a state that lasts: each is recorded when it first holds for the key, and again
    only after it held no longer.
    """

    effects: tuple[Effect, ...] = ()
    waiting_for: str = ""
    requeue_after_s: float | None = None
    notices: tuple[Emit, ...] = ()


NOTHING = Plan()
