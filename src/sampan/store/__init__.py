"""Revisioned keys: one Protocol with etcd v3's meaning, and what stands behind it."""
