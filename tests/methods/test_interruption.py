"""The first Ctrl-C asks, the second ends, and afterwards all is as it was."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retarget.methods import interruption
from retarget.methods.interruption import Interruption


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_first_ctrl_c_only_asks() -> None:
    with Interruption() as listening:
        assert not listening.asked
        press()
        assert listening.asked
        assert listening.agreed()


def test_the_second_ctrl_c_ends_it_and_the_usual_handler_is_back() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption() as listening:
        press()
        press()
    assert listening.asked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_the_block_ctrl_c_is_what_it_was() -> None:
    with Interruption() as listening:
        pass
    with pytest.raises(KeyboardInterrupt):
        press()
    assert not listening.asked


def test_an_error_inside_puts_the_handler_back() -> None:
    with pytest.raises(ValueError), Interruption():
        raise ValueError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_nested_ones_the_inner_listens_and_tells_the_outer() -> None:
    with Interruption() as outer:
        with Interruption() as inner:
            press()
        assert inner.asked
        assert outer.asked
        with Interruption() as next_one:
            assert not next_one.asked
            press()
            assert next_one.asked


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as listening:
        press()
        press()
    assert not listening.asked
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_nothing_is_touched() -> None:
    seen: list[Any] = []

    def work() -> None:
        with Interruption() as listening:
            seen.append(signal.getsignal(signal.SIGINT))
            seen.append(listening.agreed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, False]


@pytest.mark.parametrize(
    ("later", "among", "ends"), [(0.1, 2, False), (1.5, 2, True), (0.1, 1, True)]
)
def test_a_launcher_that_passes_the_same_ctrl_c_on_is_not_a_second_wish(
    monkeypatch: pytest.MonkeyPatch, later: float, among: int, ends: bool
) -> None:
    clock = iter([100.0, 100.0 + later])
    monkeypatch.setattr(interruption.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(interruption, "count", lambda: among)
    with Interruption() as listening:
        listening._hear(signal.SIGINT, None)
        if ends:
            with pytest.raises(KeyboardInterrupt):
                listening._hear(signal.SIGINT, None)
        else:
            listening._hear(signal.SIGINT, None)
    assert listening.asked


ASKED = """
import signal
from retarget.core import processes
from retarget.methods.interruption import Interruption
with Interruption() as interruption:
    found["before"] = interruption.agreed()
    if processes.rank() == 1:
        signal.raise_signal(signal.SIGINT)
    found["asked"], found["agreed"] = interruption.asked, interruption.agreed()
"""


def test_all_processes_agree_where_one_was_asked(
    together: Callable[[str], list[dict[str, Any]]],
) -> None:
    main, other = together(ASKED)
    assert (main["status"], other["status"]) == (0, 0), main["errors"] + other["errors"]
    assert (main["before"], other["before"]) == (False, False)
    assert (main["asked"], other["asked"]) == (False, True)
    assert (main["agreed"], other["agreed"]) == (True, True)


LAUNCHED = """
import sys
from pathlib import Path
from retarget.core import processes
from retarget.methods.interruption import Interruption
steps = 0
with Interruption() as interruption:
    while not interruption.agreed():
        steps += 1
        if steps == 5 and processes.is_main():
            print("training", flush=True)
Path(sys.argv[1], f"ended-{processes.rank()}").write_text(str(steps))
"""


@pytest.mark.slow
def test_ctrl_c_at_a_launcher_ends_all_processes_well_after_the_same_step(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launched = subprocess.Popen(
        [sys.executable, *launcher, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert launched.stdout is not None
    assert launched.stdout.readline() == "training\n"
    os.killpg(launched.pid, signal.SIGINT)
    launched.communicate(timeout=300)
    steps = [(tmp_path / f"ended-{rank}").read_text() for rank in (0, 1)]
    assert steps[0] == steps[1]
