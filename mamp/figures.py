"""Figures: the colours that every picture and page of the package shares, empty figures, and saving them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamp.errors import ConfigError, MAMPError, MissingExtraError
from mamp.outputs import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Theme:
    """Colours on one background.

    Attributes:
        paper: Background.
        panel: Background of what lies on it.
        ink: Text.
        faint: Text that explains, and axes.
        line: Lines of a floor or grid.
        accent: What is chosen, and the first of several curves.
        left: Left side of a body.
        right: Right side of a body.
        middle: Trunk and head.
        hidden: Joints that are masked, and the second of several curves.
    """

    paper: str
    panel: str
    ink: str
    faint: str
    line: str
    accent: str
    left: str
    right: str
    middle: str
    hidden: str


LIGHT = Theme(
    paper="#ffffff", panel="#f1f2f6", ink="#1b1d25", faint="#5a6070", line="#d9dbe3", accent="#2456c7",
    left="#1b6fc2", right="#d1382c", middle="#454b54", hidden="#d9730d",
)  # fmt: skip
DARK = Theme(
    paper="#12141b", panel="#191c25", ink="#e9ebf2", faint="#a2a8b9", line="#333848", accent="#8cabff",
    left="#6cb0ff", right="#ff8573", middle="#c6ccd5", hidden="#ff9f45",
)  # fmt: skip
THEMES: Mapping[str, Theme] = {"light": LIGHT, "dark": DARK}

# How a joint of the model is derived from those of a layout (``Layout.describe``).
DERIVED = {"taken": "#1a7f37", "between": "#0b61c4", "extrapolated": "#c4570b", "absent": "#b0b0b0"}
# Groups, people and curves: legible on both backgrounds, neighbours told apart by colour-blind people too.
GROUPS = (
    "#2f7fd6", "#e0752d", "#2b9d74", "#c94f8f", "#8a63d2", "#a9822b", "#3aa6b9", "#d2504b", "#6f8f2f", "#7a7f87",
)  # fmt: skip


def find_theme(name: str) -> Theme:
    """The colours called ``light`` or ``dark``.

    Raises:
        ConfigError: They are called otherwise.
    """
    if name not in THEMES:
        raise ConfigError(f"theme: expected {' or '.join(THEMES)}, found {name!r}.")
    return THEMES[name]


def group_colours(count: int) -> list[str]:
    """Colours of so many groups; they repeat after ten."""
    return list(islice(cycle(GROUPS), count))


def css_variables() -> str:
    """The colours as variables of CSS, such as ``--left``, for pages that follow the reader's light or dark."""
    light, dark = ("".join(f"--{name}:{colour};" for name, colour in asdict(theme).items()) for theme in (LIGHT, DARK))
    chosen = f":root[data-theme=light]{{color-scheme:light;{light}}}:root[data-theme=dark]{{color-scheme:dark;{dark}}}"
    return f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{chosen}"


def new_figure(theme: Theme = LIGHT, **options: Any) -> Any:
    """An empty matplotlib figure that needs no display.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("pictures need matplotlib: pip install 'mamp[film]'.") from None
    figure = Figure(facecolor=theme.paper, **options)
    FigureCanvasAgg(figure)
    return figure


def style_chart(axes: Axes, theme: Theme = LIGHT, grid: str = "both") -> None:
    """Give the axes of a chart the colours of a theme, and a grid along ``x``, ``y`` or ``both``."""
    axes.set_facecolor(theme.paper)
    axes.set_prop_cycle(color=[theme.accent, *GROUPS[1:]])
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.line)
    axes.tick_params(colors=theme.faint, labelsize=8)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=theme.line, linewidth=0.7)  # type: ignore[arg-type]
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(theme.ink)


def save_figure(figure: Any, path: Path, error: type[MAMPError], dpi: int = 110) -> Path:
    """Write a figure as PNG, PDF or SVG, by its suffix; equal figures give equal files.

    Raises:
        MAMPError: It cannot be written; the error is an ``error``.
    """
    from matplotlib import rc_context

    kind = path.suffix[1:].lower() or "png"
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    try:
        with written_whole(path) as file, rc_context({"svg.hashsalt": "mamp", "svg.fonttype": "none"}):
            figure.savefig(file, dpi=dpi, format=kind, metadata=dated.get(kind))
    except (OSError, ValueError, MAMPError) as reason:
        raise error(f"{path}: cannot write the picture ({reason}).") from None
    return path
