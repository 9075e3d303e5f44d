"""CEL, the Common Expression Language, in Kubernetes' dialect.

    program = compile("self.replicas <= self.max", {"self": "dyn"})
    program.evaluate(self={"replicas": 3, "max": 5})    # True

Raises CompileError for an expression that cannot be, and CelError for one that has no value.
"""

from sampan.machinery.cel.library.authorizer import Authorizer, Question, resource_check
from sampan.machinery.cel.program import (
    MAX_EXPRESSION_LENGTH,
    PER_CALL_LIMIT,
    CompileError,
    Program,
    compile,
)
from sampan.machinery.cel.values import (
    CelError,
    Constructed,
    CostExceeded,
    Duration,
    Lazy,
    Optional,
    Timestamp,
    Uint,
    to_json,
)

__all__ = [
    "MAX_EXPRESSION_LENGTH",
    "PER_CALL_LIMIT",
    "Authorizer",
    "CelError",
    "CompileError",
    "Constructed",
    "CostExceeded",
    "Duration",
    "Lazy",
    "Optional",
    "Program",
    "Question",
    "Timestamp",
    "Uint",
    "compile",
    "resource_check",
    "to_json",
]
