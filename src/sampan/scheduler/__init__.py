"""Which node runs which pod: a pure cycle over arrays of nodes, and a thin shell that watches and binds."""
