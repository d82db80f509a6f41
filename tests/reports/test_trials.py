import math

from retarget.reports import trials
from retarget.runs.schema import RunRecord, Trial


def test_trials_are_ranked_by_loss(record: RunRecord) -> None:
    losses = [trial.loss for trial in trials.ranked(record)]
    assert losses == sorted(trial.loss for trial in record.trials)


def test_trial_without_a_loss_comes_last(record: RunRecord) -> None:
    lost = record.trials[0].model_copy(update={"loss": math.nan})
    changed = record.model_copy(update={"trials": (lost, *record.trials[1:])})
    assert trials.ranked(changed)[-1] is lost


def test_chosen_trial_is_shown_however_bad_it_is(record: RunRecord) -> None:
    worst = max(record.trials, key=lambda t: t.loss)
    chosen = record.chosen.model_copy(update={"members": (worst,)})
    others = tuple(t.model_copy(update={"chosen": False}) for t in record.trials)
    changed = record.model_copy(update={"chosen": chosen, "trials": others})
    shown, rest = trials.shown_first(changed, 5)
    assert len(shown) == 5
    assert [trials.is_chosen(changed, t) for t in shown] == [False] * 4 + [True]
    assert sorted([*shown, *rest], key=id) == sorted(changed.trials, key=id)


def test_best_of_every_source_is_its_least_loss(record: RunRecord) -> None:
    expected: dict[str, Trial] = {}
    for trial in record.trials:
        if trial.source not in expected or trial.loss < expected[trial.source].loss:
            expected[trial.source] = trial
    found = trials.best_by_source(record)
    assert {t.source: t for t in found} == expected
    assert [t.loss for t in found] == sorted(t.loss for t in found)


def _layers(record: RunRecord) -> list[list[str]]:
    return [[t.layers[0] for t in one.trials] for one in trials.by_layer(record)]


def test_layers_are_shallow_to_deep_in_whatever_order_they_were_recorded(
    record: RunRecord,
) -> None:
    deep = next(t.layers for t in record.trials if len(t.layers) > 2)
    average = record.trials[0].model_copy(
        update={"method": "average", "layers": deep[::-1], "source": record.trials[0].source}
    )
    for order in (1, -1):
        changed = record.model_copy(update={"trials": (average, *record.trials)[::order]})
        assert _layers(changed) == [list(deep)] * 4


def test_layers_stay_as_recorded_where_none_were_used_together(record: RunRecord) -> None:
    single = tuple(t for t in record.trials if len(t.layers) == 1)
    changed = record.model_copy(update={"trials": single})
    expected = {
        source: list(dict.fromkeys(t.layers[0] for t in single if t.source == source))
        for source in {t.source for t in single}
    }
    for one in trials.by_layer(changed):
        assert [t.layers[0] for t in one.trials] == expected[one.source]


def test_every_layer_is_shown_by_its_best_method(record: RunRecord) -> None:
    for one in trials.by_layer(record):
        mine = [t for t in record.trials if t.source == one.source and len(t.layers) == 1]
        for trial in one.trials:
            assert trial.loss == min(t.loss for t in mine if t.layers == trial.layers)
        assert one.best.loss == min(t.loss for t in mine)


def test_source_with_one_layer_has_no_line(records: dict[str, RunRecord]) -> None:
    assert trials.by_layer(records["bare"]) == ()


def test_layer_names_are_short() -> None:
    assert trials.layer_names(()) == "pixels"
    assert trials.layer_names(("head",)) == "head"
    assert trials.layer_names(("a", "b", "c")) == "3 layers: a … c"


def test_trainings_come_after_frozen_features_and_their_mean_last(
    records: dict[str, RunRecord],
) -> None:
    tuned = records["tuned"]
    rows = trials.with_trainings(tuned)
    frozen = trials.best_by_source(records["classification"])
    assert [(t.source, t.method) for t in rows[:4]] == [(t.source, t.method) for t in frozen]
    assert [t.method for t in rows[4:]] == ["finetune", "lora", "scratch", "mean"]
    assert trials.is_mixed(tuned)


def test_run_without_trainings_has_no_such_rows(record: RunRecord) -> None:
    assert trials.with_trainings(record) == ()
    assert not trials.is_mixed(record)


def test_trained_layer_is_no_layer_of_the_source(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    moved = tuple(
        t.model_copy(update={"layers": ("head",)}) if t.training else t for t in tuned.trials
    )
    changed = tuned.model_copy(update={"trials": moved})
    assert trials.by_layer(changed) == trials.by_layer(tuned)
    assert all(t.training is None for one in trials.by_layer(changed) for t in one.trials)


def test_trainings_are_shown_however_bad_they_are(records: dict[str, RunRecord]) -> None:
    shown, rest = trials.shown_first(records["tuned"], 10)
    assert sum(t.training is not None for t in shown) == 3
    assert not any(t.training for t in rest)
