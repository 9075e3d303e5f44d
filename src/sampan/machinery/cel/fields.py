"""Whether an expression fits the types of its variables, which its compiler took for `dyn`.

cel-go knows the types of objects when it checks an expression; cel-cpp's wrapper cannot be told of them. This
looks at the syntax tree afterwards, for the two mistakes that are made: a field that is not there, and an
operator between values that do not go together. Where it does not know a type, it finds no fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.machinery import schema_node
from sampan.machinery.cel import ast
from sampan.machinery.cel.program import Program
from sampan.machinery.schema_node import UNKNOWN, Plain, SchemaNode

_SCALARS: Final = {schema_node.STRING: "string", schema_node.NUMBER: "int", schema_node.BOOLEAN: "bool"}
# Text in JSON, but another type to expressions.
_OTHER_TYPES: Final = frozenset({"Quantity", "Time", "MicroTime", "IntOrString"})
_OPERATORS: Final = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_"}
)
_TRUTH: Final = frozenset({"_&&_", "_||_", "!_"})
_BOOL_RESULTS: Final = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_", "!_", "@in"}
    | {"contains", "startsWith", "endsWith", "matches"}
)
# The types of `variables.x`: nothing else has members of its own.
Variables = Mapping[str, SchemaNode]


def errors_of(program: Program, types: Variables, members: Variables) -> tuple[list[str], SchemaNode]:
    """The mistakes in an expression in cel-go's words, and the type of its value.

    `types` are those of variables by name, `members` those of what `variables` has.
    """
    looked = _Look(program, members)
    found = looked.type_of(program.tree.root, types)
    ordered = sorted(looked.errors, key=lambda error: error[0])
    return [text for _, text in ordered], found


class _Look:
    def __init__(self, program: Program, members: Variables) -> None:
        self._program = program
        self._members = members
        self.errors: list[tuple[int, str]] = []

    def type_of(self, node: ast.Node, types: Variables) -> SchemaNode:
        if isinstance(node, ast.Const):
            return _of_constant(node.value)
        if isinstance(node, ast.Ident):
            return types.get(node.name, UNKNOWN)
        if isinstance(node, ast.Select):
            return self._member(node, types)
        if isinstance(node, ast.Comprehension):
            return self._loop(node, types)
        if isinstance(node, ast.Call):
            return self._call(node, types)
        if isinstance(node, ast.ListOf):
            for element in node.elements:
                self.type_of(element, types)
        elif isinstance(node, ast.MapOf):
            for entry in node.entries:
                self.type_of(entry.key, types)
                self.type_of(entry.value, types)
        return UNKNOWN

    def _member(self, node: ast.Select, types: Variables) -> SchemaNode:
        if isinstance(node.operand, ast.Ident) and node.operand.name == "variables":
            return self._members.get(node.field, UNKNOWN)
        operand = self.type_of(node.operand, types)
        found: SchemaNode | None = UNKNOWN
        if operand.kind in (schema_node.OBJECT, schema_node.MAP):
            found = operand.child(node.field)
            if found is None:
                self._fault(node.id, f"undefined field '{node.field}'")
        elif operand.kind in _SCALARS and operand.name not in _OTHER_TYPES:
            self._fault(node.id, f"type '{_SCALARS[operand.kind]}' does not support field selection")
        return BOOL if node.test_only else found or UNKNOWN

    def _loop(self, node: ast.Comprehension, types: Variables) -> SchemaNode:
        over = self.type_of(node.iter_range, types)
        items: SchemaNode = UNKNOWN
        if over.kind == schema_node.LIST:
            items = over.items()
        inner = {**types, node.accu_var: UNKNOWN}
        if node.iter_var2:
            inner |= {node.iter_var: UNKNOWN, node.iter_var2: items}
        else:
            inner[node.iter_var] = TEXT if over.kind == schema_node.MAP else items
        for part in (node.accu_init, node.condition, node.step, node.result):
            self.type_of(part, inner)
        return UNKNOWN

    def _call(self, node: ast.Call, types: Variables) -> SchemaNode:
        if node.target is not None:
            self.type_of(node.target, types)
        given = [self.type_of(each, types) for each in node.args]
        if node.function in _OPERATORS or node.function in _TRUTH:
            self._operator(node, given)
        if node.function in _BOOL_RESULTS:
            return BOOL
        if node.function == "size":
            return NUMBER
        if node.function == "_[_]" and given[0].kind == schema_node.LIST:
            return given[0].items()
        if node.function == "_[_]" and given[0].kind == schema_node.MAP:
            return given[0].child("") or UNKNOWN
        if node.function == "_?_:_" and given[1] is given[2]:
            return given[1]
        return UNKNOWN

    def _operator(self, node: ast.Call, given: list[SchemaNode]) -> None:
        names = [_SCALARS.get(each.kind, "") if each.name not in _OTHER_TYPES else "" for each in given]
        if "" in names:
            return
        wrong = any(name != "bool" for name in names) if node.function in _TRUTH else len(set(names)) > 1
        if wrong:
            listed = ", ".join(names)
            self._fault(node.id, f"found no matching overload for '{node.function}' applied to '({listed})'")

    def _fault(self, identity: int, words: str) -> None:
        at = self._program.tree.positions.get(identity, 0)
        self.errors.append((at, located(self._program.expression, at, words)))


def located(expression: str, at: int, words: str) -> str:
    """An error at a place (in code points) of an expression, as cel-go shows it."""
    before = expression[:at].split("\n")
    text = expression.split("\n")[len(before) - 1]
    column = len(before[-1])
    return f"ERROR: <input>:{len(before)}:{column + 1}: {words}\n | {text}\n | {'.' * column}^"


# The types of literals, and of what functions give.
BOOL: Final[SchemaNode] = Plain(schema_node.BOOLEAN, schema_node.BOOLEAN)
TEXT: Final[SchemaNode] = Plain(schema_node.STRING, schema_node.STRING)
NUMBER: Final[SchemaNode] = Plain(schema_node.NUMBER, schema_node.NUMBER)


def _of_constant(value: object) -> SchemaNode:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return TEXT
    return NUMBER if type(value) is int else UNKNOWN
