"""Server-side apply: who manages which field, and merging what each manager asks for."""
