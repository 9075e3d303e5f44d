"""ResourceClaims: made from templates for pods, given back and deleted when their pods end."""
