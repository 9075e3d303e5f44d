"""Rules kept service by service and pod by pod, so that one change costs one's planning. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.kinds.core.phases import is_finished
from sampan.network.proxy.host_ports import Claims, claims, granted
from sampan.network.proxy.rules import NodeFacts, RuleSet, rule_set
from sampan.schema import api

Key = tuple[str, str]


class RuleBook:
    """The rule sets of single services and the host ports of single pods, joined on demand.

    Always equal to `rule_set` over everything at once.
    """

    def __init__(self, node: NodeFacts) -> None:
        self._node = node
        self._pages: dict[Key, RuleSet] = {}
        self._claims: dict[Key, Claims] = {}
        # Of pods whose addresses the node knows and the API not yet: (uid, what they ask for then).
        self._ahead: dict[Key, tuple[str, Claims]] = {}

    def is_on(self, node: NodeFacts) -> None:
        """The node is like this now. Every service has to be put again."""
        self._node = node

    def put(self, key: Key, service: api.Service | None, slices: Iterable[api.EndpointSlice]) -> None:
        """What is now known of the service `(namespace, name)`; None where it is gone."""
        page = rule_set([service] if service else [], slices, self._node)
        if page.services or page.health_checks:
            self._pages[key] = page
        else:
            self._pages.pop(key, None)

    def put_pod(self, key: Key, pod: api.Pod | None) -> bool:
        """What is now known of this machine's pod `(namespace, name)`; whether its host ports changed."""
        before, now = self._asked(key), claims(pod)
        ahead = self._ahead.get(key)
        if ahead is not None and (_is_over(pod, ahead[0]) or now == ahead[1]):
            del self._ahead[key]
        if now.ports:
            self._claims[key] = now
        else:
            self._claims.pop(key, None)
        return before != self._asked(key)

    def put_ahead(self, key: Key, pod: api.Pod) -> bool:
        """What the API will say of the pod: holds until it does. Whether the host ports changed."""
        before = self._asked(key)
        self._ahead[key] = (pod.metadata.uid or "", claims(pod))
        return before != self._asked(key)

    def forget_ahead(self) -> None:
        """Go by what the API says alone: a pod that was put ahead may be gone without a word of it."""
        self._ahead.clear()

    def _asked(self, key: Key) -> Claims:
        ahead = self._ahead.get(key)
        return ahead[1] if ahead is not None else self._claims.get(key, Claims())

    def rules(self) -> RuleSet:
        """The rule set of all services and pods."""
        pages = [self._pages[key] for key in sorted(self._pages)]
        return RuleSet(
            self._node,
            tuple(rule for page in pages for rule in page.services),
            tuple(check for page in pages for check in page.health_checks),
            granted(self._claims | {key: ahead for key, (_, ahead) in self._ahead.items()}),
        )


def _is_over(pod: api.Pod | None, uid: str) -> bool:
    """Whether the pod of that uid is gone, or going, by what the API has under its name."""
    return (
        pod is None
        or (pod.metadata.uid or "") != uid
        or pod.metadata.deletionTimestamp is not None
        or is_finished(pod)
    )
