"""What is told of the types that the published definitions do not describe."""

from __future__ import annotations

from typing import Final

PATCH: Final = "The body of a PATCH: what it holds goes by its media type."
INT_OR_STRING: Final = "A whole number, or a text such as a percentage or the name of a port."
QUANTITY: Final = (
    "An amount, as a number with a suffix or an exponent: 1.5, 100m, 64Mi, 1e3. Suffixes are m, k, M, G, T, "
    "P, E by the thousand and Ki, Mi, Gi, Ti, Pi, Ei by 1024. It is kept to three places behind the point, "
    "rounded up, and written with the largest suffix that needs no fraction, of the kind it was given with."
)
