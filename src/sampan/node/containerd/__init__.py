"""A private containerd: its configuration, its process, and the removal of all that it leaves."""
