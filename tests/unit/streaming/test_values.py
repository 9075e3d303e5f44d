"""Queries, channels, and which container's log is meant."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.streaming import channels, query
from sampan.node.streaming.access import api_server_or_admin, subject
from sampan.node.streaming.errors import Refused
from sampan.node.streaming.host import instance_id
from sampan.schema import api

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_log_options_are_read() -> None:
    asked = query.log_query(
        {"follow": ["true"], "timestamps": ["1"], "tailLines": ["0"], "sinceSeconds": ["60"]}, NOW
    )
    assert asked == query.LogQuery(
        follow=True, timestamps=True, tail_lines=0, since=datetime(2026, 1, 1, 11, 59, tzinfo=UTC)
    )
    since = query.log_query({"sinceTime": ["2026-01-01T00:00:00Z"], "limitBytes": ["5"]}, NOW)
    assert since == query.LogQuery(since=datetime(2026, 1, 1, tzinfo=UTC), limit_bytes=5)
    assert query.log_query({"follow": ["false"], "stream": ["Stderr"]}, NOW).stream == b"stderr"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("tailLines", "-1", 422),
        ("tailLines", "many", 400),
        ("limitBytes", "0", 422),
        ("sinceSeconds", "0", 422),
        ("sinceTime", "yesterday", 400),
        ("sinceTime", "2026-01-01T00:00:00", 400),
        ("stream", "Stdin", 422),
    ],
)
def test_log_options_that_make_no_sense_are_refused(name: str, value: str, code: int) -> None:
    with pytest.raises(Refused) as refused:
        query.log_query({name: [value]}, NOW)
    assert refused.value.code == code


def test_session_options_under_both_names() -> None:
    wanted = query.SessionQuery(command=("a", "b c"), stdin=True, stdout=True, stderr=True)
    assert wanted == query.session_query(
        {"command": ["a", "b c"], "stdin": ["true"], "stdout": ["1"], "stderr": ["true"]}
    )
    assert wanted == query.session_query(
        {"command": ["a", "b c"], "input": ["1"], "output": ["1"], "error": ["1"]}
    )


def test_a_terminal_has_no_stderr_and_a_session_has_a_stream() -> None:
    assert not query.session_query({"stderr": ["1"], "stdout": ["1"], "tty": ["1"]}).stderr
    with pytest.raises(Refused, match="at least 1"):
        query.session_query({"stdin": ["false"], "tty": ["true"]})


def test_ports() -> None:
    assert query.ports({"ports": ["80,443", "8080"]}) == (80, 443, 8080)
    for wrong in ("0", "65536", "x", "-1", ""):
        with pytest.raises(Refused):
            query.ports({"port": [wrong]})


@given(st.sampled_from(channels.PROTOCOLS), st.integers(0, 9), st.binary(max_size=50))
def test_a_message_says_what_was_put_in(protocol: channels.Protocol, channel: int, data: bytes) -> None:
    assert channels.decode(protocol, channels.encode(protocol, channel, data)) == (channel, data)


@given(st.sampled_from(channels.PROTOCOLS), st.one_of(st.binary(max_size=20), st.text(max_size=20)))
def test_any_message_is_understood_or_refused(protocol: channels.Protocol, message: bytes | str) -> None:
    try:
        channel, data = channels.decode(protocol, message)
    except channels.BadMessage:
        return
    assert 0 <= channel <= 255 and isinstance(data, bytes)


def test_the_newest_protocol_offered_is_chosen() -> None:
    chosen = channels.choose(["v4.channel.k8s.io", "v5.channel.k8s.io", "channel.k8s.io"])
    assert chosen is not None and chosen.name == "v5.channel.k8s.io" and chosen.closes
    assert channels.choose([]) == channels.UNNAMED
    assert channels.choose(["soap"]) is None


def test_outcomes_are_statuses_from_version_4_on() -> None:
    new = channels.choose(["v4.channel.k8s.io"])
    old = channels.choose(["channel.k8s.io"])
    assert new is not None and old is not None
    ended = channels.outcome(new, 7)
    assert ended is not None
    status = msgspec.json.decode(ended)
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    zero = channels.outcome(new, 0)
    assert zero is not None and msgspec.json.decode(zero)["status"] == "Success"
    assert channels.outcome(old, 0) is None
    assert channels.outcome(old, 7) == b"command terminated with exit code 7"
    assert channels.failure(old, "no") == b"no"
    assert (
        channels.encode(channels.Protocol("", base64=True), 1, b"x") == "1" + base64.b64encode(b"x").decode()
    )


def test_terminal_sizes() -> None:
    assert channels.terminal_size(b'{"Width":80,"Height":24}') == channels.Size(80, 24)
    for wrong in (b"", b"{}", b'{"Width":-1,"Height":4}', b'{"Width":"x"}', b'{"Width":70000,"Height":2}'):
        assert channels.terminal_size(wrong) is None


def state(**kinds: object) -> api.ContainerState:
    return api.ContainerState(**kinds)  # type: ignore[arg-type]


def ended(id_: str) -> api.ContainerStateTerminated:
    return api.ContainerStateTerminated(exitCode=1, containerID=id_ and f"containerd://{id_}")


def waiting(reason: str) -> api.ContainerStateWaiting:
    return api.ContainerStateWaiting(reason=reason)


def pod(now: api.ContainerState, last: api.ContainerState | None = None) -> api.Pod:
    status = api.ContainerStatus(
        name="main", image="i", imageID="i", state=now, lastState=last, containerID="containerd://now"
    )
    return api.Pod(metadata=api.ObjectMeta(name="web"), status=api.PodStatus(containerStatuses=[status]))


RUNNING = state(running=api.ContainerStateRunning())


@pytest.mark.parametrize(
    ("now", "last", "previous", "expected"),
    [
        (RUNNING, None, False, "now"),
        (RUNNING, state(terminated=ended("old")), True, "old"),
        (state(terminated=ended("now")), state(terminated=ended("old")), False, "now"),
        (state(terminated=ended("")), state(terminated=ended("old")), False, "old"),
        (state(waiting=waiting("CrashLoopBackOff")), state(terminated=ended("old")), False, "old"),
        (state(waiting=waiting("CrashLoopBackOff")), state(terminated=ended("old")), True, "old"),
    ],
)
def test_which_instance_is_meant(
    now: api.ContainerState, last: api.ContainerState | None, previous: bool, expected: str
) -> None:
    assert instance_id(pod(now, last), "main", previous=previous) == expected


@pytest.mark.parametrize(
    ("now", "previous", "message"),
    [
        (RUNNING, True, 'previous terminated container "main" in pod "web" not found'),
        (
            state(waiting=waiting("ContainerCreating")),
            False,
            'container "main" in pod "web" is waiting to start: ContainerCreating',
        ),
        (
            state(waiting=waiting("ImagePullBackOff")),
            False,
            'container "main" in pod "web" is waiting to start: trying and failing to pull image',
        ),
        (
            state(waiting=waiting("ErrImagePull")),
            False,
            'container "main" in pod "web" is waiting to start: image can\'t be pulled',
        ),
        (state(), False, 'container "main" in pod "web" is waiting to start - no logs yet'),
        (state(terminated=ended("")), False, 'container "main" in pod "web" is terminated'),
    ],
)
def test_why_there_is_no_log(now: api.ContainerState, previous: bool, message: str) -> None:
    with pytest.raises(Refused) as refused:
        instance_id(pod(now), "main", previous=previous)
    assert (refused.value.code, refused.value.message) == (400, message)
    with pytest.raises(Refused, match='container "other" in pod "web" is not available'):
        instance_id(pod(RUNNING), "other", previous=False)


def test_who_may() -> None:
    certificate = {
        "subject": ((("organizationName", "a"),), (("organizationName", "b"),), (("commonName", "n"),))
    }
    assert subject(certificate) == ("n", ("a", "b"))
    assert subject(None) is None and subject({}) is None
    assert api_server_or_admin("kube-apiserver-kubelet-client", ())
    assert api_server_or_admin("anna", ("system:masters",))
    assert not api_server_or_admin("system:node:a", ("system:nodes",))
