"""What makes time and chance a parameter: clocks, ids, randomness, limits, errors."""
