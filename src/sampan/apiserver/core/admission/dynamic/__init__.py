"""Admission that the cluster's users configure: webhooks, and policies in CEL."""
