"""Progress on a terminal: what is done, how fast, how long it will take; nothing when piped."""

import time
from threading import Lock, Timer

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from retarget.core.progress import Meter
from retarget.core.text import printable
from retarget.reports import numbers


class _Pace(ProgressColumn):
    """`1,204/2,000 images · 312/s · 3 s left · loss 0.41`."""

    def render(self, task: Task) -> Text:
        unit = str(task.fields.get("unit", ""))
        done = f"{task.completed:,.0f}/{task.total or 0:,.0f} {unit}"
        said = [done]
        if task.speed:
            said.append(numbers.rate(task.speed, "").replace(" ", ""))
        if task.time_remaining is not None and not task.finished:
            said.append(f"{numbers.seconds(float(task.time_remaining))} left")
        if note := task.fields.get("note"):
            said.append(str(note))
        return Text(" · ".join(said), style="dim")


class _Shown:
    """One piece of work, and its line on the terminal once it has one."""

    def __init__(self, owner: "TerminalProgress", what: str, total: int, unit: str) -> None:
        self.owner, self.what, self.total, self.unit = owner, what, total, unit
        self.done = 0
        self.words = ""
        self.line: TaskID | None = None
        self.timer: Timer | None = None
        self.began = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self.owner.advance(self, steps)

    def note(self, text: str) -> None:
        self.owner.note(self, text)


class TerminalProgress:
    """A `core.progress.Listener` that shows work on a terminal once it has lasted `delay` seconds.

    When the work is done its bar goes and one line stays: how much, how long, how fast. When the
    console is no terminal nothing is written at all. Safe for several threads and nested work.
    """

    def __init__(self, console: Console, delay: float = 1.0) -> None:
        self._console = console
        self._delay = delay
        self._lock = Lock()
        self._bars: Progress | None = None
        self._working: set[_Shown] = set()

    def start(self, what: str, total: int, unit: str) -> Meter:
        """Begin to count; the bar appears later, if the work lasts."""
        work = _Shown(self, printable(what, 60), total, printable(unit, 20))
        with self._lock:
            self._working.add(work)
        if not self._console.is_terminal:
            return work
        if self._delay <= 0:
            self._show(work)
        else:
            work.timer = Timer(self._delay, self._show, (work,))
            work.timer.daemon = True
            work.timer.start()
        return work

    def advance(self, work: _Shown, steps: int) -> None:
        """Count `steps` more of `work`."""
        with self._lock:
            work.done += steps
            if self._bars is not None and work.line is not None:
                self._bars.advance(work.line, steps)

    def note(self, work: _Shown, text: str) -> None:
        """Show words beside the count."""
        with self._lock:
            work.words = printable(text, 60)
            if self._bars is not None and work.line is not None:
                self._bars.update(work.line, note=work.words)

    def tell(self, text: str) -> None:
        """Print a line, where somebody looks."""
        if self._console.is_terminal:
            self._console.print(Text(printable(text, 300), style="dim"), soft_wrap=True)

    def finish(self, meter: Meter) -> None:
        """Take the bar away; what was completed keeps one line."""
        if not isinstance(meter, _Shown):
            return
        if meter.timer is not None:
            meter.timer.cancel()
        with self._lock:
            self._working.discard(meter)
            if self._bars is None or meter.line is None:
                return
            self._bars.remove_task(meter.line)
            if not any(work.line is not None for work in self._working):
                self._bars.stop()
                self._bars = None
        if meter.done >= meter.total:
            self._console.print(_summary(meter), soft_wrap=True)

    def _show(self, work: _Shown) -> None:
        with self._lock:
            if work not in self._working:
                return
            if self._bars is None:
                self._bars = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=12),
                    _Pace(),
                    console=self._console,
                    transient=True,
                )
                self._bars.start()
            work.line = self._bars.add_task(
                work.what,
                total=work.total,
                completed=work.done,
                unit=work.unit,
                note=work.words,
            )


def _summary(work: _Shown) -> Text:
    spent = max(time.monotonic() - work.began, 1e-9)
    pace = numbers.rate(work.done / spent, work.unit)
    said = f"{work.what}: {work.done:,} {work.unit} in {numbers.seconds(spent)} ({pace})"
    return Text(said, style="dim")
