"""Looks at the part of a runtime that belongs to one pod."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, cast, runtime_checkable

from sampan.node.names import uid_of
from sampan.node.runtimes.runtime import Listing, Runtime, Sandbox


@runtime_checkable
class ListsPods(Protocol):
    """What a runtime may offer beside the whole listing: the same for one pod, which costs less."""

    async def list_pod(self, uid: str) -> Listing: ...


@runtime_checkable
class ShowsSandboxes(Protocol):
    """What a runtime may offer beside the listing of a pod: one sandbox, by its id."""

    async def show_sandbox(self, sandbox_id: str) -> Sandbox | None: ...


@lru_cache(maxsize=16)
def _shows_sandboxes(runtime: type) -> bool:
    return issubclass(runtime, ShowsSandboxes)


@lru_cache(maxsize=16)
def _lists_pods(runtime: type) -> bool:
    # To check for a protocol takes longer than the listing that it saves.
    return issubclass(runtime, ListsPods)


async def listing_of(runtime: Runtime, uid: str) -> Listing:
    """What the runtime has of one pod."""
    if _lists_pods(type(runtime)):
        return await cast(ListsPods, runtime).list_pod(uid)
    return part_of(await runtime.list(), uid)


async def sandbox_of(runtime: Runtime, uid: str, sandbox_id: str) -> Sandbox | None:
    """One sandbox of a pod, as the runtime has it now."""
    if _shows_sandboxes(type(runtime)):
        return await cast(ShowsSandboxes, runtime).show_sandbox(sandbox_id)
    listing = await listing_of(runtime, uid)
    return next((each for each in listing.sandboxes if each.id == sandbox_id), None)


def part_of(listing: Listing, uid: str) -> Listing:
    """The part of a listing that belongs to one pod."""
    return Listing(
        tuple(s for s in listing.sandboxes if s.uid == uid),
        tuple(c for c in listing.containers if uid_of(c.labels) == uid),
    )


def by_pod(listing: Listing) -> dict[str, Listing]:
    """A whole listing cut up by pod uid; what carries no pod uid is not ours and left out."""
    sandboxes: dict[str, list[int]] = {}
    containers: dict[str, list[int]] = {}
    for index, sandbox in enumerate(listing.sandboxes):
        sandboxes.setdefault(sandbox.uid, []).append(index)
    for index, container in enumerate(listing.containers):
        containers.setdefault(uid_of(container.labels), []).append(index)
    return {
        uid: Listing(
            tuple(listing.sandboxes[i] for i in sandboxes.get(uid, ())),
            tuple(listing.containers[i] for i in containers.get(uid, ())),
        )
        for uid in {**sandboxes, **containers}
        if uid
    }
