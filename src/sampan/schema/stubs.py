"""Writes api.pyi: the published types as mypy sees them. `python -m sampan.schema.stubs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, get_args

from sampan.schema.compile import container_of, is_embedded, scalar_of
from sampan.schema.definitions import Definitions, Schema, load, ref_of
from sampan.schema.names import attribute, short_names

_HEADER: Final = """# Written by `python -m sampan.schema.stubs`; not kept in the repository.
import builtins
from datetime import datetime
from typing import Any

import msgspec

from sampan.machinery.quantity import Quantity
"""
_PLAIN: Final = {
    "Time": "datetime",
    "MicroTime": "builtins.str",
    "FieldsV1": "builtins.dict[builtins.str, Any]",
    "Quantity": "Quantity",
    "IntOrString": "builtins.int | builtins.str",
    "RawExtension": "Any",
}


def stub(definitions: Definitions) -> str:
    """The text of a stub module with one class for each definition."""
    names = short_names(definitions)
    shorts = {full: short for short, full in names.items()}
    blocks = [_HEADER]
    for short, full in sorted(names.items()):
        blocks.append(_class(short, full, definitions, shorts))
    return "\n".join(blocks)


def _class(short: str, full: str, definitions: Definitions, shorts: dict[str, str]) -> str:
    schema = definitions.schemas[full]
    if full.rsplit(".", 1)[1] in _PLAIN:
        plain = _PLAIN[short]
        return "" if plain == short else f"{short} = {plain}"
    if "properties" not in schema and schema.get("type") != ["object", "null"]:
        return f"{short} = Any"
    lines = [f"class {short}(msgspec.Struct, kw_only=True):"]
    for name, field in sorted(schema.get("properties", {}).items()):
        required = name in schema.get("required", ())
        always = is_embedded(full, name, definitions) or container_of(field) is not None
        annotation = _annotation(field, shorts)
        if not always and not (required and ref_of(field) is None) and annotation != "Any":
            required_union = required and annotation == "builtins.int | builtins.str"
            annotation = annotation if required_union else f"{annotation} | None"
        lines.append(f"    {attribute(name)}: {annotation} = ...")
    return "\n".join(lines if len(lines) > 1 else [*lines, "    pass"])


def _annotation(schema: Schema, shorts: dict[str, str]) -> str:
    ref = ref_of(schema)
    if ref is not None:
        return _PLAIN.get(ref.rsplit(".", 1)[1], shorts[ref])
    kind = container_of(schema)
    if kind is list:
        return f"builtins.list[{_annotation(schema.get('items', {}), shorts)}]"
    if kind is dict:
        return f"builtins.dict[builtins.str, {_annotation(schema.get('additionalProperties', {}), shorts)}]"
    scalar = scalar_of(schema)
    if scalar is Any:
        return "Any"
    return " | ".join(f"builtins.{one.__name__}" for one in get_args(scalar) or (scalar,))


def main() -> None:
    """Write the stub beside api.py, if it differs."""
    path = Path(__file__).with_name("api.pyi")
    text = stub(load())
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    main()
