"""Calls to a CRI runtime, and to containerd itself, over its unix socket.

gRPC is imported when the first call is made (16 MB and 0.1 s with protobuf): an agent that runs simulated
pods never pays for it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sampan.node.runtimes.cri import messages
from sampan.node.runtimes.runtime import RuntimeFailure

RUNTIME = "runtime.v1.RuntimeService"
IMAGES = "runtime.v1.ImageService"
TASKS = "containerd.services.tasks.v1.Tasks"
CONTAINERS = "containerd.services.containers.v1.Containers"
EVENTS = "containerd.services.events.v1.Events"
CONTENT = "containerd.services.content.v1.Content"
IMAGE_STORE = "containerd.services.images.v1.Images"
LEASES = "containerd.services.leases.v1.Leases"
SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots"
DIFF = "containerd.services.diff.v1.Diff"
NAMESPACE = "k8s.io"

# Kubelet's runtimeRequestTimeout.
CALL_TIMEOUT_S = 120.0
# Pulls move whole images; they get as long as it takes to fetch a large one over a slow line.
PULL_TIMEOUT_S = 1800.0
# A listener's backlog takes a connection at once; only a full one makes it wait.
_PROBE_TIMEOUT_S = 1.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# The reason that pod statuses and events show when a method fails, in kubelet's words.
REASONS = {
    "RunPodSandbox": "CreatePodSandboxError",
    "StopPodSandbox": "KillPodSandboxError",
    "RemovePodSandbox": "RemovePodSandboxError",
    "CreateContainer": "CreateContainerError",
    "StartContainer": "RunContainerError",
    "StopContainer": "KillContainerError",
    "RemoveContainer": "RemoveContainerError",
    "UpdateContainerResources": "ResizeError",
    "PullImage": "ErrImagePull",
    "ImageStatus": "ImageInspectError",
    "ListImages": "ImageInspectError",
    "RemoveImage": "ImageDeleteError",
}
UNAVAILABLE = "RuntimeUnavailable"


class NotFound(RuntimeFailure):
    """The runtime has no such sandbox, container or image."""


class AlreadyExists(RuntimeFailure):
    """The runtime has one of that name already."""


class DeadlineExceeded(RuntimeFailure):
    """The runtime did not answer in time, or ended the call because its own limit had passed."""


class Unimplemented(RuntimeFailure):
    """Who listens there does not know that method."""


class CriClient:
    """One channel to one socket. Calls may run at the same time; `close` ends them."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self._channel: Any = None
        self._calls: dict[str, Any] = {}

    async def call(
        self, service: str, method: str, *, timeout_s: float = CALL_TIMEOUT_S, lease: str = "", **fields: Any
    ) -> Any:
        """Send the request that `fields` make up; returns the response message.

        What containerd makes for it belongs to the `lease`, where one is given.

        Raises NotFound, DeadlineExceeded, or RuntimeFailure with kubelet's reason for the method.
        """
        request_type, _ = messages.method_types(service, method)
        call = self._callable(service, method)
        self._check_listening()
        import grpc

        try:
            return await call(
                request_type(**fields),
                timeout=timeout_s,
                metadata=_metadata(service, lease),
                wait_for_ready=True,
            )
        except grpc.aio.AioRpcError as error:
            raise self._failure(method, error) from None

    async def stream(self, service: str, method: str, **fields: Any) -> AsyncIterator[Any]:
        """The messages of a server stream, until it ends. Raises as `call` does."""
        request_type, _ = messages.method_types(service, method)
        import grpc

        start = self._callable(service, method, streaming=True)
        self._check_listening()
        stream = start(request_type(**fields), metadata=_metadata(service), wait_for_ready=True)
        try:
            async for response in stream:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._failure(method, error) from None
        finally:
            stream.cancel()

    async def exchange(
        self,
        service: str,
        method: str,
        requests: AsyncIterator[Any],
        lease: str = "",
    ) -> AsyncIterator[Any]:
        """The answers to a stream of request messages. Raises as `call` does."""
        import grpc

        write, read = messages.codec(service, method)
        make = self._open().stream_stream(
            f"/{service}/{method}", request_serializer=write, response_deserializer=read
        )
        stream = make(requests, metadata=_metadata(service, lease))
        try:
            async for response in stream:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._failure(method, error) from None

    def _check_listening(self) -> None:
        """Fail at once where nobody listens, and have gRPC wait where somebody does.

        Left alone, gRPC answers calls with the failure of its last attempt until its next one, however long
        the runtime has been back.
        """
        import grpc

        if self._channel is None or self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            try:
                probe.connect(self.socket_path)
            except OSError as error:
                raise self._unavailable(str(error)) from None

    def _unavailable(self, detail: str) -> RuntimeFailure:
        text = f"The container runtime at {self.socket_path} does not answer ({detail}); is it running?"
        return RuntimeFailure(UNAVAILABLE, text)

    async def close(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            self._calls.clear()
            await channel.close()

    def _callable(self, service: str, method: str, *, streaming: bool = False) -> Any:
        path = f"/{service}/{method}"
        found = self._calls.get(path)
        if found is None:
            write, read = messages.codec(service, method)
            make = self._open().unary_stream if streaming else self._open().unary_unary
            found = self._calls[path] = make(path, request_serializer=write, response_deserializer=read)
        return found

    def _open(self) -> Any:
        if self._channel is None:
            # Its fork handlers would stop every thread at each fork; the agent only forks to exec.
            os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
            import grpc.aio

            options = (
                # The default authority is the socket's path, which Go's HTTP/2 server rejects.
                ("grpc.default_authority", "localhost"),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # A runtime that restarts is back within milliseconds; the default waits up to two minutes.
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 500),
                # Two clients of one process must not share a connection that one of them closes.
                ("grpc.use_local_subchannel_pool", 1),
            )
            self._channel = grpc.aio.insecure_channel(
                f"unix:{Path(self.socket_path).absolute()}", options=options
            )
        return self._channel

    def _failure(self, method: str, error: Any) -> RuntimeFailure:
        import grpc

        code, detail = error.code(), error.details() or ""
        reason = REASONS.get(method, f"{method}Error")
        if code == grpc.StatusCode.NOT_FOUND:
            return NotFound(reason, detail)
        if code == grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists(reason, detail)
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return Unimplemented(reason, detail)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(
                reason, f"The container runtime did not finish {method} in time: {detail}"
            )
        if code == grpc.StatusCode.UNAVAILABLE:
            return self._unavailable(detail)
        return RuntimeFailure(reason, detail)


def _metadata(service: str, lease: str = "") -> tuple[tuple[str, str], ...]:
    namespace = (("containerd-namespace", NAMESPACE),) if service.startswith("containerd.") else ()
    return (*namespace, ("containerd-lease", lease)) if lease else namespace
