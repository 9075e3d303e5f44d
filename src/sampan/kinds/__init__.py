"""One module for each API kind or small family: scope, names, defaulting, validation, columns."""
