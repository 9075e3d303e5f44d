"""What would be: where the pods of manifests would go, and what draining a node would come to."""
