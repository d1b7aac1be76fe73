"""The two pictures: latency against throughput of a server, and accuracy against speed of variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modeldeploy.measure import scales, units
from modeldeploy.measure.scales import Scale
from modeldeploy.measure.svg import Drawing, legend

_WIDTH, _HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 28, 96, 62


@dataclass(frozen=True, slots=True)
class Point:
    """One level of a sweep."""

    name: str
    rate: float
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant of a model. ``state``: ``chosen``, ``kept``, ``refused`` or ``original``."""

    name: str
    cost: float
    """Smaller is better: seconds of an inference, seconds for a row, or bytes."""
    error: float
    state: str
    front: bool = False
    """No other kept one is better in both."""
    span: tuple[float, float] | None = None
    """Between these the cost may lie; None where it is exact."""
    named: bool = True
    """False for one that is as good as the original: its name would only be in the way."""


def sweep(points: Sequence[Point], *, title: str, told: str, unit: str = "requests/s") -> str:
    """Latency (upwards, by its logarithm) against throughput, a point for each number of connections."""
    drawing = _frame(title, told)
    times = [time for point in points for time in (point.p50, point.p99) if time]
    across = scales.even([point.rate for point in points], _LEFT, _WIDTH - _RIGHT)
    up = scales.logarithmic(times, _HEIGHT - _BOTTOM, _TOP)
    _axes(drawing, across, up, units.short, units.tick)
    _names(drawing, f"{unit}, answered with 200", "latency")
    both = (("p50", "one", [point.p50 for point in points]), ("p99", "two", [point.p99 for point in points]))
    for name, colour, values in both:
        line = [
            (across.at(point.rate), up.at(value), point, value)
            for point, value in zip(points, values, strict=True)
            if value
        ]
        if len(line) > 1:
            drawing.line(*((x, y) for x, y, _, _ in line), colour=colour, width=2)
        for x, y, point, value in line:
            said = f"{point.name}: {units.count(point.rate)} {unit}, {name} {units.seconds(value)}"
            drawing.dot(x, y, colour=colour, told=said)
        for x, y, point, _ in line:
            drawing.label(x, y, point.name, colour=colour)
    drawing.text(_LEFT, 78, "numbers at points: connections", colour="quiet")
    legend(drawing, _WIDTH - _RIGHT - 112, 78, [("p50", "one", True), ("p99", "two", True)])
    return drawing.render()


_STATES = {
    "original": ("quiet", True, "original"),
    "kept": ("one", True, "within the tolerance"),
    "chosen": ("good", True, "chosen"),
    "refused": ("bad", False, "refused"),
}
_ORDER = ("refused", "kept", "original", "chosen")
"""What is drawn later lies above."""


def tradeoff(
    candidates: Sequence[Candidate], *, title: str, told: str, cost: str, show: Callable[[float], str]
) -> str:
    """Largest error (to the right, by its logarithm, none at the very left) against the cost (upwards)."""
    drawing = _frame(title, told)
    floor, errors = _errors([one.error for one in candidates])
    across = Scale(floor, errors, _LEFT + 24, _WIDTH - _RIGHT - 40, log=True)
    # Spans of a busy machine may be long: they are cut off rather than let everything else look the same.
    most = 1.5 * max(one.cost for one in candidates)
    highest = [min(most, max(one.cost, one.span[1] if one.span else 0.0)) for one in candidates]
    up = scales.even(highest, _HEIGHT - _BOTTOM, _TOP)
    _axes(drawing, across, up, lambda value: "0" if value <= floor else units.power(value), show)
    _names(drawing, "largest error against the golden samples", cost)
    front = sorted((across.at(max(one.error, floor)), up.at(one.cost)) for one in candidates if one.front)
    if len(front) > 1:
        drawing.line(*front, colour="good", width=1.5, dash="5 4")
    places = [(across.at(max(one.error, floor)), up.at(one.cost), one) for one in candidates]
    for x, y, one in sorted(places, key=lambda place: _ORDER.index(place[2].state)):
        colour, full, _ = _STATES[one.state]
        if one.span:
            drawing.line((x, up.at(one.span[0])), (x, up.at(one.span[1])), colour=colour)
            drawing.take(x - 3, up.at(one.span[1]), x + 3, up.at(one.span[0]))
        said = f"{one.name}: error {units.difference(one.error)}, {show(one.cost)}"
        drawing.dot(x, y, colour=colour, radius=6 if one.state == "chosen" else 4.5, full=full, told=said)
    for x, y, one in sorted(places, key=lambda place: place[2].state not in {"chosen", "original"}):
        if one.named:
            drawing.label(x, y, one.name, colour=_STATES[one.state][0])
    shown = [state for state in _STATES if any(one.state == state for one in candidates)]
    legend(drawing, _LEFT + 5, 78, [(_STATES[each][2], *_STATES[each][:2]) for each in shown])
    return drawing.render()


def _errors(errors: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis of errors; no error is drawn a decade below the smallest."""
    above = [error for error in errors if error > 0] or [1e-6]
    return min(above) / 10, max(max(above) * 2, min(above) * 100)


def _frame(title: str, told: str) -> Drawing:
    drawing = Drawing(_WIDTH, _HEIGHT, title)
    drawing.heading(_LEFT - 60, 30, title)
    drawing.text(_LEFT - 60, 49, told, colour="quiet", size=12)
    return drawing


def _axes(
    drawing: Drawing, across: Scale, up: Scale, name_x: Callable[[float], str], name_y: Callable[[float], str]
) -> None:
    floor = _HEIGHT - _BOTTOM
    for value in up.ticks():
        y = up.at(value)
        drawing.line((_LEFT, y), (_WIDTH - _RIGHT, y), colour="grid")
        drawing.text(_LEFT - 8, y + 4, name_y(value), colour="quiet", size=11, anchor="end")
    first = across.low if across.log else None
    for value in [*([first] if first else []), *across.ticks()]:
        x = across.at(value)
        drawing.line((x, floor), (x, floor + 4), colour="quiet")
        drawing.text(x, floor + 18, name_x(value), colour="quiet", size=11, anchor="middle")
    drawing.line((_LEFT, floor), (_WIDTH - _RIGHT, floor), colour="quiet")
    drawing.take(0, floor - 2, _WIDTH, _HEIGHT)
    drawing.take(0, 0, _LEFT, _HEIGHT)


def _names(drawing: Drawing, across: str, up: str) -> None:
    drawing.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 16, across, size=12, anchor="middle")
    drawing.upwards(22, (_TOP + _HEIGHT - _BOTTOM) / 2, up)
