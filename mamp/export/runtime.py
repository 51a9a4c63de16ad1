"""Run an exported encoder: recordings to embeddings, without torch unless it was exported to torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mamp.config import Pool, Preprocessing
from mamp.embedding import BoolArray, EncodeOptions, FloatArray, embed, one_or_several
from mamp.errors import MissingExtraError, RecordingError, WeightsError
from mamp.export.folder import OUTPUTS, Format, check_torch, read_record
from mamp.skeleton import Skeleton

# Bodies [N, T, V, C], which of their tokens [N, L] are there, and the name of an output, to that output.
Model = Callable[[FloatArray, BoolArray, str], FloatArray]

# Bodies that go through the model together: few, so that what is in between stays in the cache.
BODIES_AT_ONCE = 2


def load(directory: str | PathLike[str], *, threads: int | None = None) -> ExportedEncoder:
    """Open an encoder that :func:`mamp.export.export` or ``mamp export`` wrote.

    Args:
        directory: The folder.
        threads: Threads of the runtime; its own choice without it.

    Raises:
        WeightsError: The folder is not an export, of a newer version, or damaged.
        MissingExtraError: The runtime is not installed.
    """
    return ExportedEncoder(directory, threads=threads)


class ExportedEncoder:
    """An encoder on another runtime than torch; :meth:`encode` gives what ``MAMPEncoder.encode`` gives.

    Args:
        directory: A folder that :func:`mamp.export.export` wrote.
        threads: Threads of the runtime; its own choice without it.
    """

    def __init__(self, directory: str | PathLike[str], *, threads: int | None = None) -> None:
        folder = Path(directory)
        self.config, self.record = read_record(folder)
        self._model = _OPEN[self.record.format](folder, threads)

    @property
    def fingerprint(self) -> str:
        """Of the weights that were exported."""
        return self.record.fingerprint

    def encode(
        self,
        recordings: Skeleton | Iterable[Skeleton],
        *,
        pool: Pool = "clip",
        batch_size: int = 32,
        token_share: float = 1.0,
        progress: bool = False,
        window: int | None = None,
        stride: int | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    ) -> FloatArray | list[FloatArray]:
        """Embed recordings; arguments, results and errors are those of :meth:`mamp.MAMPEncoder.encode`."""
        options = EncodeOptions(pool, batch_size, None, token_share, window, stride, preprocessing or {})
        return self.encode_as(options, recordings, progress)

    def encode_as(
        self, options: EncodeOptions, recordings: Skeleton | Iterable[Skeleton], progress: bool = False
    ) -> FloatArray | list[FloatArray]:
        """Embed recordings; see :meth:`encode`."""
        if options.precision is not None:
            raise RecordingError(
                "engine: exported encoders compute in float32; expected no precision, or engine='torch'."
            )
        return one_or_several(
            lambda several: embed(self.run, self.config, several, options, progress), recordings, options, self.config
        )

    def run(self, bodies: FloatArray, there: BoolArray, options: EncodeOptions) -> FloatArray:
        """The engine of :func:`mamp.embedding.embed`: bodies [N, T, V, C] to what ``options.pool`` needs of each."""
        output = "person" if options.pool == "clip" else options.pool
        parts = [slice(first, first + BODIES_AT_ONCE) for first in range(0, len(bodies), BODIES_AT_ONCE)]
        return np.concatenate([self._model(bodies[part], there[part], output) for part in parts])


def _onnx(folder: Path, threads: int | None) -> Model:
    onnxruntime = _runtime("onnxruntime", "export")
    options, only = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.intra_op_num_threads = threads or 0
    options.enable_mem_pattern = False  # which keeps memory for the largest batch so far
    only.only_execute_path_to_fetches = True
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # the runtime has a class of its own for each kind, without a common root
        raise _unusable(folder, error) from error
    return lambda bodies, there, output: np.asarray(session.run([output], {"bodies": bodies, "there": there}, only)[0])


def _openvino(folder: Path, threads: int | None) -> Model:
    core = _openvino_core()
    properties = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    try:
        model = core.compile_model(str(folder / "model.xml"), "CPU", properties)
    except RuntimeError as error:
        raise _unusable(folder, error) from error
    return lambda bodies, there, output: np.array(model([bodies, there])[OUTPUTS.index(output)])


@cache
def _openvino_core() -> Any:
    """The one core of this process, which is never let go.

    OpenVINO gives the thread that opens a core memory for its signal handlers. It takes the memory back in the thread
    where the core ends, and when that is another, the next signal kills the process.
    """
    return _runtime("openvino", "fast").Core()


def _torch(folder: Path, threads: int | None) -> Model:
    try:
        import torch
    except ImportError:
        raise MissingExtraError(
            "this encoder was exported to torch, which is not installed: pip install torch"
        ) from None
    del threads  # torch has one setting for the whole process, which is not touched
    check_torch(torch.__version__)
    program = torch.export.load(folder / "model.pt2").module()

    def run(bodies: FloatArray, there: BoolArray, output: str) -> FloatArray:
        with torch.no_grad():
            found = program(torch.from_numpy(bodies), torch.from_numpy(there))
        return np.asarray(found[OUTPUTS.index(output)].numpy())

    return run


_OPEN: dict[Format, Callable[[Path, int | None], Model]] = {"onnx": _onnx, "openvino": _openvino, "torch": _torch}


def _runtime(package: str, extra: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        message = f"this encoder runs on {package}, which is not installed: pip install 'mamp[{extra}]'"
        raise MissingExtraError(message) from None


def _unusable(folder: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().splitlines()[0]
    return WeightsError(f"{folder}: the runtime cannot open the model ({reason}); export again with its version.")
