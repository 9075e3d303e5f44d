"""CEL selectors of devices, and which taints of devices a request tolerates. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.machinery import cel
from sampan.machinery import tolerations as matching
from sampan.machinery.cel.library.kubernetes import QuantityValue, Semver
from sampan.scheduler.devices.inventory import Offered
from sampan.schema import api

# The most steps that one selector may take on one device, as upstream's CELSelectorExpressionMaxCost.
MOST_COST: Final = 1_000_000


class SelectorError(Exception):
    """A selector that has no value for a device; the text is what kube-scheduler says."""


class _Domains(cel.Lazy):
    """Attributes or capacities by domain: a domain that the device has nothing of is an empty map."""

    __slots__ = ("_domains",)

    def __init__(self, domains: dict[str, dict[str, Any]]) -> None:
        self._domains = domains

    def has(self, name: str) -> bool:
        return name in self._domains

    def get(self, name: str) -> Any:
        return self._domains.get(name, {})


def matches(offered: Offered, selectors: Sequence[api.DeviceSelector], seen: dict[Any, Any]) -> bool:
    """Whether all selectors choose the device. `seen` remembers answers. Raises SelectorError."""
    for number, selector in enumerate(selectors):
        if selector.cel is None:
            continue
        expression = selector.cel.expression
        key = (expression, offered.id, id(offered))
        answer = seen.get(key)
        if answer is None:
            answer = seen[key] = _evaluate(expression, offered)
        if isinstance(answer, str):
            raise SelectorError(f"selector #{number}: {answer}")
        if not answer:
            return False
    return True


def _evaluate(expression: str, offered: Offered) -> bool | str:
    """Whether the expression holds, or why it has no value."""
    try:
        program = _program(expression)
        value = program.evaluate({"device": _variable(offered)}, cost_limit=MOST_COST)
    except cel.CompileError as problem:
        return f"CEL compile error: {problem}"
    except cel.CelError as problem:
        return f"CEL runtime error: {problem}"
    return value if isinstance(value, bool) else f"CEL runtime error: must evaluate to bool, not {value!r}"


def _program(expression: str) -> cel.Program:
    return cel.compile(expression, {"device": "dyn"})


def _variable(offered: Offered) -> dict[str, Any]:
    device, driver = offered.device, offered.id.driver
    attributes: dict[str, dict[str, Any]] = {driver: {}}
    for name, attribute in device.attributes.items():
        domain, _, rest = name.rpartition("/")
        attributes.setdefault(domain or driver, {})[rest] = _value(attribute)
    capacity: dict[str, dict[str, Any]] = {driver: {}}
    for name, held in device.capacity.items():
        domain, _, rest = name.rpartition("/")
        if held.value is not None:
            capacity.setdefault(domain or driver, {})[rest] = QuantityValue(held.value)
    return {
        "driver": driver,
        "attributes": _Domains(attributes),
        "capacity": _Domains(capacity),
        "allowMultipleAllocations": bool(device.allowMultipleAllocations),
    }


def _value(attribute: api.DeviceAttribute) -> Any:
    if attribute.version is not None:
        return Semver(attribute.version)
    if attribute.versions:
        return [Semver(each) for each in attribute.versions]
    for value in (attribute.bool, attribute.int, attribute.string):
        if value is not None:
            return value
    return [*attribute.bools, *attribute.ints, *attribute.strings]


def attribute_values(offered: Offered, name: str) -> frozenset[Any]:
    """The values that the device has for an attribute, by its full name; empty where it lacks it."""
    domain, _, rest = name.rpartition("/")
    attribute = offered.device.attributes.get(name)
    if attribute is None and domain == offered.id.driver:
        attribute = offered.device.attributes.get(rest)
    return _values(attribute) if attribute is not None else frozenset()


def _values(attribute: api.DeviceAttribute) -> frozenset[Any]:
    found: list[Any] = []
    for kind, single, several in (
        ("bool", attribute.bool, attribute.bools),
        ("int", attribute.int, attribute.ints),
        ("string", attribute.string, attribute.strings),
        ("version", attribute.version, attribute.versions),
    ):
        found += [(kind, value) for value in ([single] if single is not None else several)]
    return frozenset(found)


def tolerated(taints: Sequence[api.DeviceTaint], tolerations: Sequence[api.DeviceToleration]) -> bool:
    """Whether every taint that keeps new allocations away is tolerated."""
    return not matching.untolerated(taints, tolerations)
