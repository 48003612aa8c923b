"""Plots as SVG text, for pages: readable on light and on dark grounds, told apart by dash and mark and not by colour alone.

The only room of matplotlib. A figure's words stay text; the same numbers give the same bytes.
"""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

GREY = "#7b7b7b"  # as far from white as from a dark page
# Of Okabe and Ito's colours for the colour-blind those that stand out (3:1) from white and from dark alike, and the grey.
STYLES = (
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "^"),
    ("#b8629a", ":", "D"),
    (GREY, "-", "v"),
)
WIDTH, HEIGHT = 5.0, 3.4  # inches: small, so that its words can still be read on a phone
MARKED = 30  # up to how many points of a line are marked
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # they would change by the day and point outside

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def lines(series: Series, title: str, x_label: str, y_label: str, x_ticks: Sequence[int] = ()) -> str:
    """Return lines, name -> (x, y), from y = 0 upwards. With `x_ticks` the x axis is logarithmic and marked there."""
    figure, axes = _frame(title, HEIGHT)
    for (name, (x, y)), (colour, dash, mark) in zip(series.items(), _styles(len(series)), strict=True):
        marker = mark if len(x) <= MARKED else None
        axes.plot(x, y, color=colour, linestyle=dash, marker=marker, markersize=4, linewidth=1.8, label=name)
    axes.set_ylim(0, 1.05 * max((max(y) for _, y in series.values()), default=0) or 1)
    axes.set_xlabel(x_label, color=GREY)
    axes.set_ylabel(y_label, color=GREY)
    if x_ticks:
        axes.set_xscale("log")
        axes.set_xticks(x_ticks, [str(tick) for tick in x_ticks])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if len(series) > 1:
        columns = math.ceil(len(series) / math.ceil(len(series) / 3))  # two by two rather than three and one
        figure.legend(loc="outside upper center", ncols=columns, frameon=False, labelcolor=GREY, handlelength=2.6)
    return _svg(figure, title)


def bars(rows: Mapping[str, tuple[float, float]], title: str, x_label: str) -> str:
    """Return horizontal bars, name -> (mean, standard deviation), the first on top, each with its numbers written beside it."""
    figure, axes = _frame(title, 0.9 + 0.34 * len(rows))
    means, spreads = [mean for mean, _ in rows.values()], [spread for _, spread in rows.values()]
    places = range(len(rows))
    (fill, _, _), (edge, _, _) = STYLES[:2]
    errors = [spread or math.nan for spread in spreads]  # none is drawn where there is none
    axes.barh(
        places, means, 0.62, xerr=errors, color=fill, alpha=0.45, error_kw={"ecolor": edge, "capsize": 3, "elinewidth": 1.8}
    )
    for place, mean, spread in zip(places, means, spreads, strict=True):
        words = f"{mean:.1f} ± {spread:.1f}" if spread else f"{mean:.1f}"
        end = max(0.0, mean) + spread
        axes.annotate(words, (end, place), (4, 0), textcoords="offset points", va="center", color=GREY, fontsize=9)
    axes.set_yticks(places, list(rows))
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(x_label, color=GREY)
    return _svg(figure, title)


def _styles(count: int) -> list[tuple[str, str, str]]:
    return [STYLES[i % len(STYLES)] for i in range(count)]


def _frame(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.set_title(title, color=GREY, fontsize=11)
    axes.patch.set_alpha(0)
    axes.tick_params(colors=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    file = io.StringIO()
    # The ids of several figures in one page must differ: they are hashed with the title.
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    head, _, body = file.getvalue().partition("<svg ")[2].partition(">")
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # "axes_1" and the like would stand in a page more than once
    return f'<svg role="img" {head}><title>{html.escape(title)}</title>{body}'
