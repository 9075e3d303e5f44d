from __future__ import annotations

import pytest

from sampan.apiserver.core import users
from sampan.apiserver.core.flowcontrol import defaults
from sampan.apiserver.core.flowcontrol.rules import Ask, classify, compiled, ordered
from sampan.apiserver.core.users import ADMIN, ANONYMOUS, AUTHENTICATED, User
from sampan.kinds.groups import flowcontrol

SCHEMAS = ordered(map(compiled, defaults.flow_schemas()))
NODE = User("system:node:a", ("system:nodes", AUTHENTICATED))
MANAGER = User("system:kube-controller-manager", (AUTHENTICATED,))
LEASES = "coordination.k8s.io"


@pytest.mark.parametrize(
    ("user", "ask", "schema", "flow"),
    [
        (ADMIN, Ask("create", "", "pods", "default"), "exempt", ""),
        (ANONYMOUS, Ask("get", path="/readyz"), "probes", ""),
        (ANONYMOUS, Ask("get", path="/version"), "global-default", "system:anonymous"),
        (NODE, Ask("patch", "", "nodes/status"), "system-node-high", "system:node:a"),
        (NODE, Ask("update", LEASES, "leases", "kube-node-lease"), "system-node-high", "system:node:a"),
        (NODE, Ask("list", "", "pods"), "system-nodes", "system:node:a"),
        (MANAGER, Ask("update", LEASES, "leases", "kube-system"), "system-leader-election", MANAGER.name),
        (MANAGER, Ask("update", "", "endpoints", "web"), "kube-controller-manager", "web"),
        (MANAGER, Ask("create", "", "pods", "web"), "kube-controller-manager", "web"),
        (
            users.service_account("kube-system", "x"),
            Ask("update", LEASES, "leases", "a"),
            "system-leader-election",
            "system:serviceaccount:kube-system:x",
        ),
        (
            users.service_account("kube-system", "x"),
            Ask("list", "", "pods", "a"),
            "kube-system-service-accounts",
            "a",
        ),
        (
            users.service_account("web", "x"),
            Ask("list", "", "pods"),
            "service-accounts",
            "system:serviceaccount:web:x",
        ),
        (User("jane", (AUTHENTICATED,)), Ask("get", "", "pods", "a"), "global-default", "jane"),
    ],
)
def test_who_belongs_where_by_default(user: User, ask: Ask, schema: str, flow: str) -> None:
    found = classify(SCHEMAS, user, ask)
    assert found is not None
    assert (found.name, found.flow(user, ask)) == (schema, flow)


def test_who_is_in_no_group_belongs_nowhere() -> None:
    assert classify(SCHEMAS, User("ghost"), Ask("get", "", "pods", "a")) is None


def test_the_defaults_are_valid() -> None:
    for schema in defaults.flow_schemas():
        assert flowcontrol.validate_schema(schema) == []
    for level in defaults.priority_levels():
        assert flowcontrol.validate_level(level) == []
