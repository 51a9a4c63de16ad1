"""Damaged files of every format, read by processes of little memory that are watched; run by ``test_mutations.py``.

``python tests/campaign.py COUNT SEED [PROCESSES]`` prints a table of outcomes as JSON, ``--part 0/6`` of a sixth of
them; ``--only N`` repeats mutation N and keeps its files in the folder ``mutation-N``.

Mutation N of a seed is always the same. Each is read to a recording that is sound, or to an error of the package: no
other exception, no warning, no code, no file written, 10 seconds and a gigabyte at most.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import mmap
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mutations import mutate

from mamp.errors import LayoutError, MAMPError
from mamp.layouts import get_layout
from mamp.prepare import ctrgcn, pyskl
from mamp.readers import formats, load
from mamp.skeleton import FARTHEST, FASTEST, SLOWEST, Skeleton

SECONDS, KILLED_AFTER, MEMORY = 10, 40, 1 << 30
LARGEST = 64 << 20  # bytes of positions: no file here has more to say
SHARED = Path(__file__).resolve().parents[2] / "shared"
MOST_SHARED = 200_000  # bytes of a real recording, so that hundreds of thousands are read in time
FOLDED = "frame_000000000007_keypoints.json"


@dataclass
class Case:
    """Files, one of which is damaged, and how they are read.

    Attributes:
        name: Kind of file.
        files: Name -> content.
        damaged: Name of the one that is damaged.
        loaded: Name of the one that is loaded, or a folder.
        options: Of ``load``.
        convert: Reads a prepared data set, if it is one.
    """

    name: str
    files: dict[str, bytes]
    damaged: str
    loaded: str
    options: dict[str, Any] = field(default_factory=dict)
    convert: Callable[[Path], Any] | None = None

    def read(self, folder: Path) -> list[Skeleton]:
        """Write nothing; read the recordings of a folder."""
        if self.convert is None:
            options = {key: folder / value if key in ("joints", "markers") else value
                       for key, value in self.options.items()}  # fmt: skip
            return [load(folder / self.loaded, **options)]
        clips = [clip for clip in self.convert(folder / self.loaded).clips if clip is not None]
        return [Skeleton(clip.positions, "ntu25", clip.fps) for clip in clips if np.isfinite(clip.positions).any()]


def made_up() -> list[Case]:
    """A case of each format, from the files that the tests write."""
    from readers_helpers import PLUG_IN_GAIT, c3d_bytes, openpose_frame, person, trc_text, walked
    from test_prepare_converted import annotations
    from test_readers_fuzz import BINARY, FILES, OPTIONS, PAIRS, POINTS, npz
    from test_readers_gltf import gltf

    cases = []
    for kind, (name, _) in FILES.items():
        loaded = PAIRS.get(kind, kind)
        files = dict(FILES[other] for other in [one for one, of in PAIRS.items() if of == loaded] or [kind])
        options = {"joints": "joints.npz"} if kind.startswith("smpl") else OPTIONS.get(kind, {})
        cases.append(Case(kind, files, name, FILES[loaded][0], options))
        if kind in ("bvh", "csv", "ntu", "trc"):
            cases.append(Case(f"{kind} packed", {f"{name}.gz": gzip.compress(files[name])}, f"{name}.gz", f"{name}.gz",
                              options))  # fmt: skip
    assert set(BINARY) < set(FILES)

    def add(kind: str, name: str, data: bytes, loaded: str = "", **more: Any) -> None:
        others = more.pop("others", {})
        cases.append(Case(kind, {name: data, **others}, name, loaded or name, **more))

    points = person("ntu25", 3)
    labels = list(get_layout("ntu25").joints)
    for kind, options in {"c3d sgi": {"processor": 86}, "c3d dec": {"processor": 85}, "c3d poses": {"poses": True},
                          "c3d integers": {"scale": 0.1, "analog": 2, "trial": True}}.items():  # fmt: skip
        add(kind, "clip.c3d", c3d_bytes(labels, points * 1000, **options))
    content, numbers = gltf(kind="i2", cubic=True)
    import base64

    content["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(numbers).decode()
    add("gltf", "clip.gltf", json.dumps(content).encode())
    frames = [
        {"frame": n, "timestamp_ms": 40 * n, "pose_world_landmarks": [[dict(zip("xyz", p, strict=True)) for p in one]]}
        for n, one in enumerate(person("mediapipe33", 3).tolist())
    ]
    add("mediapipe lines", "clip.jsonl", "\n".join(map(json.dumps, frames)).encode())
    add("npz named", "clip.npz", npz(positions=points, joints=np.array(labels), parents=np.arange(-1, 24),
        confidence=np.ones((3, 25)), fps=np.array(25), unit=np.array("m"), up=np.array("y")))  # fmt: skip
    add("npy rows", "clip.npy", npy_bytes(np.tile(points.reshape(3, 75), 2)))
    add("csv two people", "clip.csv", two_people(points, labels))
    add("csv no header", "clip.csv", "\n".join(",".join(map(str, row)) for row in points.reshape(3, 75)).encode())
    frame = json.dumps(openpose_frame(person("body25", 1)[0])).encode()
    others = {f"frames/{FOLDED.replace('7', n)}": frame for n in "689"}
    add("openpose folder", f"frames/{FOLDED}", frame, "frames", others=others)
    add("zip", "clips.zip", zipped("a/clip.bvh", FILES["bvh"][1]), "clips.zip/a/clip.bvh")
    trc = trc_text(list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT), virtual=("V_MID",)).encode()
    add("trc markers", "clip.trc", trc)
    names = json.dumps({"spine_base": ["LASI", "RASI"], "head": "LFHD", "ankle_left": "LANK"}).encode()
    add("markers", "markers.json", names, "clip.trc", others={"clip.trc": trc}, options={"markers": "markers.json"})
    for protocol in (0, 2, 5):
        add(f"pyskl {protocol}", "a.pkl", pickle.dumps(small(annotations()), protocol), convert=pyskl.convert)
    x = np.tile(points.reshape(1, 3, 75), (2, 2, 2)).astype(np.float32)
    add("ctrgcn", "NTU60_XSub.npz", npz(x_train=x, y_train=np.eye(60)[:2], x_test=x, y_test=np.eye(60)[:2]),
        convert=ctrgcn.convert)  # fmt: skip
    assert POINTS.shape == (3, 20, 3)
    return cases


def small(content: dict[str, Any]) -> dict[str, Any]:
    """Annotations of a few frames."""
    short = [{**one, "keypoint": one["keypoint"][:, :2], "total_frames": 2} for one in content["annotations"][:3]]
    return {**content, "annotations": short}


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
        archive.writestr("readme.txt", b"x")
    return buffer.getvalue()


def two_people(points: np.ndarray, labels: list[str]) -> bytes:
    head = ["person", "time", *(f"{joint}_{axis}" for joint in labels for axis in "xyz")]
    head += [f"{joint}_confidence" for joint in labels]
    rows = [[who, t / 30, *points[t].ravel(), *[0.9] * 25] for who in (0, 1) for t in range(3)]
    return "\n".join(",".join(map(str, row)) for row in [head, *rows]).encode()


def real() -> list[Case]:
    """Recordings of the shared data, where it is there."""
    cases = []
    folders = (SHARED / "data" / "raw", SHARED / "cases")
    suffixes = {suffix for one in formats().values() for suffix in one.suffixes}
    for path in sorted(file for folder in folders for file in folder.rglob("*")):
        end = Path(path.name.removesuffix(".gz")).suffix
        if end not in suffixes or path.name == "expected.txt" or path.stat().st_size > MOST_SHARED:
            continue
        files = {path.name: path.read_bytes()}
        if end == ".amc":
            files |= {asf.name: asf.read_bytes() for asf in path.parent.glob("*.asf")}
        if "_angles" in path.name:
            positions = path.with_name(path.name.replace("_angles", "_positions"))
            files |= {positions.name: positions.read_bytes()} if positions.exists() else {}
        cases.append(Case(f"real {end}", files, path.name, path.name))
    return cases


def resident(virtual: bool = False) -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0 if virtual else 1]) * resource.getpagesize()


class Watch:
    """What happens in this process while a file is read: code, warnings, messages that cannot be written."""

    def __init__(self) -> None:
        self.armed, self.seen = False, []  # type: bool, list[str]
        sys.addaudithook(self.hook)
        handler = logging.Handler()
        handler.emit = lambda record: record.getMessage() and None  # type: ignore[method-assign, assignment]
        logging.getLogger("mamp").addHandler(handler)
        logging.getLogger("mamp").propagate = False
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: self.seen.append(f"warning: {message!r}"[:300])

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        ran = event == "exec" and not (args[0].co_name == "<module>" and Path(args[0].co_filename).is_file())
        wrote = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wxa+")
        called = event.startswith(("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename",
                                   "subprocess", "socket", "ctypes", "shutil", "pty", "webbrowser"))  # fmt: skip
        if ran or wrote or called:
            self.seen.append(f"{event} {args!r}"[:300])


def check_error(error: MAMPError) -> None:
    text = str(error)
    assert 20 < len(text) <= 2000, f"a message of {len(text)} characters"
    assert all(one.isprintable() or one == "\n" for one in text), f"a message that is not plain: {text[:200]!r}"
    text.encode()


def check(skeleton: Skeleton) -> None:
    positions = skeleton.positions
    assert positions.dtype == np.float32 and positions.ndim == 4 and positions.shape[-1] == 3 and positions.size
    assert positions.nbytes <= LARGEST, f"{positions.shape} positions"
    assert not np.isinf(positions).any() and skeleton.tracked.any() and np.nanmax(abs(positions)) <= FARTHEST
    assert skeleton.fps is None or SLOWEST <= skeleton.fps <= FASTEST
    assert skeleton.confidence is None or skeleton.confidence.shape == positions.shape[:3]
    assert skeleton.num_people and len(repr(skeleton)) < 1000 + len(skeleton.name)
    try:
        skeleton.to_layout("ntu25")
    except LayoutError as error:
        check_error(error)


def outcome(case: Case, folder: Path, watch: Watch) -> tuple[str, str]:
    """``recording``, the name of an error, or ``fault`` and what it was."""
    watch.seen.clear()
    watch.armed = True
    try:
        for skeleton in case.read(folder):
            check(skeleton)
        found = "recording"
    except MAMPError as error:
        found = type(error).__name__
        try:
            check_error(error)
        except Exception as fault:
            return "fault", f"{fault!r} for {found}"
    except BaseException as error:
        trace = traceback.extract_tb(error.__traceback__)
        inside = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in trace[-4:]]
        return "fault", f"{type(error).__name__}: {str(error)[:200]} at {' < '.join(reversed(inside))}"
    finally:
        watch.armed = False
    return ("fault", "; ".join(watch.seen)) if watch.seen else (found, "")


OUTCOMES = ("not run", "recording", "fault", "killed", "MAMPError", "RecordingError", "ReadError", "MissingFileError",
            "LayoutError", "ConfigError", "DataError", "MissingExtraError")  # fmt: skip


class Campaign:
    """Mutations of all cases by several processes, each replaced when it dies."""

    def __init__(self, count: int, seed: str, processes: int, part: tuple[int, int] = (0, 1)) -> None:
        self.count, self.seed, self.processes = count, seed, processes
        self.part, parts = part
        self.step = processes * parts
        self.cases = made_up()
        known = real()
        self.weights = [3.0] * len(self.cases) + [30 / len(known)] * len(known)
        self.cases += known
        self.others = [case.files[case.damaged] for case in self.cases]
        self.cumulative = np.cumsum(self.weights).tolist()
        self.outcomes = np.frombuffer(mmap.mmap(-1, count), np.uint8)
        self.seconds = np.frombuffer(mmap.mmap(-1, 4 * count), np.float32)
        self.at = np.frombuffer(mmap.mmap(-1, 8 * processes), np.int64)
        self.peak = np.frombuffer(mmap.mmap(-1, 8 * processes), np.int64)

    def pick(self, index: int) -> tuple[Case, random.Random]:
        rng = random.Random(f"{self.seed} {index}")
        return rng.choices(self.cases, cum_weights=self.cumulative)[0], rng

    def write(self, index: int, folder: Path) -> Case:
        """The files of one mutation."""
        case, rng = self.pick(index)
        for name, data in case.files.items():
            if name == case.damaged:
                suffix = Path(name).suffix
                data = mutate(data, suffix, self.others, rng)
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return case

    def warm(self, folder: Path) -> None:
        """Read every file whole, which must succeed, so that all is imported before the processes start."""
        for number, case in enumerate(self.cases):
            place = folder / f"whole-{number}"
            place.mkdir()
            for name, data in case.files.items():
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_bytes(data)
            try:
                for skeleton in case.read(place):
                    check(skeleton)
            except MAMPError:
                assert case.name.startswith("real"), f"{case.name} cannot be read whole"

    def work(self, worker: int, first: int, folder: Path, faults: int) -> None:
        """A process: read mutation after mutation; never returns."""
        watch = Watch()
        used = resident(virtual=True)
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        place = folder / f"worker-{worker}"
        for index in range(first, self.count, self.step):
            self.at[worker] = index
            for path in place.rglob("*"):
                if path.is_file():
                    path.unlink()
            place.mkdir(exist_ok=True)
            case = self.write(index, place)
            before = time.process_time()
            resource.setrlimit(resource.RLIMIT_CPU, (int(before) + KILLED_AFTER, resource.RLIM_INFINITY))
            found, what = outcome(case, place, watch)
            took = time.process_time() - before
            if took > SECONDS / 2:  # a machine short of memory may take as long for anything
                again = time.process_time()
                outcome(case, place, watch)
                took = min(took, time.process_time() - again)
            if took > SECONDS:
                found, what = "fault", f"took {took:.1f} seconds"
            if found == "fault":
                os.write(faults, (json.dumps({"index": index, "case": case.name, "what": what}) + "\n").encode())
            self.outcomes[index], self.seconds[index] = OUTCOMES.index(found), took
            self.peak[worker] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os._exit(0)

    def start(self, worker: int, first: int, folder: Path, faults: int) -> int:
        child = os.fork()
        if child:
            return child
        try:
            self.work(worker, first, folder, faults)
        except BaseException:
            traceback.print_exc()
        os._exit(3)

    def run(self, folder: Path) -> dict[str, Any]:
        """All mutations; the table of their outcomes."""
        logging.getLogger("mamp").setLevel(logging.ERROR)
        self.warm(folder)
        logging.getLogger("mamp").setLevel(logging.WARNING)
        floor = resident()
        log = folder / "faults.jsonl"
        faults = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        began = time.monotonic()
        firsts = [self.part + number * self.step // self.processes for number in range(self.processes)]
        workers = {self.start(number, first, folder, faults): number for number, first in enumerate(firsts)}
        while workers:
            child, status = os.wait()
            worker = workers.pop(child)
            if status == 0:
                continue
            index = int(self.at[worker])
            name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
            self.outcomes[index] = OUTCOMES.index("killed")
            line = {"index": index, "case": self.pick(index)[0].name, "what": f"the process died of {name}"}
            os.write(faults, (json.dumps(line) + "\n").encode())
            workers[self.start(worker, index + self.step, folder, faults)] = worker
        found = [json.loads(line) for line in log.read_text().splitlines()]
        return {
            "mutations": int(np.count_nonzero(self.outcomes)), "seed": self.seed,
            "minutes": (time.monotonic() - began) / 60,
            "outcomes": {OUTCOMES[key]: n for key, n in sorted(Counter(self.outcomes.tolist()).items()) if key},
            "cases": self.table(), "slowest": self.slowest(), "floor_mb": floor >> 20,
            "most_mb": int(self.peak.max()) / 1024, "faults": found,
        }  # fmt: skip

    def table(self) -> dict[str, dict[str, int]]:
        """Outcomes by kind of file."""
        rows: dict[str, Counter[str]] = {}
        for index in np.flatnonzero(self.outcomes).tolist():
            code = int(self.outcomes[index])
            rows.setdefault(self.pick(index)[0].name, Counter())[OUTCOMES[code]] += 1
        return {name: dict(sorted(row.items())) for name, row in sorted(rows.items())}

    def slowest(self) -> list[tuple[float, int, str]]:
        order = np.argsort(self.seconds)[::-1][:5].tolist()
        return [(float(self.seconds[index]), index, self.pick(index)[0].name) for index in order]


def kinds(faults: list[dict[str, Any]]) -> Iterator[str]:
    """Each kind of fault once, with how often and where it first was."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for fault in faults:
        groups.setdefault(f"{fault['what'][:60]} {fault['what'].partition(' at ')[2]}", []).append(fault)
    for group in groups.values():
        yield f"{len(group)} times: {group[0]['case']} (mutation {group[0]['index']}): {group[0]['what']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("seed")
    parser.add_argument("processes", type=int, nargs="?", default=1)
    parser.add_argument("--only", type=int)
    parser.add_argument("--part", default="0/1", help="of the mutations, such as 2/6: every sixth from the third on")
    args = parser.parse_args()
    part, _, parts = args.part.partition("/")
    campaign = Campaign(args.count, args.seed, args.processes, (int(part), int(parts)))
    if args.only is not None:
        folder = Path(f"mutation-{args.only}")
        folder.mkdir(exist_ok=True)
        case = campaign.write(args.only, folder)
        print(case.name, outcome(case, folder, Watch()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = campaign.run(Path(folder))
    for kind in kinds(result["faults"]):
        print(kind, file=sys.stderr)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
