"""What a pod's resolv.conf says, by its dnsPolicy and dnsConfig. Pure."""

from __future__ import annotations

import msgspec

from sampan.schema import api

MAX_SERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARACTERS = 2048


class Resolver(msgspec.Struct, frozen=True):
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Resolver:
    """The host's own resolv.conf; the last `search` and `options` lines win, comments are skipped."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(w.removesuffix(".") if w != "." else w for w in words[1:])
        elif words[0] == "options":
            options = tuple(words[1:])
    return Resolver(tuple(servers), searches, options)


def pod_resolver(pod: api.Pod, host: Resolver, cluster_dns: tuple[str, ...], cluster_domain: str) -> Resolver:
    """The pod's resolver. ClusterFirst without cluster DNS, or on the host's network, is Default."""
    policy = pod.spec.dnsPolicy or "ClusterFirst"
    cluster = (policy == "ClusterFirst" and not pod.spec.hostNetwork) or policy == "ClusterFirstWithHostNet"
    if policy == "None":
        base = Resolver()
    elif cluster and cluster_dns:
        namespace = pod.metadata.namespace or "default"
        own = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        searches = own if cluster_domain else ()
        base = Resolver(cluster_dns, _unique(*searches, *host.searches), ("ndots:5",))
    else:
        base = host
    merged = _merge(base, pod.spec.dnsConfig)
    return Resolver(merged.servers[:MAX_SERVERS], _fit(merged.searches), merged.options)


def _merge(base: Resolver, config: api.PodDNSConfig | None) -> Resolver:
    if config is None:
        return base
    options = {o.partition(":")[0]: o for o in base.options}
    for option in config.options:
        name = option.name or ""
        options[name] = f"{name}:{option.value}" if option.value else name
    return Resolver(
        _unique(*base.servers, *config.nameservers),
        _unique(*base.searches, *config.searches),
        tuple(options.values()),
    )


def _unique(*values: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _fit(searches: tuple[str, ...]) -> tuple[str, ...]:
    kept: list[str] = []
    for search in searches[:MAX_SEARCHES]:
        if len(" ".join([*kept, search])) > MAX_SEARCH_CHARACTERS:
            break
        kept.append(search)
    return tuple(kept)


def resolv_conf_text(resolver: Resolver) -> str:
    """The file's text."""
    lines = []
    if resolver.searches:
        lines.append(f"search {' '.join(resolver.searches)}")
    lines += [f"nameserver {server}" for server in resolver.servers]
    if resolver.options:
        lines.append(f"options {' '.join(resolver.options)}")
    return "\n".join(lines) + "\n"
