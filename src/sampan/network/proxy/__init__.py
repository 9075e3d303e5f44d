"""Services on a node: a pure rule set, carried out by nftables or by forwarders in user space."""
