"""Containers through the Container Runtime Interface: containerd first, others by the same protocol."""
