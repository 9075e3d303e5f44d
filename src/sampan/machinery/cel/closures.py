"""What the closures of an expression do when they run: fields, logic that forgives, loops and their cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.machinery.cel import operators
from sampan.machinery.cel.values import (
    CelError,
    CostExceeded,
    Lazy,
    Optional,
    weight,
)

Function = Callable[..., Any]
_SCALARS: Final = frozenset({int, bool, float, type(None)})


class Scope(dict[str, Any]):
    """The variables of one evaluation, and the cost that is left."""

    __slots__ = ("left",)
    left: int

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise CostExceeded


Run = Callable[[Scope], Any]


def field_of(value: Any, field: str, plain: str) -> Any:
    """What a message, map or optional has under a name. Raises CelError where it has none."""
    if isinstance(value, dict):
        for name in (field, plain):
            if name in value:
                return value[name]
        raise CelError(f"no such key: {plain}")
    if type(value) is Optional:
        return operators.optional_index(value, plain)
    if isinstance(value, Lazy):
        return value.get(field)
    raise CelError("no such overload")


def has_field(value: Any, field: str, plain: str) -> bool:
    """`has(value.field)`."""
    if type(value) is Optional:
        if not value.present:
            return False
        value = value.value
    if isinstance(value, dict):
        return field in value or plain in value
    if isinstance(value, Lazy):
        return value.has(field)
    raise CelError("no such overload")


def true(value: Any) -> bool:
    """A condition's value. Raises CelError where it is none."""
    if value is True:
        return True
    if value is False:
        return False
    raise CelError("no such overload")


def logical(left: Run, right: Run, decisive: bool) -> Run:
    """`&&` (decided by false) and `||` (decided by true): one side that decides hides the other's error."""

    def run(scope: Scope) -> bool:
        error: CelError | None = None
        try:
            value = left(scope)
            if value is decisive:
                return bool(value)
            if type(value) is not bool:
                error = CelError("no such overload")
        except CostExceeded:
            raise
        except CelError as failed:
            error = failed
        value = right(scope) if error is None else _or_error(right, scope, error)
        if value is decisive:
            return bool(value)
        if error is not None:
            raise error
        if type(value) is not bool:
            raise CelError("no such overload")
        return not decisive

    return run


def _or_error(right: Run, scope: Scope, error: CelError) -> Any:
    try:
        return right(scope)
    except CostExceeded:
        raise
    except CelError:
        raise error from None


def conditional(test: Run, then: Run, otherwise: Run) -> Run:
    """`test ? then : otherwise`."""
    return lambda scope: then(scope) if true(test(scope)) else otherwise(scope)


def unary(operator: Callable[[Any], Any], operand: Run) -> Run:
    """An operator of one operand."""
    return lambda scope: operator(operand(scope))


def binary(name: str, left: Run, right: Run) -> Run:
    """An operator of two operands, which spends what they weigh."""
    operator = operators.BINARY[name]
    if name not in operators.WEIGHTY:
        return lambda scope: operator(left(scope), right(scope))

    def run(scope: Scope) -> Any:
        a, b = left(scope), right(scope)
        if type(a) not in _SCALARS or type(b) not in _SCALARS:
            scope.spend(weight(a, scope.left) + weight(b, scope.left))
        return operator(a, b)

    return run


def applied(function: Function, args: list[Run]) -> Run:
    """A function of the library, which spends what its arguments weigh."""

    def run(scope: Scope) -> Any:
        values = [arg(scope) for arg in args]
        scope.spend(1 + sum(weight(value, scope.left) for value in values))
        return function(*values)

    return run


def opened(value: Any) -> Optional:
    """An optional. Raises CelError for anything else."""
    if type(value) is Optional:
        return value
    raise CelError("no such overload")


def or_else(name: str, left: Run, right: Run) -> Run:
    """`or` and `orValue` of optionals: the right side is asked only where the left is empty."""
    if name == "or":
        return lambda scope: value if opened(value := left(scope)).present else opened(right(scope))
    return lambda scope: value.value if opened(value := left(scope)).present else right(scope)


def insert(made: dict[Any, Any], key: Any, value: Any) -> None:
    """Put a new key into a map. Raises CelError where it is there."""
    if type(key) is float or key is None or isinstance(key, (list, dict)):
        raise CelError("unsupported key type")
    if key in made:
        raise CelError(f"Failed with repeated key: {key}")
    made[key] = value


def insert_all(made: dict[Any, Any], args: list[Any]) -> None:
    """Put what one turn of a loop has made into a map: a key and its value, or another map."""
    if len(args) == 2:
        insert(made, args[0], args[1])
    else:
        for key, value in args[0].items():
            insert(made, key, value)


def turns_of(value: Any, pairs: bool) -> Any:
    """What a loop runs over. Raises CelError where it cannot."""
    if type(value) is list:
        return list(enumerate(value)) if pairs else value
    if isinstance(value, dict):
        return list(value.items()) if pairs else list(value)
    raise CelError("no such overload")


def bind(scope: Scope, first: str, second: str, turn: Any) -> None:
    """Give the variables of a loop what a turn brings."""
    if second:
        scope[first], scope[second] = turn
    else:
        scope[first] = turn


def quantifier(
    first: str, second: str, accu: str, predicate: Run, decisive: bool, cost: int
) -> Callable[[Scope, Any], None]:
    """`all` and `exists`: an element that decides hides the errors of others."""

    def run(scope: Scope, turns: Any) -> None:
        error: CelError | None = None
        for turn in turns:
            scope.spend(cost)
            bind(scope, first, second, turn)
            try:
                if true(predicate(scope)) is decisive:
                    scope[accu] = decisive
                    return
            except CostExceeded:
                raise
            except CelError as failed:
                error = failed
        if error is not None:
            raise error
        scope[accu] = not decisive

    return run
