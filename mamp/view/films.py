"""``film``: recordings as a picture of their poses, or as a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, DataError, MAMPError, MissingExtraError, RecordingError
from mamp.figures import Theme, find_theme, new_figure, save_figure
from mamp.outputs import written_whole
from mamp.readers import load
from mamp.skeleton import Skeleton
from mamp.view.scene import Scene
from mamp.view.stage import Stage, Timing

PICTURES, FILMS = (".png", ".svg", ".pdf"), (".gif", ".mp4")
LONGEST = 120.0  # seconds of a GIF: all its frames are in memory
LEVELS = 5  # of a colour on the background, in a GIF
DPI = 100

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class FilmOptions:
    """How recordings are drawn.

    Attributes:
        view: From where: ``corner`` (from ahead, a little from the left and above), ``front``, ``side`` or ``top``.
        theme: ``light`` or ``dark``.
        poses: Of each recording in a picture, spread over its length.
        width: Pixels of a picture or film.
        columns: Films beside each other in a row; by default as many as make the film about as wide as high.
        rate: Frames per second of a film, at most.
        names: Write the name of each recording, and the time.
        model: Draw the joints of the model in place of those that were read.
    """

    view: str = "corner"
    theme: str = "light"
    poses: int = 8
    width: int | None = None
    columns: int | None = None
    rate: float | None = None
    names: bool = True
    model: bool = False

    def __post_init__(self) -> None:
        find_theme(self.theme)
        limits: dict[str, tuple[Any, float, float]] = {
            "poses": (self.poses, 1, 100),
            "width": (self.width, 50, 8000),
            "columns": (self.columns, 1, 100),
            "rate": (self.rate, 1, 120),
        }
        for name, (value, low, high) in limits.items():
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name}: expected a number from {low:g} to {high:g}, found {value!r}.")


Source = Skeleton | str | PathLike[str]


def film(recordings: Source | Sequence[Source], path: str | PathLike[str], **options: Any) -> Path:
    """Draw recordings: as a picture of their poses, or as a film in which they play side by side.

    What is written depends on the suffix of ``path``: a picture with a row of poses for each recording (``.png``,
    ``.svg``, ``.pdf``), or a film (``.gif``; ``.mp4``, with the extra ``film``). Left limbs are blue, right ones red;
    further people are paler. The view is that of the person's front, from where the first person faces on average, and
    follows people who walk away.

    Args:
        recordings: A recording or the path of one, or several.
        path: The file to write.
        **options: Fields of :class:`FilmOptions`: ``view``, ``theme``, ``poses``, ``width`` (pixels), ``columns``,
            ``rate`` (frames per second), ``names``, ``model``.

    Returns:
        ``path``.

    Raises:
        ConfigError: The suffix or an option makes no sense.
        RecordingError: In a recording nobody is tracked, or it is too long for a GIF.
        MissingExtraError: matplotlib, or imageio-ffmpeg for ``.mp4``, is not installed.
        DataError: The file cannot be written.
    """
    given = [recordings] if isinstance(recordings, Skeleton | str | PathLike) else list(recordings)
    if not given:
        raise RecordingError("expected a recording to draw, found none.")
    draw_film([one if isinstance(one, Skeleton) else load(one) for one in given], Path(path), _options(options))
    return Path(path)


def draw_film(
    recordings: Sequence[Skeleton], path: Path, options: FilmOptions, failed: dict[str, str] | None = None
) -> list[str]:
    """Draw recordings, as :func:`film` does, and return the names of those that are drawn.

    Args:
        recordings: The recordings.
        path: The file to write; without recordings that can be drawn it is not.
        options: How.
        failed: Takes what is wrong with a recording that cannot be drawn, in place of raising it.
    """
    kind = path.suffix.lower()
    if kind not in (*PICTURES, *FILMS):
        raise ConfigError(f"{path}: expected a name that ends in {', '.join((*PICTURES, *FILMS))}, found {kind!r}.")
    scenes = []
    for one in recordings:
        try:
            scenes.append(Scene.of(one, options.view, options.model, level=kind in PICTURES))
        except MAMPError as error:
            if failed is None:
                raise
            failed[one.name] = str(error)
    if scenes and kind in PICTURES:
        _picture(scenes, path, options)
    elif scenes:
        timing = Timing.of(scenes, options.rate or (20.0 if kind == ".gif" else 30.0), exact=kind == ".gif")
        if kind == ".gif" and timing.seconds > LONGEST:
            raise RecordingError(
                f"{path}: expected at most {LONGEST:g} seconds for a GIF, found {timing.seconds:.1f}. Draw a part, or "
                "write .mp4."
            )
        _write_film(scenes, path, options, timing)
    return [scene.recording.name for scene in scenes]


def _options(options: dict[str, Any]) -> FilmOptions:
    try:
        return FilmOptions(**options)
    except TypeError as error:
        known = ", ".join(FilmOptions.__dataclass_fields__)
        raise ConfigError(f"expected options of {known}, found another one ({error}).") from None


def _picture(scenes: Sequence[Scene], path: Path, options: FilmOptions) -> Path:
    """A row of poses for each recording."""
    theme = find_theme(options.theme)
    rows = [scene.strip(options.poses) for scene in scenes]
    step, above = max(row.step for row in rows), 0.34 if options.names else 0.06  # metres, inches
    widest = step * max(len(row.frames) for row in rows)
    width = (options.width or 1000) / DPI
    heights = [width * row.height / widest + above + 0.22 * options.names for row in rows]
    figure = new_figure(theme, figsize=(width, sum(heights)))
    top = 1.0
    for row, height in zip(rows, heights, strict=True):
        share = height / sum(heights)
        body = width * row.height / widest / sum(heights)
        axes = figure.add_axes((0, top - above / sum(heights) - body, step * len(row.frames) / widest, body))
        row.draw(axes, theme, step, times=options.names)
        if options.names:
            label = row.scene.recording.name.replace("$", r"\$")
            figure.text(0.1 / width, top - 0.09 / sum(heights), label, fontsize=10, color=theme.ink, va="top")
        top -= share
    return save_figure(figure, path, DataError, dpi=DPI)


def _write_film(scenes: Sequence[Scene], path: Path, options: FilmOptions, timing: Timing) -> None:
    theme = find_theme(options.theme)
    stage = Stage(scenes, options.width, options.columns, theme, options.names, DPI)
    try:
        if path.suffix.lower() == ".gif":
            _write_gif(stage.frames(timing), path, timing, theme)
        else:
            _write_mp4(stage.frames(timing), path, timing, stage.size)
    except OSError as reason:
        raise DataError(f"{path}: cannot write the film ({reason}).") from None


def _palette(theme: Theme) -> list[int]:
    """Colours of a GIF: those of a theme, and what smooth edges and pale people make of them on its background."""
    paper, *others = (
        np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
        for colour in (theme.paper, theme.ink, theme.faint, theme.line, theme.left, theme.right, theme.middle)
    )
    shades = [paper + (other - paper) * level / LEVELS for other in others for level in range(1, LEVELS + 1)]
    return [int(value) for colour in (paper, *shades) for value in colour.round()]


def _write_gif(frames: Iterator[Frame], path: Path, timing: Timing, theme: Theme) -> None:
    from PIL import Image

    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette(theme))
    first = Image.fromarray(next(frames))

    def reduced(image: Any) -> Any:
        return image.quantize(palette=palette, dither=Image.Dither.NONE)

    others = (reduced(Image.fromarray(frame)) for frame in frames)
    with written_whole(path) as file:
        reduced(first).save(
            file, format="GIF", save_all=True, append_images=others, duration=round(1000 / timing.rate), loop=0,
            disposal=1, optimize=False,
        )  # fmt: skip


def _write_mp4(frames: Iterator[Frame], path: Path, timing: Timing, size: tuple[int, int]) -> None:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError:
        raise MissingExtraError("MP4 needs imageio-ffmpeg: pip install 'mamp[film]', or write .gif.") from None
    with written_whole(path) as file:
        writer = write_frames(
            file.name, size, fps=timing.rate, codec="libx264", quality=7, macro_block_size=2, pix_fmt_out="yuv420p",
            ffmpeg_log_level="error", output_params=["-f", "mp4", "-movflags", "+faststart"],
        )  # fmt: skip
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
