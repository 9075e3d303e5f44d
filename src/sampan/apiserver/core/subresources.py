"""Subresources that are not simply a part of the object: scale, binding, eviction, token, finalize."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from sampan.apiserver.core import evictions, status
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.admission.dynamic.subject import Foreign
from sampan.apiserver.core.admission.topology import Places
from sampan.apiserver.core.authn import Authenticator
from sampan.apiserver.core.bindings import binding_of
from sampan.apiserver.core.bodies import SCHEME, Bodies
from sampan.apiserver.core.context import OWN_MANAGER, Attributes, Context
from sampan.apiserver.core.modify import propagation_of, take_dry_run
from sampan.apiserver.core.nodeauthz import node_of
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource, Resources
from sampan.apiserver.core.scales import Scales
from sampan.apiserver.core.updating import check_meant
from sampan.apiserver.core.write import Writer
from sampan.machinery import field, selectors
from sampan.machinery.field import Path
from sampan.schema import api, codec
from sampan.schema.decode import DecodeFailure, decode_object

DEFAULT_TOKEN_S: Final = 3600
MIN_TOKEN_S: Final = 600
MAX_TOKEN_S: Final = 2**32


T = TypeVar("T")
_OWN_KINDS: Final = {
    "scale": ("autoscaling/v1", "Scale"),
    "binding": ("v1", "Binding"),
    "eviction": ("policy/v1", "Eviction"),
    "token": ("authentication.k8s.io/v1", "TokenRequest"),
}
_EVICTIONS: Final = ("policy/v1", "policy/v1beta1")
_CONNECTIONS: Final = {"exec": "Exec", "attach": "Attach", "portforward": "PortForward", "proxy": "Proxy"}
_FLAGS: Final = frozenset({"stdin", "stdout", "stderr", "tty"})


class Subresources:
    """Answers for (plural, subresource) pairs that need more than the generic verbs."""

    def __init__(
        self,
        writer: Writer,
        bodies: Bodies,
        resources: Resources,
        authenticator: Authenticator,
        admission: Chain,
    ) -> None:
        self._admission = admission
        self._writer = writer
        self._bodies = bodies
        self._resources = resources
        self._authenticator = authenticator
        self._scales = Scales(writer, bodies, admission, self._scale_reviewed)

    # -- scale ---------------------------------------------------------------------------------------

    async def scale(self, request: Request, context: Context) -> Response:
        """GET, PUT and PATCH of autoscaling/v1 Scale."""
        return await self._scales.answer(request, context)

    async def _scale_reviewed(self, context: Context, asked: api.Scale, before: api.Scale) -> api.Scale:
        return await self._reviewed(context, "update", asked, before)

    # -- pods ----------------------------------------------------------------------------------------

    async def bind_named(self, request: Request, context: Context) -> Response:
        """POST bindings: the same with the pod's name in the body."""
        binding = self._decode(self._bodies.json(request), api.Binding)
        pods = self._resources.of(api.Pod)
        target = msgspec.structs.replace(
            context.target, plural=pods.kind.plural, name=binding.metadata.name or ""
        )
        own = msgspec.structs.replace(context, resource=pods, served=pods, target=target)
        return await self.bind(request, own)

    async def bind(self, request: Request, context: Context) -> Response:
        """POST pods/binding: what a scheduler does. Raises 409 where the pod has a node."""
        binding = self._decode(self._bodies.json(request), api.Binding)
        if binding.metadata.name and binding.metadata.name != context.target.name:
            raise status.bad_request("name in URL does not match name in Binding object")
        binding = await self._reviewed(context, "create", binding)
        node = binding.target.name if binding.target is not None else None
        kind = binding.target.kind if binding.target is not None else None
        if kind not in (None, "", "Node"):
            why = f'target.kind: Unsupported value: "{kind}": supported values: "Node", "<empty>"'
            raise status.bad_request(why)
        if not node:
            raise status.bad_request("target.name: Required value")

        places = Places(self._resources.of(api.Node))
        labels = {**binding.metadata.labels, **places.of(node)} if places.are_told else {}
        change = binding_of(node, binding.metadata.annotations, labels, context.now)
        await self._writer.update(context, change, subresource="binding", uid=binding.metadata.uid or "")
        return status.success(code=201)

    async def evict(self, request: Request, context: Context) -> Response:
        """POST pods/eviction: a delete that disruption budgets may refuse with 429."""
        eviction = self._decode(self._bodies.json(request), api.Eviction)
        resource, target = context.resource, context.target
        if eviction.apiVersion not in (None, "", *_EVICTIONS):
            version = eviction.apiVersion
            raise status.bad_request(
                f'Eviction in version "{version.rpartition("/")[2]}" cannot be handled as a Eviction: '
                f'no kind "Eviction" is registered for version "{version}" in scheme "{SCHEME}"'
            )
        if eviction.metadata.name != target.name:
            raise status.bad_request("name in URL does not match name in Eviction object")
        take_dry_run(eviction.deleteOptions or api.DeleteOptions(), context)
        eviction = await self._reviewed(context, "create", eviction)
        options = eviction.deleteOptions or api.DeleteOptions()
        item = resource.cache.get(target.namespace, target.name)
        if item is None:
            raise status.not_found(resource.kind, target.name)
        pod: api.Pod = resource.decode_stored(item.data)
        preconditions = options.preconditions
        if not evictions.costs_nothing(pod):
            await self._take_disruption(context, pod)
        if preconditions is not None:
            check_meant(resource.kind, pod, preconditions.uid or "", preconditions.resourceVersion or "")
        if pod.metadata.deletionTimestamp is None:
            await self._writer.update(
                self._beside(context, resource, target.name, owned=False),
                lambda current: evictions.announce(current, context.now),
                subresource="status",
            )
        await self._writer.delete(
            context,
            grace_s=options.gracePeriodSeconds,
            propagation=propagation_of(options),
            uid=(preconditions.uid if preconditions else None) or "",
        )
        return status.success(code=201)

    async def _take_disruption(self, context: Context, pod: api.Pod) -> None:
        """Count the eviction against the one budget that covers the pod. Raises 429, 500."""
        budgets = self._resources.of(api.PodDisruptionBudget)
        covering = []
        for item in budgets.cache.items(pod.metadata.namespace or ""):
            budget: api.PodDisruptionBudget = budgets.decode_stored(item.data)
            selector = budget.spec.selector
            if selector is not None and selectors.from_label_selector(selector).matches(pod.metadata.labels):
                covering.append(budget)
        if not covering:
            return
        if len(covering) > 1:
            raise status.internal(
                "This pod has more than one PodDisruptionBudget, "
                "which the eviction subresource does not support."
            )
        if evictions.is_unhealthy_and_free(pod, covering[0]):
            return
        own = self._beside(context, budgets, covering[0].metadata.name or "")
        name = pod.metadata.name or ""
        await self._writer.update(
            own,
            lambda current: evictions.spend(current, name, budgets.kind, context.now),
            subresource="status",
        )

    @staticmethod
    def _beside(context: Context, resource: Resource, name: str, *, owned: bool = True) -> Context:
        """The context of another write that the request leads to; `owned` where its fields have a manager."""
        target = msgspec.structs.replace(context.target, plural=resource.kind.plural, name=name)
        return msgspec.structs.replace(
            context,
            resource=resource,
            served=resource,
            target=target,
            guards=[],
            ops=[],
            manager=OWN_MANAGER,
            applies=not owned,
        )

    # -- service accounts, namespaces ----------------------------------------------------------------

    async def token(self, request: Request, context: Context) -> Response:
        """POST serviceaccounts/token: a bound, expiring token."""
        asked = self._decode(self._bodies.json(request), api.TokenRequest)
        resource, target = context.resource, context.target
        item = resource.cache.get(target.namespace, target.name)
        if item is None:
            raise status.not_found(resource.kind, target.name)
        account: api.ServiceAccount = resource.decode_stored(item.data)
        asked = await self._reviewed(context, "create", asked)
        lifetime_s = asked.spec.expirationSeconds or DEFAULT_TOKEN_S
        if not MIN_TOKEN_S <= lifetime_s <= MAX_TOKEN_S:
            path = Path("spec")["expirationSeconds"]
            why = (
                "may not specify a duration less than 10 minutes"
                if lifetime_s < MIN_TOKEN_S
                else "may not specify a duration larger than 2^32 seconds"
            )
            raise _invalid_token_request("", field.invalid(path, lifetime_s, why))
        named = asked.metadata.name
        if named and named != target.name:
            why = "must match the service account name if specified"
            raise _invalid_token_request(target.name, field.invalid(Path("metadata.name"), named, why))
        node = node_of(context.user)
        if node:
            self._check_node(node, asked.spec.boundObjectRef, context)
        token, expires = self._authenticator.issue(
            target.namespace,
            target.name,
            account.metadata.uid or "",
            asked.spec.audiences or self._authenticator.audiences,
            lifetime_s,
            self._bound(asked.spec.boundObjectRef, target.namespace, target.name),
        )
        asked.kind, asked.apiVersion = "TokenRequest", "authentication.k8s.io/v1"
        asked.metadata = api.ObjectMeta(
            name=target.name,
            namespace=target.namespace,
            uid=account.metadata.uid,
            creationTimestamp=context.now,
        )
        asked.spec.expirationSeconds = lifetime_s
        asked.spec.audiences = list(asked.spec.audiences or self._authenticator.audiences)
        asked.status = api.TokenRequestStatus(token=token, expirationTimestamp=expires)
        return Response(status=201, body=codec.encode(asked))

    def _check_node(self, node: str, ref: api.BoundObjectReference | None, context: Context) -> None:
        """A node asks for tokens of pods that are placed on it (NodeRestriction)."""
        kind, target = context.resource.kind, context.target
        if ref is None or ref.kind != "Pod" or not ref.name:
            raise status.forbidden(kind, target.name, "node requested token not bound to a pod")
        if not ref.uid:
            raise status.forbidden(kind, target.name, "node requested token with a pod binding without a uid")
        pods = self._resources.of(api.Pod)
        item = pods.cache.get(target.namespace, ref.name)
        pod = pods.decode_stored(item.data) if item is not None else None
        if pod is None or pod.spec.nodeName != node:
            why = "node requested token bound to a pod scheduled on a different node"
            raise status.forbidden(kind, target.name, why)

    def _bound(
        self, ref: api.BoundObjectReference | None, namespace: str, account: str
    ) -> dict[str, Any] | None:
        if ref is None:
            return None
        kinds: dict[str, Any] = {"Pod": api.Pod, "Secret": api.Secret, "Node": api.Node}
        if ref.kind not in kinds:
            version = ref.apiVersion or ""
            group = version if "/" in version else f"/{version}"
            raise status.bad_request(f"cannot bind token to object of type {group}, Kind={ref.kind}")
        resource = self._resources.of(kinds[ref.kind])
        item = resource.cache.get(namespace if resource.kind.namespaced else "", ref.name or "")
        if item is None:
            raise status.not_found(resource.kind, ref.name or "")
        live = resource.decode_stored(item.data)
        if ref.kind == "Pod" and live.spec.serviceAccountName != account:
            raise status.bad_request(
                f"cannot bind token for serviceaccount {account!r} to pod {ref.name!r}, which runs as "
                f"another account"
            )
        if ref.uid and ref.uid != live.metadata.uid:
            why = (
                f"the UID in the bound object reference ({ref.uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise status.other(resource.kind, ref.name or "", why)
        bound = {ref.kind.lower(): {"name": ref.name, "uid": live.metadata.uid}}
        if ref.kind == "Pod" and live.spec.nodeName:
            bound["node"] = {"name": live.spec.nodeName}
            nodes = self._resources.of(api.Node)
            if (node := nodes.cache.get("", live.spec.nodeName)) is not None:
                bound["node"]["uid"] = nodes.decode_stored(node.data).metadata.uid
        return bound

    async def finalize(self, request: Request, context: Context) -> Response:
        """PUT namespaces/finalize: the only way to change a namespace's spec.finalizers."""
        wanted = self._decode(self._bodies.json(request), api.Namespace)

        def change(current: api.Namespace) -> api.Namespace:
            old = codec.copy(current)
            old.spec.finalizers = list(wanted.spec.finalizers)
            old.metadata.resourceVersion = wanted.metadata.resourceVersion
            return old

        written = await self._writer.update(context, change, subresource="finalize")
        return Response(body=written.data)

    # -- what users configured for it ----------------------------------------------------------------

    async def connect(self, request: Request, context: Context) -> None:
        """Webhooks and policies look at a connection to a pod, node or service. Raises StatusError."""
        target = context.target
        subject = {"pods": "Pod", "nodes": "Node", "services": "Service"}[target.plural]
        options: dict[str, Any] = {}
        for name, value in request.query.items():
            options[name] = request.query_lists.get(name, [value]) if name == "command" else value
        for name in _FLAGS & options.keys():
            options[name] = options[name] in ("1", "true")
        if target.subresource == "proxy":
            options = {"path": target.rest}
        kind = f"{subject}{_CONNECTIONS[target.subresource]}Options"
        foreign = Foreign("v1", kind, options)
        await self._admission.review(
            Attributes("connect", target.subresource, target.namespace, context, foreign, None)
        )

    async def _reviewed(self, context: Context, verb: str, obj: T, old: Any = None) -> T:
        """The object after webhooks and policies for the subresource. Raises StatusError."""
        if not self._admission.active:
            return obj
        api_version, kind = _OWN_KINDS[context.target.subresource or "binding"]
        shown = Foreign(api_version, kind, codec.to_builtins(obj))
        before = Foreign(api_version, kind, codec.to_builtins(old)) if old is not None else None
        named = context.target.subresource or "binding"
        attributes = Attributes(verb, named, context.target.namespace, context, shown, before)
        await self._admission.review(attributes)
        context.reviewed = True
        made: T = self._decode(msgspec.json.encode(shown.document), type(obj))
        return made

    def _decode(self, data: bytes, kind: Any) -> Any:
        try:
            return decode_object(data, kind, strict=False)[0]
        except DecodeFailure as problem:
            name = kind.__name__.rpartition("_")[2]
            raise status.bad_request(f"the body is not a {name}: {problem}") from None


def _invalid_token_request(name: str, error: field.FieldError) -> status.StatusError:
    message = f'TokenRequest.authentication.k8s.io "{name}" is invalid: {error}'
    details: dict[str, Any] = {"name": name} if name else {}
    cause = {"reason": error.type, "message": error.body(), "field": error.field}
    details |= {"group": "authentication.k8s.io", "kind": "TokenRequest", "causes": [cause]}
    return status.StatusError(422, "Invalid", message, details)
