"""Compile CEL expressions once, evaluate them often.

Parsing and type checking is cel-cpp's (cel-expr-python), with Kubernetes' functions declared to it.
Evaluation is here, because Kubernetes has values that cel-cpp's wrapper cannot carry, counts costs, and words
its errors as cel-go does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sampan.machinery.cel import ast, declarations
from sampan.machinery.cel.closures import Run, Scope
from sampan.machinery.cel.evaluate import Compiler
from sampan.machinery.cel.library import authorizer, kubernetes, network, standard, strings
from sampan.machinery.cel.values import CelError, from_python

if TYPE_CHECKING:
    from cel_expr_python import cel

CACHED_PROGRAMS: Final = 4096
CACHED_ENVIRONMENTS: Final = 64
# Code points; what cel-go takes by default is 100,000, which no rule comes near.
MAX_EXPRESSION_LENGTH: Final = 32_768
# The most that one evaluation may cost, in steps: Kubernetes' PerCallLimit.
PER_CALL_LIMIT: Final = 1_000_000

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    **standard.FUNCTIONS,
    **strings.FUNCTIONS,
    **kubernetes.FUNCTIONS,
    **network.FUNCTIONS,
    **authorizer.FUNCTIONS,
}


class CompileError(Exception):
    """An expression that is no CEL, or that the type checker refuses; worded as Kubernetes words it."""

    def __init__(self, details: str) -> None:
        super().__init__(f"compilation failed: {details}")
        self.details = details


class Program:
    """A compiled expression. Immutable, and safe to share."""

    __slots__ = ("_run", "expression", "result_type", "tree")

    def __init__(self, expression: str, result_type: str, tree: ast.Tree, run: Run) -> None:
        self.expression = expression
        # `bool`, `string`, `dyn`, `list<string>` ...: what the type checker found.
        self.result_type = result_type
        self.tree = tree
        self._run = run

    def evaluate(
        self, variables: Mapping[str, Any] | None = None, /, *, cost_limit: int = PER_CALL_LIMIT, **more: Any
    ) -> Any:
        """The expression's value. Raises CelError, CostExceeded for more than `cost_limit` steps."""
        return self.measured({**(variables or {}), **more}, cost_limit)[0]

    def measured(self, variables: Mapping[str, Any], cost_limit: int = PER_CALL_LIMIT) -> tuple[Any, int]:
        """The value and the steps it took."""
        scope = Scope({name: from_python(value) for name, value in variables.items()})
        scope.left = cost_limit
        scope.spend(1)
        try:
            value = self._run(scope)
        except RecursionError:
            raise CelError("the expression or its input is too deeply nested") from None
        except (TypeError, ValueError, AttributeError, OverflowError, MemoryError) as failed:
            # A function was given what its declaration does not allow, by way of a dyn.
            raise CelError("no such overload") from failed
        return value, cost_limit - scope.left


def compile(expression: str, variables: Mapping[str, str] | None = None, *, checked: bool = True) -> Program:
    """Compile an expression over variables, given as name and type (`dyn`, `int`, `map<string, string>`).

    Without `checked` only the syntax is looked at. Compiled programs are remembered. Raises CompileError.
    """
    return _compiled(expression, tuple(sorted((variables or {}).items())), checked)


@lru_cache(maxsize=CACHED_PROGRAMS)
def _compiled(expression: str, variables: tuple[tuple[str, str], ...], checked: bool) -> Program:
    _check_size(expression)
    environment = _environment(variables)
    try:
        parsed = environment.compile(expression, not checked)
    except RuntimeError as refused:
        raise CompileError(_worded(str(refused))) from None
    try:
        tree = ast.decode(parsed.serialize())
        run = Compiler(FUNCTIONS, frozenset(name for name, _ in variables)).compile(tree.root)
    except RecursionError:
        raise CompileError("ERROR: <input>:1:1: expression is too deeply nested") from None
    except CelError as unknown:
        raise CompileError(f"ERROR: <input>:1:1: {unknown}") from None
    return Program(expression, _type_text(parsed.return_type().name()) if checked else "dyn", tree, run)


def _check_size(expression: str) -> None:
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise CompileError(
            f"ERROR: <input>:-1:0: expression code point size exceeds limit: "
            f"size: {len(expression)}, limit {MAX_EXPRESSION_LENGTH}"
        )


@lru_cache(maxsize=CACHED_ENVIRONMENTS)
def _environment(variables: tuple[tuple[str, str], ...]) -> cel.Env:
    from cel_expr_python import cel

    config = json.loads(_configuration())
    config["variables"] = declarations.variables(dict(variables))
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml(json.dumps(config)))


@lru_cache(maxsize=1)
def _configuration() -> str:
    return declarations.configuration()


def _worded(text: str) -> str:
    """cel-cpp's issues, without what its status wraps around them."""
    if "recursion" in text and ("recursion limit" in text or "recursion depth" in text):
        return "ERROR: <input>:-1:0: expression recursion limit exceeded: 32"
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    if not text.startswith("ERROR:"):
        return f"ERROR: <input>:1:1: {text}"
    return _UNDECLARED.sub(_root, text)


# cel-cpp names all of `params.limits.max` at its last dot; cel-go names `params`, where it begins.
_UNDECLARED = re.compile(
    r"ERROR: <input>:(\d+):(\d+): undeclared reference to '(\w+)((?:\.\w+)+)' \(in container ''\)"
    r"\n \| (.*)\n \| \.*\^"
)


def _root(match: re.Match[str]) -> str:
    line, column, root, rest, text = match.groups()
    start = int(column) - 1 - len(root + rest) + len(rest.rpartition(".")[2]) + 1
    if not text.startswith(root + rest, max(start, 0)):
        return match[0]
    return (
        f"ERROR: <input>:{line}:{start + 1}: undeclared reference to '{root}' (in container '')\n"
        f" | {text}\n | {'.' * start}^"
    )


def _type_text(name: str) -> str:
    words = {
        "BOOL",
        "INT",
        "UINT",
        "DOUBLE",
        "STRING",
        "BYTES",
        "DYN",
        "LIST",
        "MAP",
        "NULL",
        "TYPE",
        "TIMESTAMP",
        "DURATION",
    }
    made, word = "", ""
    for char in f"{name}\0":
        if char.isalnum() or char in "._":
            word += char
            continue
        made += (word.lower() if word in words else word) + char
        word = ""
    return made.removesuffix("\0")
