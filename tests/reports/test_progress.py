import io
import re
import threading

from rich.console import Console
from rich.progress import Progress

from retarget.core.progress import listening, progress
from retarget.reports.progress import TerminalProgress, _Pace


def _console(terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=120), stream


def _plain(stream: io.StringIO) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue())


def _end_timers() -> None:
    for timer in [t for t in threading.enumerate() if isinstance(t, threading.Timer)]:
        timer.join(timeout=30)
        assert not timer.is_alive()


def test_nothing_is_written_when_piped() -> None:
    console, stream = _console(terminal=False)
    with listening(TerminalProgress(console, delay=0)), progress("Reading", 3, "images") as meter:
        meter.advance(3)
    assert stream.getvalue() == ""


def test_short_work_shows_nothing() -> None:
    console, stream = _console(terminal=True)
    with listening(TerminalProgress(console, delay=3600)), progress("Reading", 3) as meter:
        meter.advance(3)
    _end_timers()
    assert stream.getvalue() == ""


def test_long_work_shows_a_bar_and_leaves_one_line() -> None:
    console, stream = _console(terminal=True)
    with listening(TerminalProgress(console, delay=0)), progress("Reading", 1200, "images") as m:
        m.advance(600)
        m.advance(600)
    shown = _plain(stream)
    assert "images" in shown
    assert re.search(r"Reading: 1,200 images in \S+ \w+ \([\d,.]+ images/s\)", shown)


def test_a_bar_tells_how_fast_it_goes_what_is_left_and_what_was_noted() -> None:
    now = [0.0]
    bars = Progress(_Pace(), get_time=lambda: now[0])
    line = bars.add_task("Training", total=100, unit="images", note="loss 0.41")
    for _ in range(4):
        now[0] += 1.0
        bars.update(line, advance=10)
    (task,) = bars.tasks
    assert _Pace().render(task).plain == "40/100 images · 10/s · 6.0 s left · loss 0.41"


def test_bar_appears_when_the_delay_is_over_and_knows_what_was_done_before() -> None:
    console, stream = _console(terminal=True)
    shower = TerminalProgress(console, delay=0.01)
    meter = shower.start("Reading", 10, "images")
    meter.advance(4)
    _end_timers()
    meter.advance(6)
    shower.finish(meter)
    assert "Reading: 10 images" in _plain(stream)


def test_work_that_broke_off_claims_nothing() -> None:
    console, stream = _console(terminal=True)
    try:
        with listening(TerminalProgress(console, delay=0)), progress("Reading", 10) as meter:
            meter.advance(2)
            raise ValueError
    except ValueError:
        pass
    assert "Reading: " not in _plain(stream)


def test_nested_work_shows_and_ends_in_order() -> None:
    console, stream = _console(terminal=True)
    with listening(TerminalProgress(console, delay=0)), progress("Outer", 2) as outer:
        for _ in range(2):
            with progress("Inner", 1) as inner:
                inner.advance()
            outer.advance()
    shown = _plain(stream)
    assert shown.count("Inner: 1 items") == 2
    assert shown.count("Outer: 2 items") == 1


def test_several_threads_lose_no_step() -> None:
    console, stream = _console(terminal=True)
    shower = TerminalProgress(console, delay=0)
    meter = shower.start("Reading", 4000, "images")
    workers = [
        threading.Thread(target=lambda: [meter.advance() for _ in range(1000)]) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    shower.finish(meter)
    assert "Reading: 4,000 images" in _plain(stream)


def test_hostile_description_is_shown_as_it_is() -> None:
    console, stream = _console(terminal=True)
    with listening(TerminalProgress(console, delay=0)), progress("[red]x[/] \x1b]8;;u", 1) as meter:
        meter.advance()
    assert "\x1b]8" not in stream.getvalue()
    assert "[red]x[/] \\x1b]8;;u" in _plain(stream)


def test_meter_of_another_listener_is_ignored() -> None:
    class Other:
        def advance(self, steps: int = 1) -> None:
            pass

        def note(self, text: str) -> None:
            pass

    console, stream = _console(terminal=True)
    TerminalProgress(console, delay=0).finish(Other())
    assert stream.getvalue() == ""
