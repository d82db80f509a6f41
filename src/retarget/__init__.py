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
    from retarget.methods.contrastive import Contrastive as Contrastive
    from retarget.methods.crf import Crf as Crf
    from retarget.methods.finetune import BitFit as BitFit
    from retarget.methods.finetune import FineTune as FineTune
    from retarget.methods.finetune import NormTuning as NormTuning
    from retarget.methods.knn import Knn as Knn
    from retarget.methods.lora import Dora as Dora
    from retarget.methods.lora import Ia3 as Ia3
    from retarget.methods.lora import Lora as Lora
    from retarget.methods.probe import Probe as Probe
    from retarget.methods.prototype import Prototype as Prototype
    from retarget.methods.scratch import Scratch as Scratch
    from retarget.methods.scratch import SmallCnn as SmallCnn
    from retarget.run import Run as Run
    from retarget.sources.own import own_source as own_source

__version__ = "0.1.0"

_HOME = {
    "BitFit": "retarget.methods.finetune",
    "Callback": "retarget.methods.callbacks",
    "Contrastive": "retarget.methods.contrastive",
    "Crf": "retarget.methods.crf",
    "Dora": "retarget.methods.lora",
    "FineTune": "retarget.methods.finetune",
    "Ia3": "retarget.methods.lora",
    "Knn": "retarget.methods.knn",
    "Lora": "retarget.methods.lora",
    "NormTuning": "retarget.methods.finetune",
    "Probe": "retarget.methods.probe",
    "Prototype": "retarget.methods.prototype",
    "Scratch": "retarget.methods.scratch",
    "SmallCnn": "retarget.methods.scratch",
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
    "BitFit", "Callback", "Contrastive", "Crf", "Dora", "FineTune", "Ia3", "Knn", "Lora",
    "NormTuning", "Probe", "Prototype", "RetargetError", "Run", "Scratch", "SmallCnn", "compare",
    "evaluate", "fit", "inspect", "load_run", "open_task", "own_source",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'retarget' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
