"""What the proxy does to the kernel: nftables, remembered connections, settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Protocol

from sampan.base.errors import SampanError

_COMMAND_S: Final = 30.0
_SHOWN_LINES: Final = 4
_SETTINGS: Final = Path("/proc/sys")


class Kernel(Protocol):
    """One network namespace."""

    async def apply(self, script: str) -> None:
        """Run an nftables script as one transaction. Raises SampanError; then nothing has changed."""
        ...

    async def forget_flows(self, arguments: tuple[str, ...]) -> None:
        """Delete remembered connections; none found is no error. Raises SampanError."""
        ...

    async def has_route(self, cidr: str) -> bool:
        """Whether packets to that network would leave at all."""
        ...

    async def change_route(self, action: str, cidr: str) -> None:
        """`add` or `del` the way to that network over the loopback device. Raises SampanError."""
        ...

    def setting(self, name: str) -> str | None:
        """A setting as `net/ipv4/ip_forward` names it; None where the kernel has none of that name."""
        ...

    def change_setting(self, name: str, value: str) -> None:
        """Raises SampanError where it cannot be changed."""
        ...


class LinuxKernel:
    """The namespace that this process is in, through the programs `nft` and `conntrack`.

    `prefix` goes before each program (`ip netns exec …`).
    """

    def __init__(self, prefix: tuple[str, ...] = (), settings: Path = _SETTINGS) -> None:
        self._prefix = prefix
        self._settings = settings

    async def apply(self, script: str) -> None:
        code, errors = await _run((*self._prefix, "nft", "-f", "-"), script)
        if code:
            raise SampanError(_nft_sentence(errors))

    async def forget_flows(self, arguments: tuple[str, ...]) -> None:
        code, errors = await _run((*self._prefix, "conntrack", *arguments), "")
        if code and "0 flow entries" not in errors:
            raise SampanError(f"conntrack {' '.join(arguments)} failed: {_first_lines(errors)}.")

    async def has_route(self, cidr: str) -> bool:
        code, _ = await _run((*self._prefix, "ip", "route", "get", cidr.partition("/")[0]), "")
        return code == 0

    async def change_route(self, action: str, cidr: str) -> None:
        code, errors = await _run((*self._prefix, "ip", "route", action, cidr, "dev", "lo"), "")
        if code:
            raise SampanError(f"ip route {action} {cidr} dev lo failed: {_first_lines(errors)}.")

    def setting(self, name: str) -> str | None:
        try:
            return (self._settings / name).read_text().strip()
        except OSError:
            return None

    def change_setting(self, name: str, value: str) -> None:
        try:
            (self._settings / name).write_text(value + "\n")
        except OSError as error:
            dotted = name.replace("/", ".")
            raise SampanError(
                f"the kernel setting {dotted} cannot be set to {value}: {error.strerror}; run as root, or "
                f"set it yourself: sysctl -w {dotted}={value}"
            ) from error


async def _run(command: tuple[str, ...], text: str) -> tuple[int, str]:
    pipe = asyncio.subprocess.PIPE
    # A program that reads nothing may be gone before it could be written to.
    given = pipe if text else asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=given, stdout=pipe, stderr=pipe)
    except FileNotFoundError as error:
        package = {"nft": "nftables", "conntrack": "conntrack"}.get(command[0], command[0])
        raise SampanError(
            f"the program {command[0]} is not installed; install the package {package}."
        ) from error
    except PermissionError as error:
        raise SampanError(
            f"the program {command[0]} may not be run: {error.strerror}; run as root."
        ) from error
    try:
        async with asyncio.timeout(_COMMAND_S):
            _, errors = await process.communicate(text.encode() or None)
    except TimeoutError as error:
        raise SampanError(
            f"{command[0]} did not finish within {_COMMAND_S:.0f} s and was stopped."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, errors.decode("utf-8", "replace")


def _nft_sentence(errors: str) -> str:
    shown = _first_lines(errors)
    if "Operation not permitted" in errors:
        return "nftables may not be changed; run as root (or with CAP_NET_ADMIN)."
    if "Protocol not supported" in errors or "Operation not supported" in errors:
        return (
            f"the kernel lacks a part of nftables that services need ({shown}); load the modules nf_tables, "
            "nft_chain_nat, nft_fib_inet, nft_numgen, nft_masq and nft_reject_inet."
        )
    return f"nftables refused the rules for services: {shown}."


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and set(line.strip()) - set("^~ ")]
    return "; ".join(lines[:_SHOWN_LINES])[:600].rstrip(".") or "it said nothing"
