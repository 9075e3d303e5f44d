"""Audit: who did what, when, and how it ended, as audit.k8s.io/v1 Events in a file."""
