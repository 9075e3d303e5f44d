"""What validation rules may cost at most, estimated when their definition is written, as Kubernetes does.

cel-go's estimate is followed: every name and member costs one, every list ten, every map thirty, a loop its
body for each element there can be, texts a tenth of their bytes. Where this estimate knows less of a value
than cel-go's does, it takes the cheaper answer, so that nothing is refused that Kubernetes would take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampan.kinds.custom import rules, sizes
from sampan.kinds.custom.sizes import ANY, LIST, MAP, NUMBER, OBJECT, STRING, UNBOUNDED, UNKNOWN, Shape
from sampan.kinds.custom.structural import VALIDATIONS
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

if TYPE_CHECKING:
    from sampan.machinery.cel import ast

# StaticEstimatedCostLimit and StaticEstimatedCRDCostLimit.
RULE_LIMIT: Final = 10_000_000
SCHEMA_LIMIT: Final = 100_000_000
_NAMED_MOST: Final = 4
_LIST_COST, _MAP_COST, _OBJECT_COST = 10, 30, 40
_TENTH: Final = frozenset({"startsWith", "endsWith"})
_COMPARED: Final = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
_WHOLE_TEXT: Final = frozenset(
    {"lowerAscii", "upperAscii", "trim", "substring", "replace", "split", "charAt", "reverse", "url", "isURL"}
)
_EACH: Final = frozenset({"isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"})
_PASSED_ON: Final = frozenset({"value", "orValue", "or", "optional.of", "optional.ofNonZeroValue"})
_TOTAL: Final = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"


class _Estimate(msgspec.Struct, frozen=True):
    cost: int
    shape: Shape = UNKNOWN


Known = Mapping[str, Shape]


def cost_of(node: ast.Node, known: Known) -> int:
    """The most that evaluating an expression may cost, with variables of these shapes."""
    return _estimate(node, known).cost


def schema_errors(schema: dict[str, Any], path: Path) -> list[FieldError]:
    """The rules of a version's schema that may cost too much, alone or together, in Kubernetes' words."""
    found = list(_schema_costs(schema, path, 1))
    errors = [error for cost in found if (error := _too_much(cost)) is not None]
    total = min(sum(cost.cost for cost in found), UNBOUNDED)
    if total > SCHEMA_LIMIT:
        dearest = sorted(found, key=lambda cost: -cost.cost)[:_NAMED_MOST]
        errors += [field.forbidden(cost.path, _TOTAL) for cost in dearest]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(field.forbidden(path, _words(name, total, SCHEMA_LIMIT)))
    return errors


class _Cost(msgspec.Struct, frozen=True):
    name: str
    path: Path
    cost: int


def _too_much(cost: _Cost) -> FieldError | None:
    if cost.cost <= RULE_LIMIT:
        return None
    return field.forbidden(cost.path, _words(f"estimated {cost.name} cost", cost.cost, RULE_LIMIT))


def _words(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    times = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {times} (try simplifying the rule, or adding maxItems, "
        "maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )


def _schema_costs(schema: dict[str, Any], path: Path, times: int | None) -> Iterator[_Cost]:
    """Each rule's cost. `times`: how often its schema may occur in an object; None where nothing says so."""
    if isinstance(schema.get(VALIDATIONS), list):
        shape = sizes.shape_of(schema)
        often = sizes.most_of(shape) if times is None else times
        for position, entry in enumerate(schema[VALIDATIONS]):
            at = path[VALIDATIONS][position]
            for name in ("rule", "messageExpression"):
                cost = _expression_cost(entry, name, shape)
                if cost:
                    yield _Cost(name, at[name], min(cost * often, UNBOUNDED))
    for name, member in (schema.get("properties") or {}).items():
        yield from _schema_costs(member, path["properties"].key(name), times)
    for name, limit in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        inner, most = schema.get(name), schema.get(limit)
        if isinstance(inner, dict):
            more = None if times is None or most is None else times * max(int(most), 0)
            yield from _schema_costs(inner, path[name], more)


def _expression_cost(entry: dict[str, Any], name: str, shape: Shape) -> int:
    from sampan.machinery import cel

    expression = entry.get(name) or ""
    if not expression.strip():
        return 0
    try:
        program = cel.compile(expression, rules.variables(bool(entry.get("optionalOldSelf"))))
    except cel.CompileError:
        return 0  # said elsewhere
    return cost_of(program.tree.root, {"self": shape, "oldSelf": shape})


def _estimate(node: ast.Node, known: Known) -> _Estimate:
    from sampan.machinery.cel import ast

    if isinstance(node, ast.Const):
        return _Estimate(0, _constant(node.value))
    if isinstance(node, ast.Ident):
        return _Estimate(1, known.get(node.name, UNKNOWN))
    if isinstance(node, ast.Select):
        operand = _estimate(node.operand, known)
        if node.test_only:
            return _Estimate(operand.cost, NUMBER)
        own = 1 if operand.shape.kind in (MAP, OBJECT, ANY) else 0
        return _Estimate(_sum(operand.cost, own), operand.shape.field(node.field))
    if isinstance(node, ast.ListOf):
        parts = [_estimate(each, known) for each in node.elements]
        items = parts[0].shape if parts else UNKNOWN
        return _Estimate(_sum(_LIST_COST, *(p.cost for p in parts)), Shape(LIST, len(parts), items))
    if isinstance(node, ast.MapOf):
        costs = [_estimate(part, known).cost for e in node.entries for part in (e.key, e.value)]
        return _Estimate(
            _sum(_OBJECT_COST if node.name else _MAP_COST, *costs), Shape(MAP, len(node.entries))
        )
    if isinstance(node, ast.Comprehension):
        return _loop(node, known)
    return _call(node, known)


def _constant(value: Any) -> Shape:
    return Shape(STRING, len(value)) if isinstance(value, (str, bytes)) else NUMBER


def _loop(node: ast.Comprehension, known: Known) -> _Estimate:
    over, start = _estimate(node.iter_range, known), _estimate(node.accu_init, known)
    of_map = over.shape.kind == MAP
    items = over.shape.items or UNKNOWN
    # One variable goes over a map's keys, the first of two over keys or positions.
    first = NUMBER if of_map or node.iter_var2 else items
    grown = start.shape
    if grown.kind == LIST:
        grown = Shape(LIST, over.shape.length, _grown(node.step, {**known, node.iter_var: first}))
    inner = {**known, node.iter_var: first, node.accu_var: grown}
    if node.iter_var2:
        inner[node.iter_var2] = items
    each = _sum(_estimate(node.condition, inner).cost, _estimate(node.step, inner).cost)
    result = _estimate(node.result, {**known, node.accu_var: grown})
    turns = min(over.shape.length * each, UNBOUNDED)
    return _Estimate(_sum(over.cost, start.cost, turns, result.cost), result.shape)


def _grown(step: ast.Node, known: Known) -> Shape:
    """The shape of what a loop puts into its list."""
    from sampan.machinery.cel import ast

    for each in ast.walk(step):
        if isinstance(each, ast.ListOf) and each.elements:
            return _estimate(each.elements[0], known).shape
    return UNKNOWN


def _call(node: ast.Call, known: Known) -> _Estimate:
    given = [_estimate(each, known) for each in node.args]
    if node.target is not None:
        given.insert(0, _estimate(node.target, known))
    before = _sum(*(each.cost for each in given))
    lengths = [each.shape.length for each in given]
    kinds = [each.shape.kind for each in given]
    name = node.function
    if name == "_?_:_":
        longer = given[1] if lengths[1] >= lengths[2] else given[2]
        return _Estimate(_sum(given[0].cost, max(given[1].cost, given[2].cost)), longer.shape)
    if name in ("_&&_", "_||_"):
        return _Estimate(before, NUMBER)
    if name in ("_[_]", "_[?_]"):
        return _Estimate(_sum(before, 1), given[0].shape.items or UNKNOWN)
    if name == "_?._":
        member = getattr(node.args[1], "value", "")
        return _Estimate(_sum(before, 1), given[0].shape.field(str(member)))
    if name in _PASSED_ON and given:
        return _Estimate(_sum(before, 1), given[0].shape)
    if name == "_+_":
        joined = Shape(kinds[0], _sum(*lengths), given[0].shape.items or given[1].shape.items)
        return _Estimate(_sum(before, 1 if LIST in kinds else _tenth(joined.length)), joined)
    return _Estimate(_sum(before, _own_cost(name, given)), _result(name, given))


def _own_cost(name: str, given: list[_Estimate]) -> int:
    """What a function costs beside its arguments."""
    lengths = [each.shape.length for each in given]
    if name in _COMPARED:
        return _tenth(min(lengths))
    if name == "@in":
        return lengths[1] if given[1].shape.kind == LIST else 1
    if name in _TENTH:
        return _tenth(lengths[1])
    if name == "contains":
        return min(_tenth(lengths[0]) * _tenth(lengths[1]), UNBOUNDED)
    if name in ("matches", "find", "findAll") and len(lengths) > 1:
        return min(_tenth(lengths[0] + 1) * -(-lengths[1] // 4), UNBOUNDED)
    if name in _WHOLE_TEXT and lengths:
        return _tenth(lengths[0])
    if name in _EACH and lengths and given[0].shape.kind == LIST:
        return lengths[0]
    return 1


def _result(name: str, given: list[_Estimate]) -> Shape:
    if name == "split" and given:
        return Shape(LIST, given[0].shape.length, NUMBER)
    if name in _WHOLE_TEXT and given and given[0].shape.kind == STRING:
        return given[0].shape
    return NUMBER


def _tenth(length: int) -> int:
    return -(-length // 10)


def _sum(*costs: int) -> int:
    return min(sum(costs), UNBOUNDED)
