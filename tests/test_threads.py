"""Whole bodies on several threads: the same bits, no setting changed, errors and interrupts as with one thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import mamp.threads
from mamp import MAMPConfig, MAMPEncoder, Skeleton, kernels
from mamp.threads import available, operators_alone, share


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def make(**changes: int) -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(MAMPConfig(dim_feat=32, depth=2, num_heads=4, **{"num_frames": 16, **changes})).eval()


def recordings(number: int) -> list[Skeleton]:
    """One or two people; some joints of every third recording are never tracked."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(number):
        x = rng.normal(size=(1 + index % 2, 20 + index, 25, 3)).astype(np.float32)
        x[:, :, 5 : 5 + (index % 3 == 0) * 3] = np.nan
        found.append(Skeleton(x, "ntu25", fps=30))
    return found


def seen_by_new_threads() -> int:
    """The number of threads that torch gives to threads which come now."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


# --- share ----------------------------------------------------------------------------------------------------------


def test_results_come_in_order() -> None:
    def work(number: int) -> tuple[int, str, int]:
        time.sleep(0.001 * (number % 3))
        return number, threading.current_thread().name, torch.get_num_threads()

    found = list(share(work, range(30)))
    assert [number for number, _, _ in found] == list(range(30))
    assert {threads for _, _, threads in found} == {1}
    assert threading.current_thread().name not in {name for _, name, _ in found}


@pytest.mark.parametrize("pieces, threads", [(1, 3), (5, 1), (0, 3)])
def test_nothing_to_share(pieces: int, threads: int) -> None:
    torch.set_num_threads(threads)
    names = list(share(lambda _: threading.current_thread().name, range(pieces)))
    assert names == [threading.current_thread().name] * pieces


def test_a_piece_shares_nothing_further() -> None:
    assert available() == 3
    assert list(share(lambda _: (available(), list(share(abs, [-1, -2]))), range(4))) == [(1, [1, 2])] * 4


def test_a_watched_thread_does_everything_itself() -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        make()(torch.randn(4, 2, 16, 25, 3))
    assert counter.get_total_flops() > 0
    with torch.device("cpu"):
        assert available() == 1


def test_the_first_error_in_order_is_raised_and_no_more_is_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number in (4, 5):
            time.sleep(0.05 if number == 4 else 0)
            raise ValueError(f"piece {number}")
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="piece 4"):
        for value in share(work, range(100)):
            found.append(value)
    assert found == [0, 1, 2, 3] and max(begun) < 20
    count = len(begun)
    time.sleep(0.05)
    assert len(begun) == count, "nothing goes on in the background"


def test_every_caller_has_a_thread_at_once_and_further_ones_while_cores_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mamp.threads, "CORES", 2)
    lock, busy, most = threading.Lock(), {"first": 0, "second": 0}, {"first": 0, "second": 0}
    full, go_on, together, alone_again = threading.Event(), threading.Event(), threading.Barrier(2), threading.Event()

    def piece(caller: str, number: int) -> None:
        with lock:
            busy[caller] += 1
            most[caller] = max(most[caller], busy[caller])
        if busy["first"] == 2:
            full.set()
        if caller == "first" and number < 2:
            go_on.wait(30)  # both cores are taken
        elif caller == "second" and number == 10:
            assert alone_again.wait(30)
        elif caller == "second" and number in (20, 21):
            together.wait(30)  # the first caller has ended: there is room for two
        with lock:
            busy[caller] -= 1

    def first() -> None:
        list(share(lambda number: piece("first", number), range(3)))
        alone_again.set()

    other = threading.Thread(target=first)
    other.start()
    assert full.wait(30)
    coming = share(lambda number: piece("second", number), range(24))
    for _ in range(4):
        next(coming)
    assert most["second"] == 1, "no core was free"
    go_on.set()
    list(coming)
    other.join()
    assert most == {"first": 2, "second": 2} and mamp.threads._at_work == 0


def test_a_caller_who_leaves_stops_the_work() -> None:
    begun: list[int] = []
    for _ in share(lambda number: (begun.append(number), time.sleep(0.01)), range(1000)):
        break
    assert len(begun) < 100
    assert list(share(abs, [-1, 2])) == [1, 2]


@pytest.mark.parametrize("kind", ["inference", "no_grad", "gradients", "autocast"])
def test_threads_compute_as_the_caller_would(kind: str) -> None:
    def modes(_: int) -> tuple[object, ...]:
        autocast = torch.is_autocast_enabled("cpu")
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled(), autocast, product.dtype

    mode = {
        "inference": torch.inference_mode(),
        "no_grad": torch.no_grad(),
        "gradients": torch.enable_grad(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
    }[kind]
    with mode:
        assert set(share(modes, range(6))) == {modes(0)}
    assert set(share(modes, range(6))) == {modes(0)}, "nothing is left of it"


def test_operators_alone_while_pieces_are_shared() -> None:
    for _ in range(2):
        with operators_alone():
            assert torch.get_num_threads() == 1 and available() == seen_by_new_threads() == 3
            with operators_alone():
                assert available() == 3
            names = set(share(lambda _: (time.sleep(0.01), threading.current_thread().name)[1], range(9)))
            assert threading.current_thread().name not in names
        assert torch.get_num_threads() == available() == 3
    with pytest.raises(ZeroDivisionError), operators_alone():
        list(share(lambda number: 1 // number, range(8)))
    assert torch.get_num_threads() == seen_by_new_threads() == 3


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_are_left_as_they_were_found() -> None:
    def settings() -> tuple[object, ...]:
        found = torch.get_num_threads(), torch.get_num_interop_threads(), torch.is_grad_enabled()
        return *found, torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), seen_by_new_threads()

    encoder, before = make(), settings()
    assert before[0] == before[-1] == 3
    encoder.encode(recordings(8))
    assert settings() == before
    with pytest.raises(ZeroDivisionError):
        list(share(lambda number: 1 // number, range(8)))
    assert settings() == before

    found: list[tuple[object, ...]] = []

    def serve() -> None:
        encoder.encode(recordings(8))
        found.append(settings())

    callers = [threading.Thread(target=serve) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [(*before[:2], True, *before[3:])] * 4 and settings() == before


def test_first_use_by_several_threads_at_once() -> None:
    """In a new process: the threads of the pool are made while others ask torch for their number of threads."""
    program = """
import threading, torch
from mamp.threads import share
torch.set_num_threads(3)
barrier, found = threading.Barrier(4), []
def serve():
    barrier.wait()
    list(share(abs, range(20)))
    found.append(torch.get_num_threads())
callers = [threading.Thread(target=serve) for _ in range(4)]
for caller in callers: caller.start()
for caller in callers: caller.join()
last = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
last.start(); last.join()
assert found == [3] * 5 and torch.get_num_threads() == 3, found
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
import os, sys, torch
from mamp.threads import share
torch.set_num_threads(2)
list(share(abs, range(10)))
child = os.fork()
if not child:
    os._exit(0 if list(share(abs, [-1, -2, -3])) == [1, 2, 3] else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_a_long_encode() -> None:
    program = """
import os, time, torch
from mamp.threads import share
torch.set_num_threads(2)
def work(_):
    os.write(1, b"begun\\n")  # as a whole, whatever another thread writes
    time.sleep(0.05)
list(share(work, range(10_000)))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors


# --- the encoder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["clip", "tokens"])
@pytest.mark.parametrize("num_frames", [16, 96])
@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize("intel", [True, False])
def test_same_bits_for_any_number_of_threads_and_any_batch(
    pool: str, num_frames: int, precision: str | None, intel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_mkl_is_quick", lambda: intel)
    encoder, clips = make(num_frames=num_frames), recordings(7)
    found = []
    for threads, batch in ((1, 1), (1, 7), (2, 3), (3, 7), (3, 2)):
        torch.set_num_threads(threads)
        found.append(encoder.encode(clips, pool=pool, batch_size=batch, precision=precision))  # type: ignore[call-overload]
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_tokens_of_many_bodies_are_those_of_each() -> None:
    encoder, x = make(), torch.randn(5, 2, 16, 25, 3)
    x[1:3, 1] = 0
    with torch.no_grad():
        together = encoder(x)
        torch.set_num_threads(1)
        assert torch.equal(together, torch.cat([encoder(clip[None]) for clip in x]))


def test_hooks_see_one_body_after_another() -> None:
    encoder, seen = make(), []
    encoder.norm.register_forward_hook(lambda module, args, y: seen.append((threading.current_thread().name, y)))
    with torch.no_grad():
        tokens = encoder(torch.randn(6, 1, 16, 25, 3))
    assert {name for name, _ in seen} == {threading.current_thread().name}
    assert torch.equal(torch.cat([y for _, y in seen]), tokens.flatten(2, 3)[:, 0])


def test_an_error_of_one_body_leaves_the_encoder_usable() -> None:
    encoder, clips = make(), recordings(6)
    expected = encoder.encode(clips)
    forward = encoder.blocks[0].forward

    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError("this body")

    encoder.blocks[0].forward = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="this body"):
        encoder.encode(clips)
    encoder.blocks[0].forward = forward  # type: ignore[method-assign]
    np.testing.assert_array_equal(encoder.encode(clips), expected)
