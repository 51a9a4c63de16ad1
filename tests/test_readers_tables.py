"""Tables a row a joint, data frames, and columns that are not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import person, world

from mamp.errors import LayoutError, ReadError
from mamp.layouts import get_layout
from mamp.readers import from_dataframe, load

NTU25 = get_layout("ntu25").joints
BODY = person("ntu25", 4)


class Frame:
    """What a data frame of any library is: columns by name, each of which becomes an array."""

    def __init__(self, columns: dict[Any, Sequence[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), []))

    def __getitem__(self, name: Any) -> Frame:
        return Frame({name: self._columns[name]})

    def to_numpy(self) -> np.ndarray:
        return np.array(self._columns[self.columns[0]])


def wide() -> dict[str, list[float]]:
    return {f"{joint}_{axis}": BODY[:, v, c].tolist() for v, joint in enumerate(NTU25) for c, axis in enumerate("xyz")}


def long(people: int = 1) -> dict[str, list[Any]]:
    rows = [
        (frame, frame / 50, person, joint, *(BODY[frame, v] + person), 0.5)
        for person in range(people)
        for frame in range(4)
        for v, joint in enumerate(NTU25)
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    names = ("frame", "time", "person", "joint", "x", "y", "z", "confidence")
    return {name: [rows[i][at] for i in order] for at, name in enumerate(names)}


def make(columns: dict[Any, Sequence[Any]], library: str) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns) if library == "pandas" else Frame(columns)


@pytest.mark.parametrize("library", ["any", "pandas"])
def test_wide_data_frames(library: str):
    columns: dict[str, Any] = wide() | {"note": ["a", "b", None, "d"], "time": [0, 0.02, 0.04, 0.06]}
    columns["head_x"][2] = None if library == "any" else float("nan")
    skeleton = load(make(columns, library))
    wanted = BODY.copy()
    wanted[2, NTU25.index("head"), 0] = np.nan
    np.testing.assert_allclose(skeleton.positions[0], wanted.astype(np.float32))
    assert (skeleton.layout.joints, skeleton.fps, skeleton.info["format"]) == (NTU25, 50, "dataframe")


@pytest.mark.parametrize("names", ["numbers", "names", "some"])
def test_data_frames_of_landmarks_are_read_as_a_csv_of_them(tmp_path: Path, names: str):
    """Those of an image are refused, world landmarks are metres with y down; format="csv" takes them as they are."""
    joints = get_layout("mediapipe33").joints
    chosen = list(range(33)) if names != "some" else [joints.index(one) for one in joints if "eye" not in one]
    labels = [f"{n}" if names == "numbers" else joints[n] for n in chosen]

    def table(points: np.ndarray) -> dict[str, np.ndarray]:
        return {f"{label}_{axis}": points[:, n, a] for label, n in zip(labels, chosen, strict=True)
                for a, axis in enumerate("xyz")}  # fmt: skip

    flat = table((world(5) * [0.2, 0.3, 0.2] + [0.5, 0.5, 0]).round(4))
    with pytest.raises(ReadError, match=r"image .*depth that is not measured.*Save pose_world_landmarks"):
        load(Frame(flat))
    assert load(Frame(flat), format="csv", layout=[joints[n] for n in chosen], up="-y").info["format"] == "dataframe"
    columns = table(world(5))
    (tmp_path / "clip.csv").write_text(
        "\n".join([",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))])
    )
    found, expected = load(Frame(columns)), load(tmp_path / "clip.csv")
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-6)
    assert found.info["up"] == expected.info["up"] and found.info["unit"] == expected.info["unit"] == "m"


@pytest.mark.parametrize("library", ["any", "pandas"])
def test_long_data_frames(library: str):
    skeleton = from_dataframe(make(long(people=2), library)).to_layout("ntu25")
    assert skeleton.positions.shape == (2, 4, 25, 3) and skeleton.fps == 50
    np.testing.assert_allclose(skeleton.positions[0], BODY, atol=1e-6)
    np.testing.assert_allclose(skeleton.positions[1], BODY + 1, atol=1e-6)
    assert skeleton.confidence is not None and (skeleton.confidence == 0.5).all()


def test_data_frames_with_a_column_index_of_two_levels():
    columns = {tuple(name.rsplit("_", 1)): values for name, values in wide().items()}
    np.testing.assert_allclose(load(make(columns, "any")).positions[0], BODY, atol=1e-6)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns)
    assert frame.columns.nlevels == 2
    np.testing.assert_allclose(load(frame).positions[0], BODY, atol=1e-6)


def test_options_hold_for_data_frames():
    skeleton = load(Frame(wide()), unit="cm", up="z", fps=10, layout="ntu25")
    np.testing.assert_allclose(skeleton.positions[0, :, :, 1], BODY[..., 2] / 100, atol=1e-6)
    assert skeleton.fps == 10


def write_long(path: Path, columns: dict[str, list[Any]], skip: Sequence[str] = ()) -> Path:
    names = [name for name in columns if name not in skip]
    rows = [",".join(names), *(",".join(map(str, row)) for row in zip(*(columns[name] for name in names), strict=True))]
    path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize("skip", [(), ("time",), ("frame",), ("person",), ("confidence", "frame")])
def test_long_csv(tmp_path: Path, skip: tuple[str, ...]):
    skeleton = load(write_long(tmp_path / "clip.csv", long(), skip)).to_layout("ntu25")
    np.testing.assert_allclose(skeleton.positions[0], BODY, atol=1e-6)
    assert skeleton.fps == (None if "time" in skip else 50)
    assert (skeleton.confidence is None) == ("confidence" in skip)


def test_rows_that_are_not_there_were_not_tracked(tmp_path: Path):
    columns = long()
    gone = columns["joint"].index("head")
    frame = columns["frame"][gone]
    columns = {name: [*values[:gone], *values[gone + 1 :]] for name, values in columns.items()}
    skeleton = load(write_long(tmp_path / "clip.csv", columns)).to_layout("ntu25")
    assert skeleton.tracked.sum() == 99 and not skeleton.tracked[0, frame, NTU25.index("head")]
    assert skeleton.confidence is not None and skeleton.confidence[0, frame, NTU25.index("head")] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skip": ("frame", "time")}, "need a 'frame' or 'time' column"),
        ({"skip": ("z",)}, r"there are x and y, but no z\. It looks like 2D"),
        ({"frame": "0"}, "expected one row for each person, frame and joint, found several"),
        ({"frame": ""}, "need a 'frame' or 'time' column without empty cells"),
        ({"person": ""}, "'person' column has empty cells"),
        ({"x": "far"}, "expected a number in row 3, column 5, found 'far'"),
    ],
)
def test_bad_long_csv(tmp_path: Path, change: dict[str, Any], message: str):
    columns = long()
    skip = change.pop("skip", ("time",) if "frame" in change else ())
    for name, value in change.items():
        columns[name] = [value if i == 2 or value == "0" else cell for i, cell in enumerate(columns[name])]
    with pytest.raises(ReadError, match=message):
        load(write_long(tmp_path / "clip.csv", columns, skip))


def test_2d_tables_only_when_asked_for(tmp_path: Path):
    flat = {name: values for name, values in wide().items() if not name.endswith("_z")}
    with pytest.raises(ReadError, match=r"joint 'spine_base' has only x, y of x, y, z\. It looks like 2D"):
        load(Frame(flat))
    skeleton = load(Frame(flat), allow_2d=True, unit="m", up="y")
    np.testing.assert_allclose(skeleton.positions[0], BODY * [1, 1, 0], atol=1e-6)
    skeleton = load(write_long(tmp_path / "clip.csv", long(), ("z",)), allow_2d=True, unit="m", up="y")
    np.testing.assert_allclose(skeleton.to_layout("ntu25").positions[0], BODY * [1, 1, 0], atol=1e-6)
    path = tmp_path / "clip.npy"
    np.save(path, BODY[..., :2])
    with pytest.raises(ReadError, match="2D keypoints"):
        load(path, layout="ntu25")
    np.testing.assert_allclose(
        load(path, layout="ntu25", allow_2d=True, unit="m", up="y").positions[0], BODY * [1, 1, 0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "step", "fps"),
    [("time", 0.02, 50), ("timestamp_ms", 20, 50), ("timestamp_us", 20_000, 50), ("time", 20, None), ("t", 0.04, 25)],
)
def test_units_of_time(name: str, step: float, fps: float | None):
    columns = wide() | {name: [number * step for number in range(4)]}
    assert load(Frame(columns)).fps == fps


def test_infinite_times():
    with pytest.raises(ReadError, match="found inf"):
        load(Frame(wide() | {"time": [0, 1, 2, float("inf")]}))


def test_bad_data_frames():
    for columns, message in [
        ({}, "expected rows and columns, found 0 and 0"),
        ({"head_x": []}, "expected rows and columns, found 0 and 1"),
        ({"a_x": [1], ("a", "x"): [2]}, "two columns are called 'a_x'"),
        ({"speed": [1]}, "expected columns such as head_x"),
        ({name: ["fast"] * 4 for name in wide()}, "expected a number in row 1"),
        ({name: [object()] * 4 for name in wide()}, "expected a number in row 1"),
    ]:
        with pytest.raises(ReadError, match=message):
            load(Frame(columns))
    with pytest.raises(LayoutError, match="not understood"):
        load(Frame({"a_x": [1], "a_y": [2], "a_z": [3]}))


def test_columns_that_are_not_needed_may_hold_anything(tmp_path: Path):
    path = tmp_path / "clip.csv"
    columns: dict[str, list[Any]] = {"label": ["jump"] * 4, **wide(), "heart_rate": ["-", "n/a", "80", ""]}
    write_long(path, columns)
    np.testing.assert_allclose(load(path).positions[0], BODY, atol=1e-6)


def test_quoted_cells(tmp_path: Path):
    """A comma, a line end or another separator inside quotes is text of the cell."""
    table = wide()
    header = ["note; of, the trial", "frame", *table]
    rows = [
        [f'"said, ""{frame};"",\nand left"', str(frame), *(repr(table[key][frame]) for key in table)]
        for frame in range(4)
    ]
    lines = [",".join(f'"{name}"' for name in header), *(",".join(row) for row in rows)]
    path = tmp_path / "quoted.csv"
    path.write_text("\n".join(lines))
    assert np.allclose(load(path).positions[0], BODY, atol=1e-6)


def test_columns_beyond_number(tmp_path: Path):
    path = tmp_path / "commas.csv"
    path.write_text("," * 200_000)
    with pytest.raises(ReadError, match="200001 columns are more than any recording has"):
        load(path)


@pytest.mark.parametrize("text", ['""', '""\n""\n', '"\n"'])
def test_quotes_without_cells(tmp_path: Path, text: str):
    (tmp_path / "clip.csv").write_text(text)
    with pytest.raises(ReadError):
        load(tmp_path / "clip.csv")
