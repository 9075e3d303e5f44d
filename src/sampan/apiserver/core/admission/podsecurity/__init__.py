"""Pod Security Standards: what pods may ask of their node, by namespace label."""
