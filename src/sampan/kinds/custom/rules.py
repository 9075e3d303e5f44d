"""Validation rules in CEL (x-kubernetes-validations), as apiextensions' cel validator evaluates them.

`self` is the value that a rule stands at, `oldSelf` what it was. A rule that names `oldSelf` is a transition
rule: it holds for changes only, where the old value can be found. Other rules are left out where the value
did not change (ratcheting).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from sampan.kinds.custom.structural import VALIDATIONS, Node
from sampan.kinds.custom.validation import NO_OLD, key_of, same
from sampan.machinery import field
from sampan.machinery.field import FieldError
from sampan.machinery.schema_node import SchemaNode

# What all rules of one object may cost together, in steps: RuntimeCELCostBudget.
BUDGET: Final = 10_000_000
NOT_CHECKED: Final = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
REASONS: Final = {
    "FieldValueInvalid": field.INVALID,
    "FieldValueForbidden": field.FORBIDDEN,
    "FieldValueRequired": field.REQUIRED,
    "FieldValueDuplicate": field.DUPLICATE,
}
# Errors after which rules might ask for what is not there.
BLOCKING: Final = frozenset(
    {field.NOT_SUPPORTED, field.REQUIRED, field.TOO_LONG, field.TOO_MANY, field.TYPE_INVALID}
)
_NO_FURTHER: Final = "no further validation rules will be run"
_UNSUPPORTED: Final = (
    "call arguments did not match a supported operator, function or macro signature for rule"
)
_TRANSITION: Final = re.compile(r"\boldSelf\b")
# Fields of these names are written between underscores.
_KEYWORDS: Final = re.compile(
    "true|false|null|in|as|break|const|continue|else|for|function|if|import|let|loop|package|namespace"
    "|return|var|void|while"
)
_IDENTIFIER: Final = re.compile(r"[a-zA-Z_.\-/][a-zA-Z0-9_.\-/]*")
_ROOT_METADATA: Final = ("name", "generateName")


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of x-kubernetes-validations."""

    rule: str = ""
    message: str = ""
    message_expression: str = ""
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old_self: bool = False

    @property
    def is_transition(self) -> bool:
        return _TRANSITION.search(self.rule) is not None

    @property
    def words(self) -> str:
        """The message, or one made of the rule."""
        if self.message.strip():
            return self.message.strip()
        return f"failed rule: {' '.join(self.rule.split())}"

    @property
    def told(self) -> str:
        """What names the rule where it could not be evaluated."""
        return self.message.strip() or self.rule.strip()


class _Budget:
    """The steps that are left."""

    def __init__(self) -> None:
        self.left = BUDGET


def rules_of(node: Node) -> tuple[Rule, ...]:
    """The rules of a schema, parsed."""
    return _parsed(msgspec.json.encode(node.schema[VALIDATIONS])) if VALIDATIONS in node.schema else ()


@lru_cache(maxsize=4096)
def _parsed(text: bytes) -> tuple[Rule, ...]:
    try:
        return msgspec.json.decode(text, type=tuple[Rule, ...])
    except msgspec.ValidationError:
        return ()


def names_old_self(expression: str) -> bool:
    """Whether a rule looks at what was there before."""
    return _TRANSITION.search(expression) is not None


def compile_error(expression: str, known: SchemaNode, *, optional_old_self: bool = False) -> str:
    """Why an expression cannot be a rule or a message about values of type `known`; "" where it can."""
    from sampan.machinery import cel
    from sampan.machinery.cel import fields

    try:
        program = cel.compile(expression, variables(optional_old_self))
    except cel.CompileError as problem:
        return str(problem)
    types = {"self": known} if optional_old_self else {"self": known, "oldSelf": known}
    errors, _ = fields.errors_of(program, types, {})
    return "compilation failed: " + "\n".join(errors) if errors else ""


def rule_errors(content: dict[str, Any], metadata: Any, node: Node, old: Any = None) -> list[FieldError]:
    """What the rules say of an object; `old` is the (content, metadata) of the one it takes the place of."""
    if not node.rules_below:
        return []
    budget = _Budget()
    value = _rooted(content, metadata)
    before = NO_OLD if old is None else _rooted(*old)
    return list(_walk(value, node, "", before, budget))


def _rooted(content: dict[str, Any], metadata: Any) -> dict[str, Any]:
    named = {name: getattr(metadata, name) for name in _ROOT_METADATA if getattr(metadata, name)}
    return {**content, "metadata": named}


def _walk(value: Any, node: Node, at: str, old: Any, budget: _Budget) -> Iterator[FieldError]:
    if value is None and node.nullable:
        return
    unchanged = old is not NO_OLD and same(value, old)
    for rule in rules_of(node):
        yield from _one(rule, value, node, at, old, unchanged, budget)
    if not node.rules_below:
        return
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            child = node.child(name)
            if child is not None:
                below = f"{at}.{name}" if name in node.properties else f"{at}[{name}]"
                was = before.get(name, NO_OLD)
                yield from _walk(item, child, below if at else name, was, budget)
    elif isinstance(value, list) and node.items is not None:
        known: dict[bytes, Any] = {}
        if node.list_type == "map" and isinstance(old, list):
            keys = list(node.list_keys)
            known = {key_of(item, keys): item for item in old if isinstance(item, dict)}
        for position, item in enumerate(value):
            was = NO_OLD
            if known and isinstance(item, dict):
                was = known.get(key_of(item, list(node.list_keys)), NO_OLD)
            yield from _walk(item, node.items, f"{at}[{position}]", was, budget)


def _one(
    rule: Rule, value: Any, node: Node, at: str, old: Any, unchanged: bool, budget: _Budget
) -> Iterator[FieldError]:
    from sampan.machinery import cel

    if rule.is_transition:
        if old is NO_OLD and not rule.optional_old_self:
            return
    elif unchanged:
        return
    seen = {"self": activation(value, node)}
    if rule.optional_old_self:
        known = cel.Optional(False) if old is NO_OLD else cel.Optional(True, activation(old, node))
        seen["oldSelf"] = known
    else:
        seen["oldSelf"] = None if old is NO_OLD else activation(old, node)
    shown = _type_of(node)
    if budget.left <= 0:
        return
    limit = min(cel.PER_CALL_LIMIT, budget.left)
    try:
        program = cel.compile(rule.rule, variables(rule.optional_old_self))
        holds, cost = program.measured(seen, limit)
        budget.left -= cost
    except cel.CostExceeded as problem:
        detail = f"'{problem}': {_NO_FURTHER} due to call cost exceeds limit for rule: {rule.told}"
        if limit < cel.PER_CALL_LIMIT:
            detail = f"validation failed due to running out of cost budget, {_NO_FURTHER}"
        budget.left = 0
        yield FieldError(field.INVALID, at or "<nil>", shown, detail)
        return
    except (cel.CelError, cel.CompileError) as problem:
        detail = f"{problem} evaluating rule: {rule.told}"
        if str(problem).startswith("no such overload"):
            detail = f"'{problem}': {_UNSUPPORTED}: {rule.told}"
        yield FieldError(field.INVALID, at or "<nil>", shown, detail)
        return
    if holds is True:
        return
    where = f"{at}{rule.field_path}" if at else rule.field_path.removeprefix(".")
    kind = REASONS.get(rule.reason, field.INVALID)
    message = _message(rule, seen, budget)
    yield FieldError(kind, where or "<nil>", "" if kind == field.REQUIRED else shown, message)


def _message(rule: Rule, seen: Mapping[str, Any], budget: _Budget) -> str:
    """What messageExpression makes, where it makes a line of text; else the rule's own words."""
    from sampan.machinery import cel

    if not rule.message_expression:
        return rule.words
    try:
        program = cel.compile(rule.message_expression, variables(rule.optional_old_self))
        text, cost = program.measured(seen, max(min(cel.PER_CALL_LIMIT, budget.left), 1))
        budget.left -= cost
    except (cel.CelError, cel.CompileError):
        return rule.words
    is_line = isinstance(text, str) and text.strip() and "\n" not in text
    return text.strip() if is_line else rule.words


def variables(optional_old_self: bool) -> dict[str, str]:
    """What rules and messages see, with the types that the checker takes it for."""
    # Objects are maps to the checker: which fields there are is seen when a rule runs.
    return {"self": "dyn", "oldSelf": "optional_type<dyn>" if optional_old_self else "dyn"}


def _type_of(node: Node) -> str:
    return str(node.schema.get("type") or "object")


def activation(value: Any, node: Node) -> Any:
    """A value as rules see it: fields by their escaped names, times and bytes as what they are."""
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        for name, item in value.items():
            child = node.child(name)
            known = name in node.properties
            made[escaped(name) if known else name] = item if child is None else activation(item, child)
        return made
    if isinstance(value, list):
        return [activation(item, node.items) for item in value] if node.items is not None else value
    if isinstance(value, str) and "format" in node.schema:
        return _formatted(value, node.schema["format"])
    if isinstance(value, int) and not isinstance(value, bool) and node.schema.get("type") == "number":
        return float(value)
    return value


def _formatted(text: str, name: str) -> Any:
    from sampan.machinery import cel

    expression = {"date-time": "timestamp(text)", "duration": "duration(text)"}.get(name)
    if name == "byte":
        expression = "base64.decode(text)"
    if expression is None:
        return text
    try:
        return cel.compile(expression, {"text": "string"}).evaluate(text=text)
    except (cel.CelError, cel.CompileError):
        return text  # the format's own error says what is wrong with it


def escaped(name: str) -> str:
    """A field's name as rules write it: `foo.bar` is `foo__dot__bar`, `namespace` is `__namespace__`."""
    if _KEYWORDS.fullmatch(name):
        return f"__{name}__"
    if not _IDENTIFIER.fullmatch(name):
        return name
    for char, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(char, word)
    return name
