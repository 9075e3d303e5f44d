"""From a syntax tree to a Python callable that computes it, and counts what it costs.

Each node becomes a closure over its children. A loop counts the nodes of its body for each turn, an operator
or function what it is given to look at, so that an expression ends at its limit whatever its input is. The
unit is about one step of cel-go's own cost model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sampan.machinery.cel import closures, operators
from sampan.machinery.cel.ast import Call, Comprehension, Const, Ident, ListOf, MapOf, Node, Select
from sampan.machinery.cel.closures import Function, Run, Scope
from sampan.machinery.cel.values import (
    TYPES,
    CelError,
    Constructed,
)

_ESCAPES: Final = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}


class Compiler:
    """Makes closures; `functions` are the library's, by name."""

    def __init__(self, functions: Mapping[str, Function], variables: frozenset[str]) -> None:
        self._functions = functions
        self._variables = variables
        self._bound: list[str] = []

    def compile(self, node: Node) -> Run:
        """Raises CelError for what no library has."""
        if isinstance(node, Const):
            value = node.value
            return lambda scope: value
        if isinstance(node, Ident):
            return self._ident(node.name)
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListOf):
            return self._list(node)
        if isinstance(node, MapOf):
            return self._map(node)
        return self._comprehension(node)

    def _ident(self, name: str) -> Run:
        name = name.removeprefix(".")
        if name not in self._bound and name not in self._variables and name in TYPES:
            value = TYPES[name]
            return lambda scope: value
        if name not in self._bound and name not in self._variables:
            raise CelError(f"undeclared reference to '{name}' (in container '')")

        def variable(scope: Scope) -> Any:
            try:
                return scope[name]
            except KeyError:
                raise CelError(f"no such attribute(s): {name}") from None

        return variable

    def _select(self, node: Select) -> Run:
        dotted = _dotted(node)
        if dotted in TYPES or (dotted in self._variables and not node.test_only):
            return self._ident(dotted)
        operand, field = self.compile(node.operand), node.field
        plain = unescape(field)
        if node.test_only:
            return lambda scope: closures.has_field(operand(scope), field, plain)

        def select(scope: Scope) -> Any:
            value = operand(scope)
            if type(value) is dict:
                try:
                    return value[field]
                except KeyError:
                    pass
            return closures.field_of(value, field, plain)

        return select

    # -- calls ---------------------------------------------------------------------------------------

    def _call(self, node: Call) -> Run:
        name, args = node.function, node.args
        if node.target is not None:
            qualified = f"{_dotted(node.target)}.{name}"
            if qualified in self._functions and qualified.split(".")[0] not in self._bound:
                name = qualified
            else:
                args = (node.target, *args)
        if name == "_&&_":
            return closures.logical(self.compile(args[0]), self.compile(args[1]), decisive=False)
        if name == "_||_":
            return closures.logical(self.compile(args[0]), self.compile(args[1]), decisive=True)
        if name == "_?_:_":
            return closures.conditional(*map(self.compile, args))
        if name == "@not_strictly_false":
            return self.compile(args[0])
        if name in operators.UNARY:
            return closures.unary(operators.UNARY[name], self.compile(args[0]))
        if name in operators.BINARY:
            return closures.binary(name, self.compile(args[0]), self.compile(args[1]))
        if name == "orValue" or name == "or":
            return closures.or_else(name, self.compile(args[0]), self.compile(args[1]))
        function = self._functions.get(name)
        if function is None:
            raise CelError(f"undeclared reference to '{name}' (in container '')")
        return closures.applied(function, [self.compile(arg) for arg in args])

    # -- aggregates ----------------------------------------------------------------------------------

    def _list(self, node: ListOf) -> Run:
        elements, optional = [self.compile(e) for e in node.elements], node.optional
        if not optional:
            return lambda scope: [run(scope) for run in elements]

        def make(scope: Scope) -> list[Any]:
            made = []
            for at, run in enumerate(elements):
                value = run(scope)
                if at not in optional:
                    made.append(value)
                elif closures.opened(value).present:
                    made.append(value.value)
            return made

        return make

    def _map(self, node: MapOf) -> Run:
        entries = [(self.compile(e.key), self.compile(e.value), e.optional) for e in node.entries]
        name = node.name

        def make(scope: Scope) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for key_of, value_of, optional in entries:
                key, value = key_of(scope), value_of(scope)
                if optional:
                    if not closures.opened(value).present:
                        continue
                    value = value.value
                closures.insert(made, key, value)
            return Constructed(name, made) if name else made

        return make

    # -- loops ---------------------------------------------------------------------------------------

    def _comprehension(self, node: Comprehension) -> Run:
        items, start = self.compile(node.iter_range), self.compile(node.accu_init)
        names = [n for n in (node.iter_var, node.iter_var2, node.accu_var) if n]
        self._bound += names
        body = self._body(node)
        result = self.compile(node.result)
        del self._bound[len(self._bound) - len(names) :]
        pairs, accu = bool(node.iter_var2), node.accu_var

        def run(scope: Scope) -> Any:
            turns = closures.turns_of(items(scope), pairs)
            initial = start(scope)
            kept = {name: scope[name] for name in names if name in scope}
            scope[accu] = initial
            try:
                body(scope, turns)
                return result(scope)
            finally:
                for name in names:
                    scope.pop(name, None)
                scope.update(kept)

        return run

    def _body(self, node: Comprehension) -> Callable[[Scope, Any], None]:
        """What a loop does, for the shapes that the macros have."""
        step, accu = node.step, node.accu_var
        first, second = node.iter_var, node.iter_var2
        cost = size(step) + 1
        if (
            isinstance(step, Call)
            and step.function in ("_&&_", "_||_")
            and step.args[0] == Ident(accu, getattr(step.args[0], "id", 0))
        ):
            return closures.quantifier(
                first, second, accu, self.compile(step.args[1]), step.function == "_||_", cost
            )
        grow = self._growing(step, accu)
        if grow is not None:
            condition, add = grow

            def collect(scope: Scope, turns: Any) -> None:
                made = scope[accu]
                for turn in turns:
                    scope.spend(cost)
                    closures.bind(scope, first, second, turn)
                    if condition is None or closures.true(condition(scope)):
                        add(scope, made)

            return collect
        go_on, advance = self.compile(node.condition), self.compile(step)

        def fold(scope: Scope, turns: Any) -> None:
            for turn in turns:
                if not closures.true(go_on(scope)):
                    break
                scope.spend(cost)
                closures.bind(scope, first, second, turn)
                scope[accu] = advance(scope)

        return fold

    def _growing(self, step: Node, accu: str) -> tuple[Run | None, Callable[[Scope, Any], None]] | None:
        """Filter and growth of `map`, `filter` and `transform...`, which add to what they made so far."""
        condition: Run | None = None
        if isinstance(step, Call) and step.function == "_?_:_" and _names(step.args[2], accu):
            condition = self.compile(step.args[0])
            step = step.args[1]
        if not isinstance(step, Call) or not step.args or not _names(step.args[0], accu):
            return None
        if step.function == "_+_" and isinstance(step.args[1], ListOf):
            elements = self.compile(step.args[1])
            return condition, lambda scope, made: made.extend(elements(scope))
        if step.function == "cel.@mapInsert":
            args = [self.compile(arg) for arg in step.args[1:]]
            return condition, lambda scope, made: closures.insert_all(made, [run(scope) for run in args])
        return None


def _names(node: Node, name: str) -> bool:
    return isinstance(node, Ident) and node.name == name


def _dotted(node: Node) -> str:
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test_only:
        inner = _dotted(node.operand)
        return f"{inner}.{node.field}" if inner else ""
    return ""


def size(node: Node) -> int:
    """How many nodes there are that take a step."""
    if isinstance(node, Const):
        return 0
    if isinstance(node, Ident):
        return 1
    if isinstance(node, Select):
        return 1 + size(node.operand)
    if isinstance(node, Call):
        return 1 + sum(map(size, node.args)) + (size(node.target) if node.target is not None else 0)
    if isinstance(node, ListOf):
        return 1 + sum(map(size, node.elements))
    if isinstance(node, MapOf):
        return 1 + sum(size(e.key) + size(e.value) for e in node.entries)
    # The body counts for itself, at each turn.
    return 1 + size(node.iter_range) + size(node.accu_init) + size(node.result)


def unescape(field: str) -> str:
    """A field's real name: `foo__dash__bar` is `foo-bar`, `__namespace__` is the reserved word."""
    if "__" not in field:
        return field
    if field.startswith("__") and field.endswith("__") and field[2:-2] in _RESERVED:
        return field[2:-2]
    made, at = "", 0
    while at < len(field):
        for escape, plain in _ESCAPES.items():
            if field.startswith(escape, at):
                made, at = made + plain, at + len(escape)
                break
        else:
            made, at = made + field[at], at + 1
    return made


_RESERVED: Final = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function"),
        *("if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    }
)
