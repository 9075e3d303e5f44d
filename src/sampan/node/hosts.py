"""Names of a pod on its network: hostname, domain, /etc/hosts. Pure."""

from __future__ import annotations

from sampan.schema import api

HOSTNAME_MOST = 63
_HEADER = "# Kubernetes-managed hosts file.\n"
_HOST_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
fe00::\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hostname(pod: api.Pod, node_name: str) -> str:
    """What `hostname` says inside the pod."""
    spec = pod.spec
    if spec.hostnameOverride:
        return spec.hostnameOverride
    if spec.hostNetwork:
        return node_name
    return (spec.hostname or pod.metadata.name or "")[:HOSTNAME_MOST].rstrip("-.")


def domain(pod: api.Pod, cluster_domain: str) -> str:
    """The pod's domain: `<subdomain>.<namespace>.svc.<cluster domain>`; empty without a subdomain."""
    if not pod.spec.subdomain:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace or 'default'}.svc.{cluster_domain}"


def sandbox_hostname(pod: api.Pod, node_name: str, cluster_domain: str) -> str:
    """The hostname that the sandbox gets: the full name where setHostnameAsFQDN asks for it."""
    name, within = hostname(pod, node_name), domain(pod, cluster_domain)
    return f"{name}.{within}" if pod.spec.setHostnameAsFQDN and within else name


def etc_hosts(pod: api.Pod, node_name: str, cluster_domain: str, ips: tuple[str, ...], host_file: str) -> str:
    """The text of the pod's /etc/hosts; on the host's network it is the host's with the aliases added."""
    if pod.spec.hostNetwork:
        return _HOST_HEADER + host_file + _aliases(pod)
    name, within = hostname(pod, node_name), domain(pod, cluster_domain)
    names = f"{name}.{within}\t{name}" if within else name
    return _HEADER + _LOCAL + "".join(f"{ip}\t{names}\n" for ip in ips) + _aliases(pod)


def _aliases(pod: api.Pod) -> str:
    if not pod.spec.hostAliases:
        return ""
    lines = "".join("\t".join((a.ip, *a.hostnames)) + "\n" for a in pod.spec.hostAliases)
    return f"\n# Entries added by HostAliases.\n{lines}"
