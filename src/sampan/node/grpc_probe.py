"""The gRPC health protocol, by hand: one string in, one enum out, no generated code."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import grpc
import grpc.aio

METHOD: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = 1
_NAMES: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def grpc_health(
    address: str, port: int, service: str, timeout_s: float, tls: bool = False
) -> tuple[bool, str]:
    """Whether the service says SERVING, and what it said instead. TLS certificates are not verified."""
    target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    channel = await _secure(target, address, port) if tls else grpc.aio.insecure_channel(target)
    async with channel:
        check = channel.unary_unary(METHOD, request_serializer=_request, response_deserializer=_status)
        try:
            status = await check(service, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return False, "this server does not implement the grpc health protocol"
            return False, f"rpc error: code = {error.code().name} desc = {error.details()}"
    if status == SERVING:
        return True, f"service healthy: {_NAMES[SERVING]}"
    return False, f"service unhealthy (responded with {_NAMES.get(status, str(status))!r})"


async def _secure(target: str, address: str, port: int) -> grpc.aio.Channel:
    # grpc cannot skip verification: the certificate that the server shows becomes the trusted root.
    pem = await asyncio.to_thread(ssl.get_server_certificate, (address, port))
    credentials = grpc.ssl_channel_credentials(root_certificates=pem.encode())
    return grpc.aio.secure_channel(target, credentials)


def _request(service: str) -> bytes:
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _status(message: bytes) -> int:
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
