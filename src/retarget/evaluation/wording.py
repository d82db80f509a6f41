"""Numbers as sentences say them: with as many digits as they deserve, and a true minus sign."""

import math

_MANTISSAS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
MOST_DECIMALS = 6


def decimals(half_width: float, *, least: int = -9) -> int:
    """Return how many decimals a number with that half of an interval deserves, at most 6.

    The last digit is worth a tenth to a half of the half-width: ±0.034 → 2, ±0.014 → 3, ±340 → −2
    (hundreds). At least `least`; two where there is no uncertainty to go by.
    """
    if not (math.isfinite(half_width) and half_width > 0):
        return max(2, least)
    magnitude = math.floor(math.log10(half_width))
    leading = half_width / 10.0**magnitude
    return min(max(-magnitude + (leading < 2), least), MOST_DECIMALS)


def plain(number: float, places: int) -> str:
    """Return `number` with that many decimals: `0.61`, `−0.04`, `52,000` (places = −3)."""
    rounded = round(number, places)
    text = f"{abs(rounded):,.{max(places, 0)}f}"
    return f"−{text}" if rounded < 0 else text


def signed(number: float, places: int) -> str:
    """Return `number` with its sign, `+0.28`, `−0.04`; `0.00` has none."""
    text = plain(number, places)
    return f"+{text}" if round(number, places) > 0 else text


def roughly(number: float) -> int:
    """Return a count above zero to one digit or a half: 1, 15, 20, 250, 3,000. At least 1."""
    if number <= 1:
        return 1
    magnitude = 10.0 ** math.floor(math.log10(number))
    nearest = min(_MANTISSAS, key=lambda mantissa: abs(math.log(mantissa * magnitude / number)))
    return max(1, round(nearest * magnitude))
