"""Containers as plain processes of the host, for users without root and for quick trials."""
