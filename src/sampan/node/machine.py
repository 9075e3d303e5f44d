"""The pod state machine: what happens to a pod goes in, what to do about it comes out. Pure.

`step` first learns from the event, then decides from everything known: work that is wanted and not under
way is ordered, so that events may come late, twice or in any order and the pod still gets where it should.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from sampan.kinds.core.phases import FINISHED
from sampan.node import outcomes, rundown, runup
from sampan.node.messages import (
    DevicesSeen,
    Done,
    Event,
    Evicted,
    Failed,
    Instruction,
    Observed,
    PodGone,
    PodSeen,
    Probed,
    Rejected,
    Relist,
    ReportStatus,
    SetTimer,
    Tick,
)
from sampan.node.model import (
    EndKind,
    NodeFacts,
    PodState,
    Trouble,
)
from sampan.node.names import key_of
from sampan.node.observe import learn_listing, learn_pod
from sampan.node.pod_status import pod_status
from sampan.node.turn import Turn
from sampan.schema import api


def new_state(pod: api.Pod, node: NodeFacts) -> PodState:
    """A pod of which nothing is known yet but its object; it does nothing before it is first Observed."""
    return PodState(pod=pod, key=key_of(pod), node=node)


def step(state: PodState, event: Event, now: datetime) -> tuple[PodState, list[Instruction]]:
    """The state after `event`, and what to do now."""
    state, orders, wake_at = advance(state, (event,), now)
    state, more = conclude(state, wake_at, now)
    return state, orders + more


def advance(
    state: PodState, events: Iterable[Event], now: datetime
) -> tuple[PodState, list[Instruction], datetime | None]:
    """The first half of a step: the state after `events`, what to do about them, and when time brings more.

    Who may have further events soon goes on with them and then concludes once, with what the last call gave:
    what would be said of the states in between nobody could ever have seen.
    """
    if state.forgotten:
        return state, [], None
    turn = Turn(state, now)
    for event in events:
        _learn(turn, event)
    if turn.state.observed:
        _decide(turn)
    if turn.state.look_again and not state.look_again:
        turn.orders.append(Relist())
    return turn.state, turn.orders, turn.wake_at


def conclude(state: PodState, wake_at: datetime | None, now: datetime) -> tuple[PodState, list[Instruction]]:
    """The second half: report the status, let the API object go where it may, set the timer."""
    turn = Turn(state, now)
    turn.wake_at = wake_at
    if state.observed and not state.forgotten:
        _report(turn)
    _set_timer(turn)
    return turn.state, turn.orders


def is_echo(state: PodState, pod: api.Pod) -> bool:
    """Whether the API's version says nothing that is not known: the status reported, and all else as before.

    A step with such a `PodSeen` changes nothing but the pod itself, unless something waits for its time.
    """
    before, after = state.pod.metadata, pod.metadata
    return (
        state.reported is not None
        and state.timer_at is None
        and not state.look_again
        and not state.doing
        and after.generation == before.generation
        and after.deletionTimestamp == before.deletionTimestamp
        and after.deletionGracePeriodSeconds == before.deletionGracePeriodSeconds
        and not pod.spec.readinessGates
        and pod.status == state.reported
        and after.annotations == before.annotations
        and pod.spec == state.pod.spec
    )


def _learn(turn: Turn, event: Event) -> None:
    match event:
        case PodSeen(pod):
            learn_pod(turn, pod)
        case PodGone():
            turn.change(api_gone=True)
        case Observed():
            first = not turn.state.observed
            if first:
                learn_pod(turn, turn.state.pod)
            learn_listing(turn, event)
            if first:
                _start(turn)
        case Done(key, result):
            if turn.finished(key):
                outcomes.done(turn, key, result)
        case Failed():
            if turn.finished(event.key):
                outcomes.failed(turn, event)
        case DevicesSeen(devices):
            turn.change(devices=devices)
        case Probed():
            outcomes.probed(turn, event)
        case Rejected(reason, message):
            if turn.state.sandbox is None and turn.state.rejected is None:
                turn.change(rejected=Trouble(reason, message))
                turn.note("Warning", reason, message)
        case Evicted(reason, message, grace_s, disruption):
            rundown.end(turn, EndKind.FAILED, grace_s, reason, message, disruption=disruption)
            turn.note("Warning", reason, message)
        case Tick():
            turn.change(timer_at=None)


def _start(turn: Turn) -> None:
    """The first sight of the pod: what the API already says final stays final."""
    status = turn.state.pod.status
    if turn.state.start_time is None:
        turn.change(start_time=status.startTime or turn.now)
    if status.phase in FINISHED:
        turn.change(reported=status)
        if not turn.state.devices:  # given back, and still told of
            statuses = (c for c in status.containerStatuses if c.allocatedResourcesStatus)
            turn.change(devices={c.name: tuple(c.allocatedResourcesStatus) for c in statuses})
        rundown.end(turn, EndKind.COMPLETED, 0)


def _decide(turn: Turn) -> None:
    rundown.check(turn)
    if turn.state.rejected is not None and turn.state.ending is None:
        return
    if turn.state.ending is None:
        runup.advance(turn)
    if turn.state.ending is not None:
        rundown.advance(turn)
    runup.reconcile_probes(turn)
    runup.remove_old(turn)


def _report(turn: Turn) -> None:
    if turn.state.api_gone:
        return
    if not turn.state.unseen or turn.state.pod.metadata.finalizers:
        status = pod_status(turn.state, turn.now)
        if status != turn.state.reported:
            turn.change(reported=status)
            turn.orders.append(ReportStatus(status))
    if rundown.may_finish(turn.state):
        rundown.finish(turn)


def _set_timer(turn: Turn) -> None:
    if turn.state.forgotten:
        turn.wake_at = None
    if turn.wake_at != turn.state.timer_at:
        turn.state = replace(turn.state, timer_at=turn.wake_at)
        turn.orders.append(SetTimer(turn.wake_at))
