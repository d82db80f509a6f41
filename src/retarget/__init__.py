"""Point a pretrained model at your task: what to transfer, how, and proof that it helped.

    import retarget as rt
    task = rt.open_task("photos/")
    run = rt.fit(task)
    run.predict(["new.jpg"])
    run.report("out/")

Names are imported when first used, so that `import retarget` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retarget.api import compare as compare
    from retarget.api import evaluate as evaluate
    from retarget.api import fit as fit
    from retarget.api import inspect as inspect
    from retarget.api import load_run as load_run
    from retarget.api import open_task as open_task
    from retarget.core.errors import RetargetError as RetargetError
    from retarget.methods.callbacks import Callback as Callback
    from retarget.methods.finetune import FineTune as FineTune
    from retarget.methods.lora import Lora as Lora
    from retarget.methods.probe import Probe as Probe
    from retarget.methods.scratch import Scratch as Scratch
    from retarget.run import Run as Run
    from retarget.sources.own import own_source as own_source

__version__ = "0.1.0"

_HOME = {
    "Callback": "retarget.methods.callbacks",
    "FineTune": "retarget.methods.finetune",
    "Lora": "retarget.methods.lora",
    "Probe": "retarget.methods.probe",
    "Scratch": "retarget.methods.scratch",
    "own_source": "retarget.sources.own",
    "Run": "retarget.run",
    "RetargetError": "retarget.core.errors",
    "compare": "retarget.api",
    "evaluate": "retarget.api",
    "fit": "retarget.api",
    "inspect": "retarget.api",
    "load_run": "retarget.api",
    "open_task": "retarget.api",
}

__all__ = [
    "Callback", "FineTune", "Lora", "Probe", "RetargetError", "Run", "Scratch", "compare",
    "evaluate", "fit", "inspect", "load_run", "open_task", "own_source",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'retarget' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
