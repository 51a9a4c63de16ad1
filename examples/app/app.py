"""A demonstration to host: look at a recording, find its like in an index, and name it after three examples.

    pip install 'mamp[app]'
    python examples/app/app.py

The samples are synthetic: they are made, and indexed, when the app starts for the first time. ``MAMP_APP_DATA`` names
the folder that keeps them (by default in the temporary folder of the system), ``MAMP_APP_INDEX`` an index of your own.
"""

from __future__ import annotations

import argparse
import html
import logging
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

import gradio as gr

from mamp import MAMPEncoder, MAMPError, Skeleton, load
from mamp.label import FewShotClassifier
from mamp.search import Hit, Index
from mamp.sources import known_source
from mamp.synthetic import ACTIONS, write_recordings
from mamp.view import film, page

LONGEST = 60.0  # seconds of an upload that are looked at
UPLOAD = "the recording above"
EMPTY = "<p class='empty'>Drop a recording, or pick a sample: it plays here.</p>"
EXAMPLES = ("walk-1.bvh", "wave-1.bvh", "squat-1.bvh")
STYLE = """
.player iframe{width:100%;height:min(78vh,720px);border:1px solid var(--border-color-primary);border-radius:8px}
.player .empty{display:grid;place-items:center;height:min(40vh,360px);border:1px dashed var(--border-color-primary);
border-radius:8px;color:var(--body-text-color-subdued)}
footer{display:none!important}
"""


@dataclass
class Archive:
    """The samples and the index, and the one encoder that embeds.

    Attributes:
        samples: Name to path.
        index: What is searched.
        encoder: Embeds.
    """

    samples: dict[str, Path]
    index: Index
    encoder: MAMPEncoder

    @classmethod
    def open(cls, folder: Path, own: str | None = None, variations: int = 5) -> Archive:
        """Open what is in a folder; make it if it is not there. ``own`` is an index in place of that of the samples."""
        recordings = folder / "recordings"
        paths = write_recordings(recordings, variations)  # equal every time, in a second
        if own is not None:
            index = Index.open(own)
        else:
            there = (folder / "index" / "index.json").exists()
            index = Index.open(folder / "index") if there else Index.create(folder / "index", window=2.0, stride=1.0)
            index.add(recordings, unit="cm")  # what is there already is skipped
        return cls({path.name: path for path in paths}, index, MAMPEncoder.from_pretrained())


class Demo:
    """What the buttons do.

    Args:
        archive: Samples, index, encoder.
        work: Folder for films.
    """

    def __init__(self, archive: Archive, work: Path) -> None:
        self.archive, self.work = archive, work
        self._turn = threading.Lock()  # torch uses all cores for one visitor already

    def read(self, path: str | Path | None) -> Skeleton:
        """Read a sample or an upload, and its first minute."""
        if path is None:
            raise gr.Error("Drop a recording, or pick a sample.", duration=8)
        mine = Path(path).name in self.archive.samples and Path(path) == self.archive.samples[Path(path).name]
        try:
            recording = load(path, unit="cm") if mine else load(path)
        except (MAMPError, OSError) as error:
            raise gr.Error(html.escape(str(error)), duration=None, title="This file cannot be read") from None
        frames = round(LONGEST * (recording.fps or 30.0))
        if recording.num_frames > frames:
            gr.Info(f"Only the first {LONGEST:g} seconds are shown.")
            confidence = None if recording.confidence is None else recording.confidence[:, :frames]
            recording = recording.replace(positions=recording.positions[:, :frames], confidence=confidence)
        return recording

    def look(self, path: str | None) -> tuple[str, list[list[Any]], str, str]:
        """The page that plays a recording, its nearest neighbours, a film of both, and what it is."""
        recording = self.read(path)
        with self._turn:
            try:
                found = self.archive.index.search(recording, k=6)
                hits = [hit for hit in found if Path(hit.path) != Path(path or "")][:5]
                text = page(recording, weights=self.archive.encoder, hits=hits, reading={"unit": "cm"})
                drawn = self._film(recording, hits)
            except MAMPError as error:
                raise gr.Error(html.escape(str(error)), duration=None, title="This recording cannot be used") from None
        frame = f'<iframe title="{html.escape(recording.name)}" srcdoc="{html.escape(text)}"></iframe>'
        rows = [[hit.file, f"{hit.start:.1f} - {hit.end:.1f}", f"{hit.score:.2f}"] for hit in hits]
        return frame, rows, drawn, _describe(recording)

    def _film(self, recording: Skeleton, hits: list[Hit]) -> str:
        """A film of the beginning of a recording, and of the nearest."""
        shown = [recording]
        for hit in hits[:3]:
            try:
                shown.append(known_source(hit.folder, hit.file, {"unit": "cm"}, {}).load())
            except MAMPError as error:
                logging.getLogger("mamp").info("%s", error)
        short = [
            one.replace(positions=one.positions[:, : round(4 * (one.fps or 30.0))], confidence=None) for one in shown
        ]
        path = Path(tempfile.mkdtemp(dir=self.work)) / "nearest.gif"
        return str(film(short, path, columns=min(len(short), 4), rate=12))

    def label(self, path: str | None, *examples: str | None) -> tuple[dict[str, float] | None, list[list[Any]], str]:
        """Learn from pairs of a sample and a name; name the recording above and all samples."""
        pairs = [(file, (name or "").strip()) for file, name in zip(examples[::2], examples[1::2], strict=True) if file]
        pairs = [(file, name) for file, name in pairs if name]
        if not pairs:
            raise gr.Error("Choose at least one example, and say what it shows.", duration=8)
        recordings = [self.read(path if file == UPLOAD else self.archive.samples[str(file)]) for file, _ in pairs]
        others = {name: self.read(file) for name, file in self.archive.samples.items()}
        with self._turn:
            try:
                learnt = FewShotClassifier(self.archive.encoder).fit(recordings, [name for _, name in pairs])
                labels = learnt.label(list(others.values()))
                mine = learnt.label(self.read(path))[0] if path else None
            except MAMPError as error:
                raise gr.Error(html.escape(str(error)), duration=None, title="Nothing could be learnt") from None
        rows = [[one.file, one.label, f"{one.confidence:.0%}"] for one in labels]
        counts = f"Learnt from {len(pairs)} examples of {', '.join(learnt.classes_)}."
        if mine is None:
            return None, rows, counts
        shares = {name: mine.confidence if mine.label == name else 0.0 for name in (*learnt.classes_, "unknown")}
        return shares, rows, f"{counts} The recording above: **{_plain(mine.label)}**, {mine.confidence:.0%}."


def _describe(recording: Skeleton) -> str:
    rate = "unknown rate" if recording.fps is None else f"{recording.fps:g} frames/s, {recording.duration:.1f} s"
    people = "1 person" if recording.num_people == 1 else f"{recording.num_people} people"
    joints = f"{len(recording.layout.joints)} joints ({recording.layout.name})"
    unit = recording.info.get("unit")
    said = "" if unit is None else f", unit {unit}"
    return f"**{_plain(recording.name)}**: {people}, {recording.num_frames} frames, {rate}, {joints}{said}"


def _plain(text: str) -> str:
    """Text without what Markdown and HTML make of it."""
    return html.escape(text).replace("*", r"\*").replace("_", r"\_").replace("`", r"\`").replace("[", r"\[")


def build(demo: Demo) -> gr.Blocks:
    """The interface."""
    samples = demo.archive.samples
    with gr.Blocks(title="mamp", analytics_enabled=False) as blocks:
        gr.Markdown(
            "# mamp: find and name movement\nDrop a skeleton recording (BVH, NTU, AMC, C3D, CSV, JSON, ...), or pick a "
            "sample. Uploads stay on the machine that runs this app."
        )
        current = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                upload = gr.File(label="Your recording", type="filepath", elem_id="upload", height=160)
                sample = gr.Dataset(
                    components=[gr.Textbox(visible=False)],
                    samples=[[f"{action}-0.bvh"] for action in ACTIONS],
                    type="values",
                    label="Samples",
                    elem_id="samples",
                )
                about = gr.Markdown(elem_id="about")
            with gr.Column(scale=4, min_width=320):  # never hidden: a page without a size has nothing to draw on
                player = gr.HTML(EMPTY, elem_classes="player", elem_id="player")
        with gr.Tab("Nearest"):
            gr.Markdown(
                "The recording, and the three recordings of the index that are nearest to it by their embeddings."
            )
            drawn = gr.Image(
                show_label=False, format="gif", interactive=False, elem_id="film", buttons=["download"], height=340
            )
            nearest = gr.Dataframe(
                headers=["recording", "seconds", "cosine"], interactive=False, elem_id="nearest", wrap=True
            )
        with gr.Tab("Label"):
            gr.Markdown("Three examples are enough. What is like none of them is called *unknown*.")
            examples: list[Any] = []
            for number, name in enumerate(EXAMPLES, 1):
                with gr.Row():
                    choices = [UPLOAD, *samples]
                    examples.append(gr.Dropdown(choices, value=name, label=f"Example {number}", scale=2, min_width=150))
                    examples.append(gr.Textbox(name.split("-")[0], label="shows", scale=1, min_width=100))
            learn = gr.Button("Learn, and name all recordings", variant="primary", elem_id="learn")
            said = gr.Markdown(elem_id="said")
            mine = gr.Label(label="The recording above", num_top_classes=4, elem_id="mine")
            labels = gr.Dataframe(
                headers=["recording", "label", "confidence"], interactive=False, elem_id="labels", max_height=400
            )
        shown = [player, nearest, drawn, about]
        upload.upload(lambda path: path, upload, current, queue=False).then(demo.look, current, shown)
        sample.click(lambda row: str(samples[row[0]]), sample, current, queue=False).then(demo.look, current, shown)
        learn.click(demo.label, [current, *examples], [mine, labels, said])
    return blocks


def main() -> None:
    """Make what is needed, and serve it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), help="[%(default)s]")
    parser.add_argument("--port", type=int, help="[the first that is free from 7860]")
    parser.add_argument("--data", default=os.environ.get("MAMP_APP_DATA"), help="folder for samples and index")
    args = parser.parse_args()
    folder = Path(args.data or Path(tempfile.gettempdir()) / "mamp-app")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mamp-films-") as work:
        demo = Demo(Archive.open(folder, os.environ.get("MAMP_APP_INDEX")), Path(work))
        fonts = ["system-ui", "sans-serif"]  # of the visitor's machine: none is fetched
        theme = gr.themes.Soft(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"])
        build(demo).queue(default_concurrency_limit=2).launch(
            server_name=args.host, server_port=args.port, allowed_paths=[work], theme=theme, css=STYLE,
            footer_links=[], max_file_size="50mb", ssr_mode=False,
        )  # fmt: skip


if __name__ == "__main__":
    main()
