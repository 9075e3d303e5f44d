"""Evicts pods that would be better off elsewhere; off unless a policy says otherwise."""
