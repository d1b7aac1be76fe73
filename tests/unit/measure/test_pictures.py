"""Pictures: well formed, on their own, readable in light and dark, and true to the numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from modeldeploy.measure import charts, page, scales, units
from modeldeploy.measure.charts import Candidate, Point
from modeldeploy.measure.svg import DARK, LIGHT, Drawing

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [Point("1", 1000, 0.001, 0.002), Point("16", 8000, 0.002, 0.009), Point("64", 8100, 0.008, None)]
CANDIDATES = [
    Candidate("as it is", 60e-6, 0.0, "original", front=True),
    Candidate("int8", 30e-6, 0.01, "chosen", front=True, span=(28e-6, 33e-6)),
    Candidate("fp16", 61e-6, 2e-4, "refused"),
]


def sweep(points: list[Point] = POINTS, title: str = "digits") -> str:
    return charts.sweep(points, title=title, told="closed loop")


def tradeoff(candidates: list[Candidate] = CANDIDATES) -> str:
    return charts.tradeoff(candidates, title="m.onnx", told="", cost="time", show=units.tick)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("picture", [sweep(), tradeoff()])
def test_a_picture_is_one_file_without_scripts_or_links(picture: str) -> None:
    root = ET.fromstring(picture)

    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title") is not None
    assert "prefers-color-scheme: dark" in picture
    assert not re.search(r"<script|href|url\(|@import|<image|\bon[a-z]+=", picture)
    assert re.findall(r"https?://[^\"]*", picture) == ["http://www.w3.org/2000/svg"]


def test_every_level_is_a_point_and_says_its_numbers() -> None:
    picture = sweep()
    told = [title.text for title in ET.fromstring(picture).iter(f"{SVG}title")]

    assert "16: 8 000 requests/s, p99 9.00 ms" in told
    assert {"1", "16", "64", "p50", "p99"} <= set(texts(picture))


def test_more_throughput_lies_further_right_and_more_latency_higher() -> None:
    circles = [
        circle
        for circle in ET.fromstring(sweep()).iter(f"{SVG}circle")
        if circle.find(f"{SVG}title") is not None
    ]
    places = [(float(circle.attrib["cx"]), float(circle.attrib["cy"])) for circle in circles]

    assert len(places) == 5, "three medians, two p99"
    assert [x for x, _ in places[:3]] == sorted(x for x, _ in places[:3])
    assert places[2][1] < places[0][1]


@pytest.mark.parametrize("points", [[], [Point("1", 0.0, None, None)], [Point("1", 3.0, 0.5, 0.5)]])
def test_few_and_odd_numbers_give_a_picture_too(points: list[Point]) -> None:
    assert ET.fromstring(sweep(points)) is not None


@pytest.mark.parametrize("error", [0.0, 1e-30, 1e30])
def test_odd_errors_give_a_picture_too(error: float) -> None:
    assert ET.fromstring(tradeoff([Candidate("a", 1.0, error, "original"), *CANDIDATES])) is not None


def test_names_are_text_whatever_they_hold() -> None:
    assert texts(sweep(title='<script>"&'))[0] == '<script>"&'
    report = page.report("<b>&", "<i>", sweep(), ["<u>"], [("", ["<s>"])], ["<q>"])
    assert not re.search(r"<(b|i|u|s|q|script)>", report)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_has_enough_contrast(colours: dict[str, str]) -> None:
    for name, colour in colours.items():
        dark, bright = sorted((luminance(colour), luminance(colours["paper"])))
        assert name in {"paper", "grid"} or (bright + 0.05) / (dark + 0.05) >= 4.5, name


def test_labels_keep_out_of_each_other_s_way() -> None:
    drawing = Drawing(400, 300, "x")
    for step in range(8):
        drawing.dot(200 + step, 150, colour="one")
    for step in range(8):
        drawing.label(200 + step, 150, f"name {step}", colour="one")

    labels = drawing.taken[8:]
    assert len(labels) > 3
    assert not any(one.meets(other) for one in labels for other in drawing.taken if one is not other)


def test_ticks_are_round_and_within() -> None:
    assert scales.even([930], 0, 100).ticks() == [0, 200, 400, 600, 800, 1000]
    assert scales.logarithmic([0.002, 0.03], 0, 100).ticks() == pytest.approx([0.002, 0.005, 0.01, 0.02])
    assert [units.tick(value) for value in (5e-5, 2e-4, 0.01, 2.0)] == ["50 µs", "0.2 ms", "10 ms", "2 s"]


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "-"), (8.24e-6, "8.24 µs"), (0.0124, "12.4 ms"), (0.9999, "1.00 s"), (0.1385, "138 ms")],
)
def test_times_are_told_in_the_unit_that_fits(value: float | None, told: str) -> None:
    assert units.seconds(value) == told


def test_other_numbers_are_told_with_three_digits() -> None:
    assert (units.count(11032.4), units.count(8.42), units.count(None)) == ("11 032", "8.42", "-")
    assert (units.size(4_510_000), units.size(512)) == ("4.51 MB", "512 B")
    assert (units.difference(0), units.difference(0.0097), units.difference(3e-7)) == (
        "0",
        "0.0097",
        "3.0e-07",
    )
    assert (units.power(1e-4), units.power(2e-4), units.short(12_000)) == ("10⁻⁴", "2·10⁻⁴", "12k")
