"""A small writer of SVG: shapes by the name of their colour, labels that keep out of each other's way.

A picture is one file without scripts, fonts or links. It follows the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "quiet": "#59636e",
    "grid": "#dfe4e9",
    "one": "#0969da",
    "two": "#bc4c00",
    "three": "#8250df",
    "good": "#1a7f37",
    "bad": "#cf222e",
}
DARK = {
    "paper": "#0d1117",
    "ink": "#e6edf3",
    "quiet": "#9198a1",
    "grid": "#2a3038",
    "one": "#4493f8",
    "two": "#f0883e",
    "three": "#ab7df8",
    "good": "#3fb950",
    "bad": "#f85149",
}
"""Colours by name, one for each setting; texts keep a contrast of 4.5 to the paper in both."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_WIDE = 0.56
"""Width of a character, in heights of the font."""


def rules(selector: str = "") -> str:
    """The style sheet: ``f-NAME`` fills with a colour, ``s-NAME`` strokes with it."""
    return f"{_colours(LIGHT, selector)}@media (prefers-color-scheme: dark){{{_colours(DARK, selector)}}}"


def _colours(colours: dict[str, str], selector: str) -> str:
    return "".join(
        f"{selector}.f-{name}{{fill:{value}}}{selector}.s-{name}{{stroke:{value}}}"
        for name, value in colours.items()
    )


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the drawing that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """True if the two share a place."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(slots=True)
class Drawing:
    """Shapes, in the order in which they are drawn."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)

    def line(self, *points: tuple[float, float], colour: str, width: float = 1.0, dash: str = "") -> None:
        """A line through points."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path class="s-{colour}" d="{path}" fill="none" stroke-width="{width:g}"'
            f' stroke-linejoin="round" stroke-linecap="round"{dashed}/>'
        )

    def dot(
        self, x: float, y: float, *, colour: str, radius: float = 4.5, full: bool = True, told: str = ""
    ) -> None:
        """A point; ``told`` is shown where the reader's pointer rests on it."""
        fill, stroke = (colour, "paper") if full else ("paper", colour)
        hint = f"<title>{escape(told)}</title>" if told else ""
        self.parts.append(
            f'<circle class="f-{fill} s-{stroke}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
            f' stroke-width="1.5">{hint}</circle>'
        )
        self.take(x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1)

    def text(
        self, x: float, y: float, said: str, *, colour: str = "ink", size: float = 12, anchor: str = "start"
    ) -> None:
        """A line of text."""
        self.parts.append(
            f'<text class="f-{colour}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}"'
            f' text-anchor="{anchor}">{escape(said)}</text>'
        )

    def upwards(self, x: float, y: float, said: str) -> None:
        """A line of text around a point, from bottom to top."""
        self.parts.append(
            f'<text class="f-ink" x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="middle"'
            f' transform="rotate(-90 {x:.1f} {y:.1f})">{escape(said)}</text>'
        )

    def heading(self, x: float, y: float, said: str) -> None:
        """A line of text that stands out."""
        self.parts.append(
            f'<text class="f-ink" x="{x:.1f}" y="{y:.1f}" font-size="16" font-weight="600">'
            f"{escape(said)}</text>"
        )

    def take(self, left: float, top: float, right: float, bottom: float) -> None:
        """Keep labels away from a place."""
        self.taken.append(Box(left, top, right, bottom))

    def label(self, x: float, y: float, said: str, *, colour: str, size: float = 11) -> None:
        """A text beside a point, where there is room for it: above, below, right or left; else nowhere."""
        wide = len(said) * size * _WIDE
        places = (
            (x, y - 9, "middle"),
            (x, y + 8 + size, "middle"),
            (x + 9, y + size / 3, "start"),
            (x - 9, y + size / 3, "end"),
            *((x, y - away, "middle") for away in (24, 40)),
            *((x, y + away + size, "middle") for away in (24, 40)),
            *((x - 9, y + size / 3 + away, "end") for away in (-14, 14, -28, 28)),
            *((x + 9, y + size / 3 + away, "start") for away in (-14, 14, -28, 28)),
        )
        for at, base, anchor in places:
            left = {"middle": at - wide / 2, "start": at, "end": at - wide}[anchor]
            box = Box(left, base - size, left + wide, base + size / 4)
            inside = left >= 0 and box.right <= self.width and box.top >= 0
            if inside and not any(map(box.meets, self.taken)):
                self.taken.append(box)
                # Once as a margin of paper, so that it can be read above lines; not every reader of SVG
                # knows paint-order.
                self.parts.append('<g class="s-paper" stroke-width="3" aria-hidden="true">')
                self.text(at, base, said, colour="paper", size=size, anchor=anchor)
                self.parts.append("</g>")
                self.text(at, base, said, colour=colour, size=size, anchor=anchor)
                return

    def render(self) -> str:
        """The picture as the text of a file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" role="img" aria-label={quoteattr(self.title)}'
            f" font-family={quoteattr(FONT)}><title>{escape(self.title)}</title><style>{rules()}</style>"
            f'<rect class="f-paper" width="{self.width}" height="{self.height}"/>'
            f"{''.join(self.parts)}</svg>\n"
        )


def legend(drawing: Drawing, x: float, y: float, entries: Iterable[tuple[str, str, bool]]) -> None:
    """Names of colours in a row: name, colour, and whether its points are full."""
    for name, colour, full in entries:
        drawing.dot(x, y - 4, colour=colour, full=full)
        drawing.text(x + 10, y, name, colour="quiet", size=12)
        x += 30 + len(name) * 12 * _WIDE
