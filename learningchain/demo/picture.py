"""The loss race as an SVG: one line for each racer, loss on a logarithmic scale, the expiry as a dashed line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 860
HEIGHT: Final = 420
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 50, 56
COLOURS: Final = ("#1b6ca8", "#d1495b", "#3c896d", "#8d6a9f", "#c98b22")
NANO: Final = 10**9
MAX_TIME_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Point:
    """An announcement: seconds since the job began, loss in 1e-9."""

    seconds: float
    loss: int


def draw_race(title: str, racers: Mapping[str, Sequence[Point]], end_seconds: float, winner: str, prize: str) -> str:
    """Return the picture of one job. Losses must be positive. Raises ValueError without any announcement."""
    losses = [point.loss / NANO for points in racers.values() for point in points]
    if not losses or min(losses) <= 0:
        raise ValueError("a race has announcements with positive losses")
    scale = _Scale(end_seconds, min(losses) / 1.15, max(losses) * 1.15)
    parts = [_text(LEFT, 26, title, size=17, weight="bold"), *_draw_axes(scale)]
    labels = _place_labels({name: scale.y(points[-1].loss / NANO) for name, points in racers.items() if points})
    for colour, (name, points) in zip(COLOURS * len(racers), racers.items(), strict=False):
        if points:
            parts += _draw_racer(scale, name, points, colour, labels[name], prize if name == winner else "")
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title, {chr(34): "&quot;"})}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    seconds: float
    low: float
    high: float

    def x(self, seconds: float) -> float:
        share = min(max(seconds / self.seconds, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, loss: float) -> float:
        share = math.log(loss / self.low) / math.log(self.high / self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _draw_axes(scale: _Scale) -> list[str]:
    parts = []
    for loss in _get_ticks(scale.low, scale.high):
        y = scale.y(loss)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#e3e3e3"))
        parts.append(_text(LEFT - 8, y + 4, f"{loss:g}", anchor="end"))
    parts += [
        _text(scale.x(seconds), HEIGHT - BOTTOM + 20, f"{seconds} s", anchor="middle")
        for seconds in _get_time_ticks(scale.seconds)
    ]
    parts.append(_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#666"))
    parts.append(_line(WIDTH - RIGHT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM, "#666", dash="5 4"))
    parts.append(_text(WIDTH - RIGHT, TOP - 6, "expiry", anchor="middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "time since the job was published", anchor="middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<g transform="translate(18 {middle:.1f}) rotate(-90)">{_text(0, 0, "announced loss", anchor="middle")}</g>'
    )
    return parts


def _get_ticks(low: float, high: float) -> list[float]:
    """Return round numbers 1, 2, 5 × 10^n between the bounds."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def _get_time_ticks(seconds: float) -> range:
    """Return whole seconds in even steps of 1, 2 or 5 × 10^n, at most MAX_TIME_TICKS steps from 0 to the end."""
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    step = next(step for step in steps if seconds / step <= MAX_TIME_TICKS)
    return range(0, math.floor(seconds) + 1, step)


def _draw_racer(
    scale: _Scale, name: str, points: Sequence[Point], colour: str, label_y: float, prize: str
) -> list[str]:
    """A staircase: an announced loss stands until the next one."""
    path = [f"M{scale.x(points[0].seconds):.1f} {scale.y(points[0].loss / NANO):.1f}"]
    path += [f"H{scale.x(point.seconds):.1f}V{scale.y(point.loss / NANO):.1f}" for point in points[1:]]
    path.append(f"H{WIDTH - RIGHT}")
    parts = [f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2.5"/>']
    for point in points:
        x, y = scale.x(point.seconds), scale.y(point.loss / NANO)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    text = f"{name} {points[-1].loss / NANO:.4f}"
    parts.append(_text(WIDTH - RIGHT + 10, label_y, text, fill=colour, weight="bold" if prize else "normal"))
    if prize:
        parts.append(_text(WIDTH - RIGHT + 10, label_y + 15, prize, fill=colour))
    return parts


def _place_labels(wanted: Mapping[str, float]) -> dict[str, float]:
    """Return heights of labels, moved down where two would overlap."""
    placed: dict[str, float] = {}
    lowest = 0.0
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        placed[name] = max(y + 4, lowest)
        lowest = placed[name] + 34
    return placed


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashes}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal", fill: str = "#333"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{fill}">{escape(text)}</text>'
    )
