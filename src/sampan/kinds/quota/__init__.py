"""What objects count for against ResourceQuotas: asked by the API server before it commits, and by the
controller."""
