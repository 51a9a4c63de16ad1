"""Data sets that others prepared: the arrays of CTR-GCN and the pickles of pyskl, equal to our own preparation."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from einops import rearrange
from test_prepare_ntu import FILES

from mamp.data import ClipStore
from mamp.errors import MissingFileError, ReadError
from mamp.prepare import ctrgcn, pyskl
from mamp.prepare.__main__ import main
from mamp.prepare.ntu import get_protocol, published_order
from mamp.prepare.published import published_arrays
from mamp.readers import ntu
from mamp.readers.pickles import read_pickle


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our stores of NTU RGB+D 60 and 120, from raw files."""
    folder = tmp_path_factory.mktemp("ntu")
    for name in ("ntu60", "ntu120"):
        assert main([name, str(FILES[0].parent), str(folder / name), "--workers", "1"]) == 0
    return folder


def write_npz(path: Path, store: Path, protocol: str, compressed: bool = False, **changes: Any) -> Path:
    arrays = {}
    for split in ("train", "test"):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = published_arrays(store, protocol, split)
    (np.savez_compressed if compressed else np.savez)(path, **{**arrays, **changes})
    return path


CASES = [("ntu60", "xsub", "NTU60_XSub"), ("ntu60", "xview", "NTU60_CV"), ("ntu120", "xset", "NTU120_CSet")]


@pytest.mark.parametrize(("benchmark", "protocol", "name"), CASES)
def test_arrays_of_ctrgcn_make_our_clips(stores, tmp_path, capsys, benchmark, protocol, name):
    path = write_npz(tmp_path / f"{name}.npz", stores / benchmark, protocol, compressed=benchmark == "ntu120")
    assert main(["ctrgcn", str(path), str(tmp_path / "store")]) == 0
    found, ours = ClipStore(tmp_path / "store"), ClipStore(stores / benchmark)
    order = [published_order(ours.columns, int(benchmark[3:]), protocol, split) for split in ("train", "test")]
    assert len(found) == sum(map(len, order)) == len(ours)
    for clip, row in enumerate(np.concatenate(order)):
        expected = ours.read(row)
        if benchmark == "ntu60" and not expected[-1].any():
            expected = expected[:1]  # an empty second slot looks as if there was none; zeros in either case
        np.testing.assert_array_equal(found.read(clip), expected)
        assert found.columns["label"][clip] == ours.columns["label"][row]
        assert found.columns[f"split_{protocol}"][clip] == ours.columns[f"split_{protocol}"][row]
    assert found.info["classes"] == ours.info["classes"] and found.info["preprocessing"] == ours.info["preprocessing"]
    for split in ("train", "test"):
        for array, expected in zip(
            published_arrays(found.path, protocol, split), published_arrays(ours.path, protocol, split), strict=True
        ):
            np.testing.assert_array_equal(array, expected)
    assert f"{len(ours)} clips" in capsys.readouterr().out


def test_protocols_by_file_name(tmp_path):
    names = {
        "NTU60_XSub": "xsub", "NTU60_CS": "xsub", "NTU120_CSub": "xsub", "NTU60_XView": "xview", "NTU120_XSet": "xset",
        "NTU120_CSet": "xset", "mine": None,
    }  # fmt: skip
    assert {name: ctrgcn.protocol_of(Path(f"{name}.npz")) for name in names} == names


def test_other_arrays(stores, tmp_path, capsys):
    path = write_npz(tmp_path / "mine.npz", stores / "ntu60", "xsub")
    assert main(["ctrgcn", str(path), str(tmp_path / "plain")]) == 0
    assert ClipStore(tmp_path / "plain").split("train").size == 6
    assert main(["ctrgcn", str(path), str(tmp_path / "named"), "--protocol", "xsub"]) == 0
    assert ClipStore(tmp_path / "named").split("train", "xsub").size == 6
    assert main(["ctrgcn", str(path), str(tmp_path / "named")]) == 1
    assert "there is a store already" in capsys.readouterr().err
    x, y = published_arrays(stores / "ntu60", "xsub", "train")
    bad = {
        r"x_train \[N, T, 150\]": {"x_train": x[..., :75]},
        r"6 rows, y_train 5": {"y_train": y[:5]},
        r"a single 1 in each row": {"y_train": y + 1},
        r"row 2 of x_train holds NaN": {"x_train": np.where(np.arange(len(x))[:, None, None] == 2, np.nan, x)},
        r"x_train: expected rows of numbers": {"x_train": np.asfortranarray(x)},
    }
    for message, changes in bad.items():
        write_npz(path, stores / "ntu60", "xsub", **changes)
        assert main(["ctrgcn", str(path), str(tmp_path / "store")]) == 1
        assert_matches(message, capsys.readouterr().err)
        assert not (tmp_path / "store").exists()


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(ReadError, match=pattern):
        raise ReadError(text)


def test_damaged_files_of_arrays(stores, tmp_path):
    whole = write_npz(tmp_path / "NTU60_XSub.npz", stores / "ntu60", "xsub", compressed=True).read_bytes()
    path = tmp_path / "damaged.npz"
    with pytest.raises(MissingFileError, match="no such file"):
        ctrgcn.convert(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReadError, match=r"not an .npz file, or cut"):
        ctrgcn.convert(path)
    path.write_bytes(whole[:3000] + bytes(200) + whole[3200:])
    with pytest.raises(ReadError, match=r"damaged|not an array|says"):
        list(ctrgcn.convert(path).clips)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", "")
    with pytest.raises(ReadError, match=r"not an array|expected the arrays"):
        ctrgcn.convert(path)
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 300, 150)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("x_train.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ReadError, match=r"x_train says .*, but holds 0 bytes"):
        ctrgcn.convert(path)


def test_numbers_of_no_use_in_arrays(stores, tmp_path):
    """Those that numpy warns of at each use, and labels beyond any number of classes."""
    x, _ = published_arrays(stores / "ntu60", "xsub", "train")
    signalling = np.array(x, np.float32)
    signalling.view(np.uint32)[1, 2, 3] = 0x7F800001
    cases = {
        "row 1 of x_train holds NaN": {"x_train": signalling},
        "row 0 of y_train holds NaN": {"y_train": np.full(len(x), np.inf)},
        "expected whole numbers from 0, below 100000, in y_train": {"y_train": np.full(len(x), 1e30)},
    }
    for message, changes in cases.items():
        path = write_npz(tmp_path / "NTU60_XSub.npz", stores / "ntu60", "xsub", **changes)
        with pytest.raises(ReadError, match=message):
            list(ctrgcn.convert(path).clips)


def annotations(dtype: Any = np.float32) -> dict[str, Any]:
    """The golden files as pyskl has them: actors in camera coordinates."""
    found, names = [], [path.name.split(".")[0] for path in FILES]
    for path, name in zip(FILES, names, strict=True):
        chosen = ntu.denoise(ntu.parse_skeleton_file(path)).positions.astype(dtype)
        keypoint = rearrange(chosen, "t (m v c) -> m t v c", v=25, c=3)
        label = int(name[-3:]) - 1
        found.append({"frame_dir": name, "label": label, "keypoint": keypoint, "total_frames": keypoint.shape[1]})
    splits = {}
    for protocol in ("xsub", "xview"):
        rule = get_protocol(60, protocol)
        parts = [rule.split(ntu.parse_name(name)[rule.column]) for name in names]
        for part, key in (("train", "train"), ("test", "val")):
            splits[f"{protocol}_{key}"] = [name for name, is_in in zip(names, parts, strict=True) if is_in == part]
    return {"split": splits, "annotations": found}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_pyskl_make_our_clips(stores, tmp_path, protocol):
    (tmp_path / "ntu60_3danno.pkl").write_bytes(pickle.dumps(annotations(), protocol))
    assert main(["pyskl", str(tmp_path / "ntu60_3danno.pkl"), str(tmp_path / "store")]) == 0
    found, ours = ClipStore(tmp_path / "store"), ClipStore(stores / "ntu60")
    assert set(found.columns) == set(ours.columns)
    for name in found.columns:
        np.testing.assert_array_equal(found.columns[name], ours.columns[name])
    assert found.info["sha256"] == ours.info["sha256"]
    assert {**found.info, "protocols": None} == {**ours.info, "protocols": None}


def test_other_annotations_are_refused(tmp_path, capsys):
    right = annotations()
    first = right["annotations"][0]
    cases = {
        "keypoints are 2D, .*ntu60_3danno.pkl": {**first, "keypoint": first["keypoint"][..., :2]},
        r"expected keypoint \[M, T, 25, 3\]": {**first, "keypoint": first["keypoint"][:, :, :17]},
        "total_frames up to": {**first, "total_frames": 10**6},
        r"expected frame_dir \(text\) and label": {**first, "label": 500},
        "holds NaN or infinity": {**first, "keypoint": np.full_like(first["keypoint"], np.inf)},
        "expected a dict with frame_dir, label and keypoint": 5,
    }
    for message, one in cases.items():
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({**right, "annotations": [one]}))
        with pytest.raises(ReadError, match=message):
            pyskl.convert(tmp_path / "a.pkl")
    for content, message in (([], "found neither"), ({**right, "split": {"odd": []}}, "expected splits such as")):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(ReadError, match=message):
            pyskl.convert(tmp_path / "a.pkl")
    assert main(["pyskl", str(tmp_path / "b.pkl"), str(tmp_path / "store")]) == 1
    assert "no such file" in capsys.readouterr().err and not (tmp_path / "store").exists()


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.function, self.args, self.state = function, args, state

    def __reduce__(self) -> Any:
        return (self.function, self.args) if self.state is None else (self.function, self.args, self.state)


def nested(depth: int, opcode: bytes) -> bytes:
    """Tuples in tuples, as the key of a dict: hashing them would exhaust the C stack."""
    return b"\x80\x04}(" + b")" + opcode * depth + b"Nu."


def doubled(levels: int) -> list[Any]:
    found: list[Any] = [0] * 1000
    for _ in range(levels):
        found = [found] * 1000
    return found


def hostile(folder: Path) -> dict[str, bytes]:
    mark = str(folder / "ran")
    array = np.arange(6.0)
    whole = pickle.dumps(array, 4)
    objects = pickle.dumps(np.array([{}, []], dtype=object))
    return {
        "system": pickle.dumps(Call(__import__("os").system, f"touch {mark}")),
        "eval": pickle.dumps({"annotations": [Call(eval, f"open({mark!r}, 'w')")]}),
        "numpy's own loader": b"cnumpy\nload\n(S'" + mark.encode() + b"'\ntR.",
        "numpy.f2py": b"cnumpy.f2py.capi_maps\nload_f2cmap_file\n(S'x'\ntR.",
        "attribute of an allowed module": b"cnumpy\ncore.multiarray.os.system\n(S'x'\ntR.",
        "builtins": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        "array of objects": objects,
        "longer than its bytes": whole.replace(b"K\x06", b"K\x7f", 1),
        "a shape of negatives": pickle.dumps(Call(__import__("numpy").dtype, "V8")),
        "structured type": pickle.dumps(np.zeros(3, [("a", "f4"), ("b", "O")])),
        "state of a function": b"c_codecs\nencode\n}(S'__code__'\nNub.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02Pname\n.",
        "deep key": nested(3_000_000, b"\x85"),
        "set": pickle.dumps({1, 2, 3}, 4),
        "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "huge length": b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"abc",
        "cut": whole[:-20],
        "empty": b"",
        "text": b"hello\n",
    }


def test_hostile_pickles_run_nothing(tmp_path):
    for name, data in hostile(tmp_path).items():
        path = tmp_path / "hostile.pkl"
        path.write_bytes(data)
        with pytest.raises(ReadError):
            print(name, read_pickle(path))
        assert [one.name for one in tmp_path.iterdir()] == ["hostile.pkl"], name
    path.write_bytes(pickle.dumps(doubled(5)))
    with pytest.raises(ReadError, match="expected a dict"):
        pyskl.convert(path)


def test_pickles_of_numbers_are_read(tmp_path):
    content = {
        "a": [1, 2.5, True, None, b"x", ("y", [np.float32(3)])],
        "b": np.arange(6, dtype=">i4").reshape(2, 3),
        "c": np.asfortranarray(np.ones((2, 3), np.float16)),
        "d": np.array(["x", "yz"]),
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
        found = read_pickle(tmp_path / "a.pkl")
        assert found["a"] == [1, 2.5, True, None, b"x", ["y", [3.0]]]
        for key in "bcd":
            np.testing.assert_array_equal(found[key], content[key])
            assert found[key].dtype == content[key].dtype
