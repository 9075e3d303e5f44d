"""Short, flat names for the published types: `Pod`, `Deployment`, `EventsEvent`, `LeaseCandidateV1beta1`.

Where several definitions end in the same name, the one that is a kind wins over one that is not, core over
the other groups, and GA over the rest; the others carry their group before, or their version behind.
"""

from __future__ import annotations

import keyword
from collections import defaultdict

from sampan.schema.definitions import Definitions


def short_names(definitions: Definitions) -> dict[str, str]:
    """Short name to full definition name, for every definition."""
    ends: dict[str, list[str]] = defaultdict(list)
    for full in definitions.schemas:
        ends[full.rsplit(".", 1)[1]].append(full)
    names: dict[str, str] = {}
    for end, fulls in ends.items():
        first, *others = sorted(fulls, key=lambda full: _rank(definitions, full))
        names[end] = first
        for full in others:
            group, version = full.split(".")[-3:-1]
            same_group = first.split(".")[-3] == group
            name = end if same_group else group.capitalize() + end
            names[name if version == "v1" else name + version.capitalize()] = full
    return names


def _rank(definitions: Definitions, full: str) -> tuple[bool, bool, bool, str]:
    group, version = full.split(".")[-3:-1]
    is_kind = "x-kubernetes-group-version-kind" in definitions.schemas[full]
    return (not is_kind, group != "core", version != "v1", full)


def attribute(field: str) -> str:
    """The Python attribute for a JSON field: `$ref` becomes `ref_`, `from` becomes `from_`."""
    name = field.replace("$", "").replace("-", "_")
    return name + "_" if keyword.iskeyword(name) or name != field else name
