"""Rules kept service by service, so that one change costs one service's planning. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.network.proxy.rules import NodeFacts, RuleSet, rule_set
from sampan.schema import api

Key = tuple[str, str]


class RuleBook:
    """The rule sets of single services, joined on demand.

    Always equal to `rule_set` over everything at once.
    """

    def __init__(self, node: NodeFacts) -> None:
        self._node = node
        self._pages: dict[Key, RuleSet] = {}

    def put(self, key: Key, service: api.Service | None, slices: Iterable[api.EndpointSlice]) -> None:
        """What is now known of the service `(namespace, name)`; None where it is gone."""
        page = rule_set([service] if service else [], slices, self._node)
        if page.services or page.health_checks:
            self._pages[key] = page
        else:
            self._pages.pop(key, None)

    def rules(self) -> RuleSet:
        """The rule set of all services."""
        pages = [self._pages[key] for key in sorted(self._pages)]
        return RuleSet(
            self._node,
            tuple(rule for page in pages for rule in page.services),
            tuple(check for page in pages for check in page.health_checks),
        )
