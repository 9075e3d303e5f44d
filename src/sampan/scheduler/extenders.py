"""HTTP extenders: other people's processes that filter, score, preempt and bind (kube-scheduler's protocol).

What an extender does wrong stays with its pod: a slow, broken or lying one makes the try fail, or is passed
over where it is `ignorable`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.scheduler.configuration import Extender
from sampan.scheduler.extendertls import tls_of
from sampan.scheduler.framework import MOST_SCORE
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.preemption import Victims
from sampan.schema import api, codec

if TYPE_CHECKING:
    import aiohttp

# Extenders score 0..10.
MOST_EXTENDER_SCORE: Final = 10
# Longer answers are refused.
MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class ExtenderError(SampanError):
    """An extender failed; the text is what it said, or what went wrong."""


class Narrowed(msgspec.Struct, frozen=True):
    """What the extenders leave: nodes by name, and why not the others (by node).

    `lost` are those that no evicting helps.
    """

    nodes: frozenset[str]
    failed: Mapping[str, str] = {}
    lost: Mapping[str, str] = {}


class Extenders:
    """All configured extenders, in their order. To be closed."""

    def __init__(self, configured: Sequence[Extender]) -> None:
        self._all = tuple(configured)
        self._tls = {id(e): tls_of(e) for e in self._all}
        self._session: aiohttp.ClientSession | None = None

    def concern(self, pod: PodInfo) -> bool:
        """Whether any of them has a say on where the pod goes."""
        return any((e.filter_verb or e.prioritize_verb) and _is_interested(e, pod) for e in self._all)

    async def filter(self, pod: PodInfo, nodes: Sequence[api.Node]) -> Narrowed:
        """Ask one after the other. Raises ExtenderError where one fails that is not ignorable."""
        left = {n.metadata.name or "": n for n in nodes}
        failed: dict[str, str] = {}
        lost: dict[str, str] = {}
        for extender in self._all:
            if not extender.filter_verb or not _is_interested(extender, pod) or not left:
                continue
            try:
                answer = _mapping(await self._ask(extender, extender.filter_verb, _args(extender, pod, left)))
                names = _names(answer, extender)
                out = _texts(answer, "failednodes")
                out_for_good = _texts(answer, "failedandunresolvablenodes")
            except Exception as problem:
                if not extender.ignorable:
                    raise _told(extender, problem) from problem
                _log.warning("the extender %s failed and is passed over: %s", extender.url_prefix, problem)
                continue
            left = {name: node for name, node in left.items() if name in names}
            lost |= out_for_good
            failed |= {name: why for name, why in out.items() if name not in lost}
        return Narrowed(frozenset(left), failed, lost)

    async def scores(self, pod: PodInfo, nodes: Sequence[api.Node]) -> dict[str, int]:
        """What they add to the scores of nodes. One that fails adds nothing."""
        named = {n.metadata.name or "": n for n in nodes}
        asked = [e for e in self._all if e.prioritize_verb and _is_interested(e, pod)]
        answers = await asyncio.gather(*(self._scores_of(e, pod, named) for e in asked))
        total: dict[str, int] = {}
        for extender, scores in zip(asked, answers, strict=True):
            for name, score in scores.items():
                total[name] = total.get(name, 0) + score * extender.weight
        unit = MOST_SCORE // MOST_EXTENDER_SCORE
        return {name: score * unit for name, score in total.items()}

    def preempt(self, pod: PodInfo) -> bool:
        """Whether any of them has a say on victims."""
        return any(e.preempt_verb and _is_interested(e, pod) for e in self._all)

    async def allow(self, pod: PodInfo, candidates: Sequence[Victims]) -> list[Victims]:
        """Of the nodes with their victims, those that the extenders leave, with the victims that they leave.

        Raises ExtenderError where one fails that is not ignorable.
        """
        left = {each.node: each for each in candidates}
        for extender in self._all:
            if not extender.preempt_verb or not _is_interested(extender, pod) or not left:
                continue
            try:
                body = _preemption_args(extender, pod, left)
                answer = _mapping(await self._ask(extender, extender.preempt_verb, body))
                left = _victims_left(left, answer)
            except Exception as problem:
                if not extender.ignorable:
                    raise _told(extender, problem) from problem
                _log.warning("the extender %s failed and is passed over: %s", extender.url_prefix, problem)
        return list(left.values())

    def binder(self, pod: PodInfo) -> Extender | None:
        """The extender that binds the pod itself, if one does."""
        return next((e for e in self._all if e.bind_verb and _is_interested(e, pod)), None)

    async def bind(self, extender: Extender, pod: PodInfo, node: str) -> Exception | None:
        """Have the extender bind; gives what went wrong."""
        namespace, name = pod.key
        body = {"PodName": name, "PodNamespace": namespace, "PodUID": pod.uid, "Node": node}
        try:
            _mapping(await self._ask(extender, extender.bind_verb, msgspec.json.encode(body)))
        except Exception as problem:
            return _told(extender, problem)
        return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _scores_of(
        self, extender: Extender, pod: PodInfo, named: Mapping[str, api.Node]
    ) -> dict[str, int]:
        try:
            answer = await self._ask(extender, extender.prioritize_verb, _args(extender, pod, named))
            return {str(each["host"]): int(each.get("score", 0)) for each in answer or ()}
        except Exception as problem:
            _log.warning("the extender %s gave no scores: %s", extender.url_prefix, problem)
            return {}

    async def _ask(self, extender: Extender, verb: str, body: bytes) -> Any:
        """The answer to a POST. Raises whatever goes wrong."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"Content-Type": "application/json"})
        url = f"{extender.url_prefix.rstrip('/')}/{verb}"
        timeout = aiohttp.ClientTimeout(total=extender.timeout_s)
        tls = self._tls[id(extender)]
        name = (extender.tls_config.server_name if extender.tls_config is not None else "") or None
        async with self._session.post(
            url, data=body, timeout=timeout, ssl=tls, server_hostname=name
        ) as answer:
            if answer.status != 200:
                raise ExtenderError(f"{url} answered with status {answer.status}")
            if (answer.content_length or 0) > MOST_ANSWER_BYTES:
                raise ExtenderError(f"{url} answered with more than {MOST_ANSWER_BYTES} bytes")
            whole = bytearray()
            async for chunk in answer.content.iter_chunked(65536):
                whole += chunk
                if len(whole) > MOST_ANSWER_BYTES:
                    raise ExtenderError(f"{url} answered with more than {MOST_ANSWER_BYTES} bytes")
        return _lower(msgspec.json.decode(bytes(whole)))


def _is_interested(extender: Extender, pod: PodInfo) -> bool:
    """An extender with managed resources is asked only about pods that want one of them."""
    if not extender.managed_resources:
        return True
    wanted = {r.name for r in extender.managed_resources}
    spec = pod.spec
    return any(
        c.resources is not None
        and (wanted & c.resources.requests.keys() or wanted & c.resources.limits.keys())
        for c in (*spec.containers, *spec.initContainers)
    )


def _args(extender: Extender, pod: PodInfo, nodes: Mapping[str, api.Node]) -> bytes:
    if extender.node_cache_capable:
        return codec.encode({"Pod": pod.pod, "Nodes": None, "NodeNames": list(nodes)})
    listed = {"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": list(nodes.values())}
    return codec.encode({"Pod": pod.pod, "Nodes": listed, "NodeNames": None})


def _preemption_args(extender: Extender, pod: PodInfo, left: Mapping[str, Victims]) -> bytes:
    def told(each: Victims, pods: list[Any]) -> dict[str, Any]:
        return {"Pods": pods, "NumPDBViolations": each.violations}

    if extender.node_cache_capable:
        meta = {node: told(each, [{"UID": p.uid} for p in each.pods]) for node, each in left.items()}
        return codec.encode({"Pod": pod.pod, "NodeNameToMetaVictims": meta})
    whole = {node: told(each, [p.pod for p in each.pods]) for node, each in left.items()}
    return codec.encode({"Pod": pod.pod, "NodeNameToVictims": whole})


def _victims_left(left: Mapping[str, Victims], answer: Mapping[str, Any]) -> dict[str, Victims]:
    """The nodes of an answer with its victims. Raises ExtenderError for victims that were not offered."""
    found: dict[str, Victims] = {}
    for node, given in (answer.get("nodenametometavictims") or {}).items():
        meta, before = _lower(given), left.get(node)
        if before is None:
            raise ExtenderError(f"it names the node {node!r}, which was not offered")
        known = {pod.uid: pod for pod in before.pods}
        wanted = [str(_lower(each).get("uid")) for each in meta.get("pods") or ()]
        strange = next((uid for uid in wanted if uid not in known), None)
        if strange is not None:
            raise ExtenderError(f"it names the pod {strange!r} on {node!r}, which was not offered")
        pods = tuple(pod for pod in before.pods if pod.uid in wanted)
        if pods:
            found[node] = Victims(node, pods, int(meta.get("numpdbviolations") or 0))
    return found


def _names(answer: Mapping[str, Any], extender: Extender) -> set[str]:
    if extender.node_cache_capable and answer.get("nodenames") is not None:
        return set(answer["nodenames"])
    listed = _lower(answer.get("nodes") or {})
    return {item["metadata"]["name"] for item in listed.get("items") or ()}


def _texts(answer: Mapping[str, Any], field: str) -> dict[str, str]:
    return {str(name): str(why) for name, why in (answer.get(field) or {}).items()}


def _mapping(answer: Any) -> Mapping[str, Any]:
    """An answer that is an object and tells of no error. Raises ExtenderError."""
    if answer is None:
        return {}
    if not isinstance(answer, Mapping):
        raise ExtenderError("its answer is no JSON object")
    if answer.get("error"):
        raise ExtenderError(str(answer["error"]))
    return answer


def _lower(answer: Any) -> Any:
    """The top level of an answer with its names in small letters: Go reads them in any case."""
    if isinstance(answer, dict):
        return {str(key).lower(): value for key, value in answer.items()}
    if isinstance(answer, list):
        return [_lower(each) for each in answer]
    return answer


def _told(extender: Extender, problem: Exception) -> ExtenderError:
    text = "no answer in time" if isinstance(problem, TimeoutError) else str(problem)
    return ExtenderError(f"extender {extender.url_prefix} failed: {text or type(problem).__name__}")
