"""The seconds as a chart: an SVG that is readable on light and dark pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tests.bench.marks import BARE

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH, LEFT, RIGHT = 860, 210, 90
BAR, ROW, HEADING, TOP, BOTTOM = 16, 22, 34, 46, 56
LEAST_SECONDS = 0.1
SHOWN = ("burst", "sustained", "regions", "quiet", "storm", "mixed", "long")
TITLE = "Seconds until the system is done; shorter is better, the scale is logarithmic"
BOUND = "least time that EC2 allows"
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 }
.soft { fill: #59636e }
.axis { stroke: #d1d9e0; stroke-width: 1 }
.bound { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 2 }
.ours { fill: #1a7f37 }
.bare { fill: #0969da }
.peer { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .soft { fill: #9198a1 }
  .axis { stroke: #3d444d }
  .bound { stroke: #ff7b72 }
  .ours { fill: #3fb950 }
  .bare { fill: #58a6ff }
  .peer { fill: #656c76 }
}"""


def svg(scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars by scenario and system on a logarithmic scale, the bound as a dashed line."""
    shown = {name: scenarios[name] for name in SHOWN if scenarios.get(name, {}).get("systems")}
    longest = max((s["seconds"] for each in shown.values() for s in each["systems"].values()), default=1)
    scale = _Scale(10 ** math.ceil(math.log10(max(longest, 1) * 1.05)))
    parts, y = [], TOP
    for name, scenario in shown.items():
        part, height = _block(name, scenario, y, scale)
        parts.append(part)
        y += height
    height = y + BOTTOM
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" \
aria-label="Seconds by scenario and system">
<style>{STYLE}</style>
<text class="head" x="12" y="22">{TITLE}</text>
{_axis(scale, y)}
{"".join(parts)}
<line class="bound" x1="12" x2="36" y1="{y + 40}" y2="{y + 40}"/>
<text class="soft" x="42" y="{y + 44}">{BOUND}</text>
</svg>
"""


class _Scale:
    def __init__(self, most: float) -> None:
        self.most = most

    def x(self, seconds: float) -> float:
        share = math.log(max(seconds, LEAST_SECONDS) / LEAST_SECONDS) / math.log(self.most / LEAST_SECONDS)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        decades = round(math.log10(self.most / LEAST_SECONDS))
        return [LEAST_SECONDS * 10**power for power in range(decades + 1)]


def _axis(scale: _Scale, bottom: int) -> str:
    return "\n".join(
        f'<line class="axis" x1="{scale.x(tick)}" x2="{scale.x(tick)}" y1="{TOP - 6}" y2="{bottom}"/>'
        f'<text class="soft" x="{scale.x(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:g} s</text>'
        for tick in scale.ticks()
    )


def _label(measured: Mapping[str, Any]) -> str:
    """The seconds, with what they do not show."""
    left, launch = measured["instances"] - measured["required"], measured["facts"].get("launch_s")
    more = [f"{left} left"] if left else []
    more += [f"the launch {launch:.1f} s"] if launch else []
    return ", ".join([f"{measured['seconds']:.1f} s", *more])


def _kind(system: str) -> str:
    if system == BARE:
        return "bare"
    return "ours" if system.startswith("enforcer") else "peer"


def _block(name: str, scenario: Mapping[str, Any], top: int, scale: _Scale) -> tuple[str, int]:
    """One scenario, and its height."""
    systems, bound_s = scenario["systems"], scenario["bound_s"]
    title = f'<tspan class="soft" font-weight="400" dx="8">{escape(scenario["title"])}</tspan>'
    parts = [f'<text class="head" x="12" y="{top + 16}">{escape(name)}{title}</text>']
    y = top + HEADING - 8
    first = y
    for system, measured in systems.items():
        end = scale.x(measured["seconds"])
        parts.append(
            f'<text class="soft" x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(system)}</text>'
            f'<rect class="{_kind(system)}" x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" rx="2"/>'
            f'<text x="{end + 6}" y="{y + 13}">{_label(measured)}</text>'
        )
        y += ROW
    if bound_s:
        x = scale.x(bound_s)
        parts.append(f'<line class="bound" x1="{x}" x2="{x}" y1="{first - 3}" y2="{y - 3}"/>')
    return "\n".join(parts), y - top + 8
