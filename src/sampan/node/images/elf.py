"""The program of the pause image: a static executable of a few hundred bytes, assembled here.

It is process 1 of a pod's sandbox. It ignores SIGCHLD, so that the kernel reaps the orphans of pods which
share their process namespace; leaves on SIGTERM and SIGINT; and otherwise waits for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

SIGINT, SIGTERM, SIGCHLD = 2, 15, 17
_SIG_IGN = 1
# x86-64 refuses to deliver to a handler without a restorer; ours never returns to one.
_SA_RESTORER = 0x04000000
_BASE = 0x400000
_HEADERS_BYTES = 64 + 56
_SIGSET_BYTES = 8

# Machine names as `uname -m` gives them, with ELF's e_machine.
_MACHINES = {"x86_64": 62, "aarch64": 183}


def supported(machine: str) -> bool:
    """Whether `pause` can assemble for a machine named as in `uname -m`."""
    return machine in _MACHINES


def pause(machine: str) -> bytes:
    """The executable for `machine`. Raises KeyError for a machine that is not supported."""
    assemble = {"x86_64": _x86_64, "aarch64": _aarch64}[machine]
    # Two struct sigaction come first, then the code: so that addresses are known while assembling.
    ignore_at = _BASE + _HEADERS_BYTES
    leave_at = ignore_at + 32
    code_at = leave_at + 32
    code, handler_offset = assemble(ignore_at, leave_at, code_at)
    data = _sigaction(_SIG_IGN) + _sigaction(code_at + handler_offset)
    return _headers(machine, code_at, len(data) + len(code)) + data + code


def _sigaction(handler: int) -> bytes:
    """The kernel's struct sigaction: handler, flags, restorer, mask."""
    return struct.pack("<4Q", handler, _SA_RESTORER, handler, 0)


def _headers(machine: str, entry: int, body_bytes: int) -> bytes:
    size = _HEADERS_BYTES + body_bytes
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    executable = struct.pack("<HHIQQQIHHHHHH", 2, _MACHINES[machine], 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # One segment, readable and executable, from the file's start.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + executable + segment


def _x86_64(ignore_at: int, leave_at: int, code_at: int) -> tuple[bytes, int]:
    def set_signal(signal: int, action_at: int) -> bytes:
        return (
            b"\xbf" + struct.pack("<I", signal)  # mov edi, signal
            + b"\xbe" + struct.pack("<I", action_at)  # mov esi, action
            + b"\x31\xd2"  # xor edx, edx
            + b"\x41\xba" + struct.pack("<I", _SIGSET_BYTES)  # mov r10d, 8
            + b"\xb8" + struct.pack("<I", 13)  # mov eax, rt_sigaction
            + b"\x0f\x05"  # syscall
        )  # fmt: skip

    wait = b"\xb8" + struct.pack("<I", 34) + b"\x0f\x05" + b"\xeb\xf7"  # mov eax, pause; syscall; jmp back
    leave = b"\xb8" + struct.pack("<I", 231) + b"\x31\xff" + b"\x0f\x05"  # mov eax, exit_group; xor edi, edi
    return _arranged(set_signal, ignore_at, leave_at, wait, leave)


def _aarch64(ignore_at: int, leave_at: int, code_at: int) -> tuple[bytes, int]:
    def move(register: int, value: int) -> bytes:
        low = struct.pack("<I", 0xD2800000 | (value & 0xFFFF) << 5 | register)  # movz
        return low + struct.pack("<I", 0xF2A00000 | (value >> 16) << 5 | register)  # movk, lsl 16

    svc = struct.pack("<I", 0xD4000001)

    def set_signal(signal: int, action_at: int) -> bytes:
        registers = ((0, signal), (1, action_at), (2, 0), (3, _SIGSET_BYTES), (8, 134))
        return b"".join(move(register, value) for register, value in registers) + svc

    # arm64 has no pause(2): ppoll on nothing, without a timeout, is the same.
    poll = b"".join(move(register, 0) for register in range(5)) + move(8, 73) + svc
    back = struct.pack("<I", 0x14000000 | (-(len(poll) // 4) & 0x3FFFFFF))  # b
    leave = move(0, 0) + move(8, 94) + svc
    return _arranged(set_signal, ignore_at, leave_at, poll + back, leave)


def _arranged(
    set_signal: Callable[[int, int], bytes], ignore_at: int, leave_at: int, wait: bytes, leave: bytes
) -> tuple[bytes, int]:
    start = (
        set_signal(SIGCHLD, ignore_at) + set_signal(SIGTERM, leave_at) + set_signal(SIGINT, leave_at) + wait
    )
    return start + leave, len(start)
