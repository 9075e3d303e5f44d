"""What all controllers share: their shape, and the one shell that runs them."""
