"""The wheel that is built from the tree: what is in it, what it says of itself, that it works alone and is light."""

from __future__ import annotations

import configparser
import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import mamp

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = json.loads((ROOT / "weights" / "manifest.json").read_text(encoding="utf-8"))
RELEASES = [release for entry in MANIFEST["weights"].values() for release in entry["revisions"].values()]
BUNDLED = [release["folder"] for release in RELEASES if release.get("folder") and not release.get("source_only")]
WEIGHT_FILES = (
    "manifest.json",
    "cards/*.md",
    *(f"{name}/{n}" for name in BUNDLED for n in ("config.json", "model.safetensors", "README.md")),
)
OPTIONAL = ("sklearn", "scipy", "matplotlib", "pandas", "h5py", "tensorboard", "huggingface_hub", "requests", "httpx")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an sdist, and the wheel that was built from that sdist; no network."""
    work = tmp_path_factory.mktemp("build")
    skip = shutil.ignore_patterns("node_modules", ".*", "__pycache__", "*.egg-info", "build", "dist", "runs")
    shutil.copytree(ROOT, work / "tree", ignore=skip)
    (work / "tree" / "weights" / "openmocap").mkdir(exist_ok=True)
    (work / "tree" / "weights" / "openmocap" / "optimizer.pt").write_text("must not be shipped")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(work / "dist"), str(work / "tree")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return work / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_wheel_holds_every_module_and_the_weights_and_nothing_else(wheel: Path) -> None:
    files = [path for path in (ROOT / "mamp").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    for pattern in WEIGHT_FILES:
        found = (ROOT / "weights").glob(pattern)
        expected |= {"mamp/weights/" + path.relative_to(ROOT / "weights").as_posix() for path in found}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert wheel.stat().st_size < 25e6
    assert {"mamp/py.typed", "mamp/cli/main.py", "mamp/hub/__init__.py", "mamp/weights/manifest.json"} <= names


def test_bundled_weights_are_shipped_unchanged(wheel: Path) -> None:
    path = ROOT / "weights" / "openmocap" / "model.safetensors"
    if not path.exists():
        pytest.skip("the tree holds no weights/openmocap yet")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("mamp/weights/openmocap/model.safetensors") == path.read_bytes()


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "mamp" and metadata["Version"] == mamp.__version__
    assert metadata["Requires-Python"] == ">=3.10" and metadata["License-Expression"] == "Apache-2.0"
    needs = [line.replace(" ", "") for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = sorted(need.split(">")[0].split("<")[0] for need in needs)
    assert names == ["einops", "huggingface-hub", "numpy", "safetensors", "torch", "tqdm"]
    assert sorted(next(need for need in needs if need.startswith("torch"))[5:].split(",")) == ["<3", ">=2.4"]
    assert "dev" in metadata.get_all("Provides-Extra", [])
    assert metadata.get_payload().startswith("# mamp\n")


def test_setup_cfg_is_the_only_source_of_metadata() -> None:
    assert not (ROOT / "setup.py").exists()
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    assert not [line for line in lines if line.startswith(("[project", "[tool.setuptools"))]
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "mamp").rglob("__init__.py")}
    assert listed == packages | {"mamp.weights"}, "setup.cfg: packages"


def test_constraints_meet_the_requirements() -> None:
    from packaging.requirements import Requirement

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    assert pinned["torch"] == "2.13.0"
    wanted = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    for need in (Requirement(line) for line in wanted.split("\n") if line):
        assert need.specifier.contains(pinned[need.name.lower()]), need


def test_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", str(tmp_path / "site"), str(wheel)], check=True, capture_output=True)
    env = {k: v for k, v in os.environ.items() if k != "MAMP_WEIGHTS"}
    env |= {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}

    def run(*args: str) -> str:
        done = subprocess.run([sys.executable, *args], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    where, names = run("-c", "import mamp; print(mamp.__file__); print(*mamp.list_pretrained())").splitlines()
    assert Path(where).parent == tmp_path / "site" / "mamp" and names.split() == mamp.list_pretrained()
    scripts = list((tmp_path / "site" / "bin").glob("mamp*"))
    assert len(scripts) == 1
    assert run("-m", "mamp", "--version") == f"mamp {mamp.__version__}\n"
    if not (ROOT / "weights" / "openmocap" / "model.safetensors").exists():
        pytest.skip("the tree holds no weights/openmocap yet; everything else of the wheel was checked")
    result = json.loads(run("-m", "mamp", "demo", "--variations", "1", "--json"))
    assert result["weights"] == "openmocap" and len(result["recordings"]) == 9


def test_import_is_light_and_leaves_no_trace() -> None:
    code = f"""
import sys, torch
before = torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
state = torch.random.get_rng_state()
known = set(sys.modules)
import mamp
after = torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
assert before == after, (before, after)
assert torch.equal(state, torch.random.get_rng_state())
new = {{name.split(".")[0] for name in set(sys.modules) - known}}
assert not new & set({OPTIONAL!r}), new & set({OPTIONAL!r})
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
