"""Writes ``report.html``: all of a sweep in one file that needs no network, JSON beside it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.colors import hex_to_rgb, qualitative
from plotly.offline import get_plotlyjs

from benchmarks.html_content import environments, provenance
from benchmarks.records import Record
from benchmarks.tables import Table
from recsim_envs.files import write_whole
from recsim_envs.render import LOOK

TEMPLATE = "html_template.html"
DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")
COLORS = qualitative.D3
GRAY = "#8a8a8a"
"""Of what learns from no user; to be seen on white and on black."""


def write_report(
    file: Path,
    records: Sequence[Record],
    tables: Sequence[Table],
    title: str,
    command: str,
    cards: Mapping[str, str] = {},
) -> None:
    """Writes the report, and the same numbers as JSON beside it.

    Args:
        file: the report, ``report.html``; the JSON has its name and ends in ``.json``.
        records: of one sweep, of any environments.
        tables: shown below the curves.
        title: of the whole.
        command: makes the records again.
        cards: texts by name, of the judge or of an environment.
    """
    content = _plain(
        {
            "title": title,
            "provenance": provenance(records, command),
            "environments": environments(records),
            "tables": [asdict(table) for table in tables],
            "cards": dict(cards),
        }
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False)
    write_whole(file.with_suffix(".json"), (text + "\n").encode())
    write_whole(file, render(content).encode())


def render(content: Record) -> str:
    """The page of a report's content."""
    figures = {
        plot["id"]: figure(plot).to_html(
            # Plotly's bar would lie over the legend, and one of its buttons sends data away.
            config={"displayModeBar": False, "showTips": False, "responsive": True},
            include_plotlyjs=False,
            full_html=False,
            div_id=plot["id"],
        )
        for environment in content["environments"]
        for plot in environment["plots"]
    }
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template(TEMPLATE)
    return page.render(content, figures=figures, plotlyjs=get_plotlyjs(), look=LOOK.read_text())


def figure(plot: Record) -> go.Figure:
    """Draws curves with their bands, and dashed lines; each goes at a click on its name."""
    drawn = go.Figure()
    for number, curve in enumerate(plot["curves"]):
        color = COLORS[number % len(COLORS)]
        many, few = number >= len(COLORS), len(curve["steps"]) <= 30
        drawn.add_scatter(
            x=curve["steps"],
            y=curve["mean"],
            name=html.escape(curve["label"]),
            legendgroup=str(number),
            mode="lines+markers" if few else "lines",
            line={"color": color, "dash": "dot" if many else "solid"},
        )
        known = [i for i, low in enumerate(curve["low"]) if low is not None]
        if known:
            there, back = ([curve[end][i] for i in known] for end in ("high", "low"))
            steps = [curve["steps"][i] for i in known]
            red, green, blue = hex_to_rgb(color)
            drawn.add_scatter(
                x=steps + steps[::-1],
                y=there + back[::-1],
                meta="band",
                legendgroup=str(number),
                showlegend=False,
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=f"rgba({red}, {green}, {blue}, 0.18)",
                hoverinfo="skip",
            )
    ends = [step for curve in plot["curves"] for step in curve["steps"]]
    for number, line in enumerate(plot["lines"]):
        drawn.add_scatter(
            x=[0, max(ends, default=1)],
            y=[line["mean"]] * 2,
            name=html.escape(line["label"]),
            mode="lines",
            line={"color": GRAY, "width": 1.5, "dash": DASHES[number % len(DASHES)]},
            visible=True if line["shown"] else "legendonly",
        )
    drawn.update_layout(
        template=go.layout.Template(),
        font={"family": "system-ui, sans-serif"},
        xaxis={"title": {"text": plot["x"]}, "rangemode": "tozero"},
        yaxis={"title": {"text": plot["y"]}},
        showlegend=True,
        hovermode="closest",
        margin={"l": 60, "r": 10, "t": 30, "b": 50},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
    )
    return drawn


def _plain(value: Any) -> Any:
    """As JSON has it, which knows neither NaN nor infinity: null."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
