"""Images built from directories, the cluster's own images, and their import into a runtime."""
