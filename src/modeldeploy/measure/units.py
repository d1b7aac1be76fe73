"""Numbers with their units, as pictures and tables show them."""

from __future__ import annotations


def seconds(value: float | None) -> str:
    """A time in the unit that fits: ``85 µs``, ``1.42 ms``, ``12.0 ms``, ``1.31 s``; ``-`` for none."""
    if value is None:
        return "-"
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if value * factor < 999.5:
            return f"{_three(value * factor)} {unit}"
    return f"{_three(value)} s"


def count(value: float | None) -> str:
    """A number with thin gaps: ``11 032``, ``8.4``; ``-`` for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}".replace(",", " ") if value >= 99.5 else _three(value)


def short(value: float) -> str:
    """A number for an axis: ``0``, ``500``, ``10k``, ``2M``."""
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def tick(value: float) -> str:
    """A time for an axis: ``0.5 ms``, ``20 ms``, ``1 s``."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if value * factor < (99.5 if unit == "µs" else 999.5):
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def power(value: float) -> str:
    """A value for an axis of errors: ``10⁻⁴``, and ``2·10⁻⁴`` for those between."""
    digit, _, exponent = f"{value:.0e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if digit == "1" else f"{digit}·10{raised}"


def difference(value: float) -> str:
    """An error of an output: ``0``, ``3.1e-05``, ``0.012``."""
    return "0" if not value else f"{value:.1e}" if value < 1e-3 else f"{value:.2g}"


def size(value: float) -> str:
    """Bytes: ``512 B``, ``1.4 MB``."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{_three(value / factor)} {unit}"
    return f"{value:.0f} B"


def _three(value: float) -> str:
    """Three digits that count."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
