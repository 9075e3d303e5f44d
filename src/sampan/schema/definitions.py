"""The published type definitions of one Kubernetes minor version, as kubernetes-validate carries them."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError

NEWEST: Final = "1.37"
SERVED: Final = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
REF_PREFIX: Final = "#/$defs/"

Schema = dict[str, Any]


class GroupVersionKind(msgspec.Struct, frozen=True, order=True):
    """What names a type in requests: `apps`, `v1`, `Deployment`."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class Definitions:
    """All definitions of one minor version, by their full names and by group, version and kind."""

    def __init__(self, version: str, schemas: dict[str, Schema]) -> None:
        self.version = version
        self.schemas = schemas
        self.by_gvk: dict[GroupVersionKind, str] = {}
        for name, schema in schemas.items():
            gvks = schema.get("x-kubernetes-group-version-kind", ())
            if len(gvks) == 1:  # meta types such as DeleteOptions belong to every group
                g = gvks[0]
                self.by_gvk[GroupVersionKind(g["group"], g["version"], g["kind"])] = name


def load(version: str = NEWEST) -> Definitions:
    """The definitions of Kubernetes `version` ("1.37"). Raises SampanError for one that is not served."""
    minor = re.match(r"v?(\d+\.\d+)", version)
    if minor is None or minor[1] not in SERVED:
        raise SampanError(f"Kubernetes version {version!r} is not served; choose one of {', '.join(SERVED)}.")
    return _load(minor[1])


@lru_cache(maxsize=len(SERVED))
def _load(minor: str) -> Definitions:
    # Found, not imported: the package would load a whole JSON schema library.
    package = find_spec("kubernetes_validate")
    assert package is not None and package.submodule_search_locations, "it is a dependency of this package"
    source = Path(
        package.submodule_search_locations[0],
        f"kubernetes-json-schema/v{minor}.0-local/_definitions.json",
    )
    return Definitions(minor, msgspec.json.decode(source.read_bytes())["$defs"])


def ref_of(schema: Schema) -> str | None:
    """The full name of the definition that `schema` refers to, if it is a reference."""
    ref = schema.get("$ref")
    if ref is None and len(schema.get("allOf", ())) == 1:
        ref = schema["allOf"][0].get("$ref")
    return ref.removeprefix(REF_PREFIX) if isinstance(ref, str) else None
