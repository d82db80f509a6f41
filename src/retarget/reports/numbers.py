"""How numbers are written, everywhere a person reads them.

One style: scores are decimals, `0.612 (0.58 to 0.64)`; differences carry their sign,
`+0.081 (+0.05 to +0.11)`; percentages are for shares of something only. The width of the interval
decides the digits. What could not be measured is a dash.
"""

import math

from retarget.evaluation import wording
from retarget.evaluation.metrics import METRICS
from retarget.evaluation.results import Estimate, Gain

MISSING = "–"


def metric_name(key: str) -> str:
    """Return a metric's name for people: `macro_f1` → `macro F1`."""
    return METRICS[key].title if key in METRICS else key.replace("_", " ")


def capital(text: str) -> str:
    """Return `text` with its first letter as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def number(value: float, decimals: int, signed: bool = False) -> str:
    """Return `value` with thousands separators and a real minus sign; zero has no sign."""
    if not math.isfinite(value):
        return MISSING
    return wording.signed(value, decimals) if signed else wording.plain(value, decimals)


def decimals(value: float, low: float, high: float) -> int:
    """Return how many decimals the ends of an interval deserve (its middle gets one more).

    Half the width is worth one digit: 11 to 14 has none, 1.2 to 1.6 has one. Scores between −1
    and 1 have at least two, so that they line up.
    """
    width = high - low
    if math.isfinite(width) and width / 2 > 0:
        least = 2 if max(abs(low), abs(high), abs(value)) <= 1 else -1
        return min(5, max(least, math.ceil(-math.log10(width / 2))))
    if not math.isfinite(value) or value == 0:
        return 2
    return min(5, max(-1, 2 - math.floor(math.log10(abs(value))) - 1))


def _with_interval(value: float, low: float, high: float, signed: bool) -> str:
    ends = decimals(value, low, high)
    middle = number(value, max(0, ends + 1), signed)
    if not (math.isfinite(low) and math.isfinite(high)):
        return middle
    return f"{middle} ({span(low, high, max(0, ends), signed)})"


def span(low: float, high: float, places: int, signed: bool = False) -> str:
    """Return `0.58 to 0.64`."""
    return f"{number(low, places, signed)} to {number(high, places, signed)}"


def estimate(measured: Estimate) -> str:
    """Return a score with its interval: `0.612 (0.58 to 0.64)`."""
    return _with_interval(measured.value, measured.low, measured.high, signed=False)


def gain(measured: Gain) -> str:
    """Return a difference with its interval: `+0.081 (+0.05 to +0.11)`."""
    return _with_interval(measured.value, measured.low, measured.high, signed=True)


def middle(measured: Estimate | Gain) -> str:
    """Return the value alone, with the digits its interval allows."""
    places = max(0, decimals(measured.value, measured.low, measured.high) + 1)
    return number(measured.value, places, signed=isinstance(measured, Gain))


def ends(measured: Estimate | Gain) -> str:
    """Return the interval alone: `0.58 to 0.64`, or nothing where there is none."""
    if not (math.isfinite(measured.low) and math.isfinite(measured.high)):
        return ""
    places = max(0, decimals(measured.value, measured.low, measured.high))
    return span(measured.low, measured.high, places, signed=isinstance(measured, Gain))


def score(value: float) -> str:
    """Return a number that has no interval: three decimals, fewer where it is large."""
    if not math.isfinite(value):
        return MISSING
    return number(value, 3 if abs(value) < 10 else 2 if abs(value) < 100 else 0)


def with_error(value: float, error: float) -> str:
    """Return a value and its standard error: `0.412 ± 0.021`."""
    if not math.isfinite(error) or error <= 0:
        return score(value)
    places = min(5, max(0, 1 - math.floor(math.log10(error))))
    return f"{number(value, places)} ± {number(error, places)}"


def seconds(duration: float) -> str:
    """Return a duration with its unit: `3.2 ms`, `0.41 s`, `12 s`, `3 min 20 s`, `1 h 05 min`."""
    if not math.isfinite(duration):
        return MISSING
    if duration < 0.1:
        return f"{duration * 1000:.2g} ms" if duration > 0 else "0 s"
    if duration < 1:
        return f"{duration:.2f} s"
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(duration / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def rate(per_second: float | None, unit: str) -> str:
    """Return `312 images/s`, or a dash."""
    if per_second is None or not math.isfinite(per_second):
        return MISSING
    return f"{number(per_second, 0 if per_second >= 10 else 1)} {unit}/s"


def operations(number_of: float) -> str:
    """Return `0.39 G` for 390 million, or a dash where they were not counted."""
    if not (math.isfinite(number_of) and number_of > 0):
        return MISSING
    size, unit = next(
        (s, u) for s, u in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (0, "")) if s <= number_of * 10
    )
    return f"{number(number_of / (size or 1), 2 if number_of < 10 * size else 0)}{unit}"


def share(part: float | None) -> str:
    """Return `42%`, or a dash."""
    return MISSING if part is None or not math.isfinite(part) else f"{part:.0%}"


def kept(measured: Estimate | None, interval: bool = True) -> str:
    """Return a share with its interval, `71% (65 to 77)`, or a dash."""
    if measured is None or not math.isfinite(measured.value):
        return MISSING
    middle = f"{number(100 * measured.value, 0)}%"
    if not (interval and math.isfinite(measured.low) and math.isfinite(measured.high)):
        return middle
    return f"{middle} ({span(100 * measured.low, 100 * measured.high, 0)})"


def quantity(number_of: float) -> str:
    """Return how many: `980`, `12k`, `3.4M`, `1.2G`."""
    if not math.isfinite(number_of):
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number_of >= 0.9995 * size:
            return f"{number(number_of / size, 1 if number_of < 9.95 * size else 0)}{unit}"
    return number(number_of, 0)


def part_of(some: float, whole: float) -> str:
    """Return a quantity and its share of a whole: `3.4M (100%)`, `12k (0.4%)`.

    What is not all does not look like all, nor what is something like nothing.
    """
    if not (math.isfinite(some) and whole > 0):
        return quantity(some)
    part = 100 * some / whole
    if 0 < part < 0.1:
        return f"{quantity(some)} (< 0.1%)"
    if 99.5 <= part < 100:
        return f"{quantity(some)} ({min(part, 99.9):.1f}%)"
    return f"{quantity(some)} ({part:.{1 if 0 < part < 0.95 else 0}f}%)"


def megabytes(size: float) -> str:
    """Return a size with its unit, `3.4 MB`, `412 MB`, `1.2 GB`, or a dash for none."""
    if not (math.isfinite(size) and size > 0):
        return MISSING
    if size >= 999.5:
        return f"{number(size / 1000, 1)} GB"
    return f"{number(size, 0)} MB" if size >= 9.95 else f"{max(size, 0.1):.1f} MB"


def ticks(low: float, high: float, about: int = 5) -> tuple[float, ...]:
    """Return round numbers from `low` to `high`, steps of 1, 2 or 5 times a power of ten."""
    width = high - low
    if not (math.isfinite(width) and width > 0):
        return ()
    raw = width / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return tuple(k * step for k in range(first, last + 1))


def tick_labels(places: tuple[float, ...], signed: bool = False) -> tuple[str, ...]:
    """Return the labels of evenly spaced ticks, all with the decimals that tell them apart."""
    step = places[1] - places[0] if len(places) > 1 else abs(places[0]) if places else 1.0
    needed = max(0, -math.floor(math.log10(step) + 1e-6)) if step > 0 else 0
    return tuple(number(place, needed, signed) for place in places)
