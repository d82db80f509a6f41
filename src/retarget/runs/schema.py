"""`run.json`: the versioned record of a run."""

from math import nan
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from retarget.core.config import FitConfig
from retarget.core.types import Kind
from retarget.evaluation.results import Estimate, Evaluation, Gain, LearningCurve, Verdict
from retarget.evaluation.robustness import Robustness
from retarget.features.features import PassCost
from retarget.methods.tuning import Epoch, TrainingCost

SCHEMA_VERSION: Literal[2] = 2


class Record(BaseModel):
    """Base of all that crosses the disk: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemRecord(Record):
    """Something wrong with the data. `where` names at most 50 examples, `examples` counts all."""

    kind: str
    what: str
    where: tuple[str, ...]
    examples: int
    left_out: bool


class TaskRecord(Record):
    """The task as it was judged. `quarantined` counts the examples that were left out, `words`
    those that are tagged."""

    name: str
    origin: str
    layout: str
    why: str
    kind: Kind
    inputs: dict[str, str]
    classes: tuple[str, ...]
    class_counts: dict[str, int]
    examples: int
    labelled: int
    unlabelled: int
    groups: int
    domains: tuple[str, ...]
    quarantined: int
    problems: tuple[ProblemRecord, ...]
    words: int = 0


class ProtocolRecord(Record):
    """Who chose and who judged, by content id; `leaks` says what was left out between the two.

    `test_ids` lets a later run keep the same test examples (where folds judged, they are in
    `predictions.parquet`); the model handed over learned from `learned_ids`, which therefore can't
    judge it. `learned_entities` are digests of how the entities among them are written, `null` for
    other tasks and in runs from before they were kept.
    """

    mode: Literal["hold-out", "cross-fitting"]
    why: str
    folds: int
    choosing: int
    judging: int
    leaks: str = ""
    test_ids: tuple[str, ...] = ()
    learned_ids: tuple[str, ...] = ()
    learned_entities: tuple[str, ...] | None = None


def _measured(told: Any) -> Any:
    """Read null as NaN: JSON has none, and what could not be measured is written so."""
    if isinstance(told, dict):
        return {name: nan if value is None else value for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [nan if value is None else _measured(value) for value in told]
    return nan if told is None else told


class _Measured:
    """Marks numbers that may not have been measured: NaN in the hand, null in JSON."""

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(_measured, handler(kind))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return _or_null(handler(schema), handler)


def _or_null(schema: dict[str, Any], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """Return a JSON schema in which every number may be null."""
    if "$ref" in schema:
        _or_null(handler.resolve_ref_schema(schema), handler)
    if schema.get("type") == "number":
        schema["type"] = ["number", "null"]
    inner = [*schema.get("properties", {}).values(), *schema.get("prefixItems", [])]
    for part in [*inner, *filter(None, [schema.get("items")])]:
        _or_null(part, handler)
    return schema


Measured = _Measured()


class MixRecord(Record):
    """Weights averaged towards the source: `share` 0 is the source, 1 what was trained."""

    share: float
    validation_loss: Annotated[float, Measured]
    score: Annotated[float, Measured]


class TrainingRecord(Record):
    """What changing weights took and how it went.

    `taken` is the epoch that was kept, `why` says why; `gap` is validation loss less training
    loss there, with its 95% interval; `settings` is all that was decided.
    """

    cost: TrainingCost
    epochs: Annotated[tuple[Epoch, ...], Measured]
    taken: int
    why: str
    gap: Annotated[tuple[float, float, float], Measured]
    settings: dict[str, Any] = Field(default_factory=dict)
    mixes: tuple[MixRecord, ...] = ()
    notes: tuple[str, ...] = ()


class Trial(Record):
    """One candidate: its score on choosing data (out of fold; lower loss is better), its cost.

    `score` is of the headline metric; `loss` and `loss_se` decided. `operations`
    and `seconds_per_example` are the encoder's multiply-adds and measured time for one example,
    `seconds` what fitting and cross-validating the heads took, or training. A trial with `training`
    is judged by the examples which that held out.
    """

    source: str
    layers: tuple[str, ...]
    method: str
    setting: float | None
    loss: float
    loss_se: float
    score: float
    seconds: float
    seconds_per_example: float
    operations: float = 0.0
    chosen: bool = False
    training: TrainingRecord | None = None


class Chosen(Record):
    """What was handed over: one member, or several whose probabilities are averaged."""

    source: str
    members: tuple[Trial, ...]
    why: str


class MethodRecord(Record):
    """A kind of method, judged on the same examples as what was chosen, which it chose nothing of.

    `test` is all of its evaluation, `score` the headline metric of it. `gain` is over the first
    kind, `None` for that one. `share` is that of the tuned weights in an average with the source's:
    of a kind itself as validation chose it; of other points on that way only the score is kept, no
    `test`. `trainable` is 0 and `seconds` what heads took for frozen features.
    """

    name: str
    share: float = 1.0
    score: Estimate
    test: Evaluation | None = None
    gain: Gain | None = None
    trainable: int = 0
    seconds: float = 0.0
    robustness: Robustness | None = None


class LayerDrift(Record):
    """How far a layer moved from the source: ‖w' − w‖ / ‖w‖, and CKA of its features with before.

    `weights` is `None` for a layer without parameters, `cka` where features are constant.
    """

    layer: str
    weights: float | None
    cka: float | None


class Drift(Record):
    """What a training changed, layer by layer, shallow to deep."""

    method: str
    layers: tuple[LayerDrift, ...]


Mark = Literal["right", "missed", "wrong"]


class Marked(Record):
    """A span of a mistake's text: right, missed (true, not found) or wrong (found, not true)."""

    start: int
    end: int
    label: str
    mark: Mark


class Mistake(Record):
    """A confident mistake. `picture` is a path inside the run directory, `text` what the input
    says, `spans` what was found in it or should have been."""

    name: str
    target: str
    predicted: str
    confidence: float
    picture: str | None = Field(None, pattern=r"^pictures/[0-9]+\.jpg$")
    text: str = ""
    spans: tuple[Marked, ...] = ()


class CarryingPart(Record):
    """A word, or a piece of one, and how much it adds to a class; `texts` it was measured in."""

    part: str
    adds: float
    texts: int


class Carrying(Record):
    """The words that speak most for a class, strongest first, by what was transferred or TF-IDF.

    `adds` is in log odds against the mean of all classes: for TF-IDF of one occurrence before texts
    are scaled, for what was transferred of a text that is made of the word, against the mean word.
    """

    name: str
    by: Literal["transfer", "tfidf"]
    parts: tuple[CarryingPart, ...]


class MapPoint(Record):
    """An example on the map of features (two principal components of the chosen layers)."""

    x: float
    y: float
    label: str
    domain: str = ""
    judged: bool = False


class RunRecord(Record):
    """Everything a run found. Reports are drawn from this alone."""

    schema_version: Literal[2] = SCHEMA_VERSION
    config: FitConfig
    task: TaskRecord
    protocol: ProtocolRecord
    extraction: tuple[PassCost, ...]
    notes: tuple[str, ...] = ()
    trials: tuple[Trial, ...]
    chosen: Chosen
    test: Evaluation
    gain: dict[str, Gain]
    verdict: Verdict
    learning_curve: LearningCurve | None = None
    methods: tuple[MethodRecord, ...] = ()
    drift: tuple[Drift, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    map: tuple[MapPoint, ...] = ()
    carrying: tuple[Carrying, ...] = ()
    seconds: dict[str, float]
    seed: int
    device: str
    versions: dict[str, str]
    verified: str

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON-able data."""
        return self.model_dump(mode="json")
