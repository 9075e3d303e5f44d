"""Admission: what ships with Kubernetes, one module a plugin, and the chain that runs them."""
