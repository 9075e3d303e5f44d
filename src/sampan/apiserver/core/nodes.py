"""Requests that a node's own server answers: logs, exec, attach, port-forward and proxy."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final
from urllib.parse import quote, urlencode

from sampan.apiserver.core import status
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request, Response, Tunnel
from sampan.apiserver.core.resource import Resources
from sampan.schema import api

_PORT: Final = re.compile(r"[a-z0-9-]{0,63}")
_PATHS: Final = {"log": "containerLogs", "exec": "exec", "attach": "attach", "portforward": "portForward"}


class NodeTunnels:
    """Finds where such a request has to go."""

    def __init__(self, resources: Resources, kubelet_ca: str, *, loopback_pods: bool = False) -> None:
        self._resources = resources
        self._ca = kubelet_ca
        self._loopback_pods = loopback_pods

    def open(self, request: Request, target: Target) -> Response:
        """A tunnel to the server that can answer. Raises 400, 404, 503."""
        if target.subresource == "proxy":
            return self._proxy(request, target)
        pod = self._pod(target)
        if not pod.spec.nodeName and target.subresource == "log":
            return Response(status=204)  # nothing runs yet that could have written any
        if not pod.spec.nodeName:
            raise status.bad_request(f"pod {target.name} does not have a host assigned")
        base = self._kubelet(pod.spec.nodeName)
        path = f"{base}/{_PATHS[target.subresource]}/{target.namespace}/{target.name}"
        if target.subresource != "portforward":
            path += f"/{self._container(request, pod)}"
        pairs = [(k, v) for k, values in _query(request).items() for v in values if k != "container"]
        url = f"{path}?{urlencode(pairs)}" if pairs else path
        in_messages = target.subresource == "log"
        return Response(tunnel=Tunnel(url=url, ca=self._ca, to_node=True, in_messages=in_messages))

    def _pod(self, target: Target) -> api.Pod:
        resource = self._resources.of(api.Pod)
        item = resource.cache.get(target.namespace, target.name)
        if item is None:
            raise status.not_found(resource.kind, target.name)
        pod: api.Pod = resource.decode_stored(item.data)
        return pod

    def _container(self, request: Request, pod: api.Pod) -> str:
        wanted = request.query.get("container", "")
        spec = pod.spec
        names = [container.name for container in (*spec.containers, *spec.initContainers)]
        names += [container.name for container in spec.ephemeralContainers]
        if wanted:
            if wanted not in names:
                raise status.bad_request(f"container {wanted} is not valid for pod {pod.metadata.name}")
            return wanted
        default = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
        if default in names or len(pod.spec.containers) == 1:
            return default or names[0]
        choices = " ".join(container.name for container in pod.spec.containers)
        raise status.bad_request(
            f"a container name must be specified for pod {pod.metadata.name}, choose one of: [{choices}]"
        )

    def _kubelet(self, node_name: str) -> str:
        resource = self._resources.of(api.Node)
        item = resource.cache.get("", node_name)
        if item is None:
            raise status.not_found(resource.kind, node_name)
        node: api.Node = resource.decode_stored(item.data)
        endpoints = node.status.daemonEndpoints
        port = endpoints.kubeletEndpoint.Port if endpoints and endpoints.kubeletEndpoint else 0
        addresses = {a.type: a.address for a in node.status.addresses}
        address = addresses.get("InternalIP") or addresses.get("Hostname")
        if not address or not port:
            raise status.unavailable(f"node {node_name} has not said yet where its agent listens")
        return f"https://{address}:{port}"

    def _proxy(self, request: Request, target: Target) -> Response:
        """`name`, `name:port` or `scheme:name:port`, then the path."""
        scheme, name, port = _proxy_name(target.name)
        if scheme not in ("http", "https") or not _PORT.fullmatch(port):
            raise status.bad_request(f"{target.name!r} is not NAME, NAME:PORT or SCHEME:NAME:PORT")
        if not target.rest and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
            return _with_slash(request)
        base = self._proxy_base(target, scheme, name, port)
        pairs = [(k, v) for k, values in _query(request).items() for v in values]
        slash = "/" if target.rest and request.path.endswith("/") else ""
        url = f"{base}/{quote(target.rest)}{slash}" + (f"?{urlencode(pairs)}" if pairs else "")
        to_node = target.plural == "nodes"
        where = f"/namespaces/{target.namespace}" if target.namespace else ""
        return Response(
            tunnel=Tunnel(
                url=url,
                ca=self._ca if to_node else "",
                to_node=to_node,
                # Pods make their own certificates, as kube-apiserver takes for granted.
                insecure=not to_node,
                prefix=f"/api/v1{where}/{target.plural}/{target.name}/proxy",
            )
        )

    def _proxy_base(self, target: Target, scheme: str, name: str, port: str) -> str:
        if target.plural == "nodes":
            return self._kubelet(name)
        if target.plural == "pods":
            resource: Any = self._resources.of(api.Pod)
            item = resource.cache.get(target.namespace, name)
            if item is None:
                raise status.not_found(resource.kind, name)
            pod: api.Pod = resource.decode_stored(item.data)
            if not pod.status.podIP:
                raise status.unavailable(f"pod {name} has no address yet")
            ports = [p for c in pod.spec.containers for p in c.ports]
            first = ports[0].containerPort if ports else 80
            named = next((p.containerPort for p in ports if p.name == port), None)
            if port and named is None and not port.isdigit():
                raise status.bad_request(f'pod {name} has no port named "{port}"')
            return f"{scheme}://{self._reachable(pod.status.podIP)}:{named or port or first}"
        return self._service_base(target.namespace, scheme, name, port)

    def _reachable(self, address: str) -> str:
        """The address, unless it is the server's own machine or link: those are not for clients to reach."""
        parsed = ipaddress.ip_address(address)
        if parsed.is_link_local or (parsed.is_loopback and not self._loopback_pods):
            raise status.forbidden_address(address)
        return f"[{address}]" if parsed.version == 6 else address

    def _service_base(self, namespace: str, scheme: str, name: str, port: str) -> str:
        resource = self._resources.of(api.Service)
        item = resource.cache.get(namespace, name)
        if item is None:
            raise status.not_found(resource.kind, name)
        service: api.Service = resource.decode_stored(item.data)
        for candidate in service.spec.ports:
            if port in ("", candidate.name, str(candidate.port)):
                wanted = candidate.name
                break
        else:
            raise status.unavailable(f'no port "{port}" found for service "{name}"')
        slices = self._resources.of(api.EndpointSlice)
        for each in slices.cache.items(namespace):
            found: api.EndpointSlice = slices.decode_stored(each.data)
            if found.metadata.labels.get("kubernetes.io/service-name") != name:
                continue
            number = next((p.port for p in found.ports if (p.name or "") == (wanted or "")), None)
            for endpoint in found.endpoints:
                conditions = endpoint.conditions
                if number and (conditions is None or conditions.ready is not False):
                    return f"{scheme}://{self._reachable(endpoint.addresses[0])}:{number}"
        raise status.unavailable(f'no endpoints available for service "{name}"')


def _with_slash(request: Request) -> Response:
    """A redirect to the root of what is proxied: relative links of its first page would miss it otherwise."""
    pairs = [(k, v) for k, values in _query(request).items() for v in values]
    place = quote(request.path, safe="/:") + "/" + (f"?{urlencode(pairs)}" if pairs else "")
    return Response(status=301, headers={"Location": place})


def _proxy_name(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) == 2 else ""


def _query(request: Request) -> dict[str, list[str]]:
    return {name: request.query_lists.get(name) or [value] for name, value in request.query.items()}
