"""Node groups that grow for pods that have no room, and shrink when their nodes are not needed."""
