"""What keeps a node's disk from filling up: rotation of container logs, collection of unused images."""
