"""What a machine is: CPUs, memory, kernel, ids. Read once; the rest works on the values."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec

from sampan.machinery.quantity import Quantity, quantity
from sampan.node.config import AgentConfig

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
HUGE_PAGES = ("hugepages-1Gi", "hugepages-2Mi")


class MachineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as node.status tells of it."""

    cpus: int = 1
    memory_bytes: int = 0
    disk_bytes: int = 0
    architecture: str = "amd64"
    os_image: str = ""
    kernel_version: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""


def read_machine(root: str = "/") -> MachineInfo:
    """This machine, from /proc and its like; what cannot be read is left empty."""
    import psutil

    release = _os_release(_text("/etc/os-release"))
    machine_id = _text("/etc/machine-id").strip()
    return MachineInfo(
        cpus=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=psutil.disk_usage(root).total,
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        os_image=release,
        kernel_version=platform.release(),
        machine_id=machine_id,
        system_uuid=_text("/sys/class/dmi/id/product_uuid").strip() or machine_id,
        boot_id=_text("/proc/sys/kernel/random/boot_id").strip(),
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _os_release(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return "Linux"


def capacity(config: AgentConfig, machine: MachineInfo) -> dict[str, Quantity]:
    """The node's capacity: the machine's, overridden by the config's."""
    found = {
        "cpu": quantity(str(machine.cpus)),
        "ephemeral-storage": quantity(f"{machine.disk_bytes // 1024}Ki"),
        "hugepages-1Gi": quantity("0"),
        "hugepages-2Mi": quantity("0"),
        "memory": quantity(f"{machine.memory_bytes // 1024}Ki"),
        "pods": quantity(str(config.max_pods)),
    }
    return found | {name: quantity(text) for name, text in config.capacity.items()}


def allocatable(config: AgentConfig, machine: MachineInfo) -> dict[str, Quantity]:
    """What pods may use: the capacity less what is reserved."""
    found = capacity(config, machine)
    for name, text in config.reserved.items():
        if name in found:
            left = max(found[name].value - quantity(text).value, quantity("0").value)
            found[name] = quantity(f"{int(left * 1000)}m") if name == "cpu" else quantity(str(int(left)))
    return found


def capacity_units(config: AgentConfig, machine: MachineInfo, *, allocatable: bool) -> dict[str, int]:
    """The same as numbers: cpu in thousandths, the rest in whole units."""
    amounts = _allocatable(config, machine) if allocatable else capacity(config, machine)
    return {name: q.milli() if name == "cpu" else q.whole() for name, q in amounts.items()}


_allocatable = allocatable
