import math
from dataclasses import replace

from retarget.evaluation.results import Estimate, Evaluation, Part
from retarget.reports import parts


def _part(name: str, **values: float) -> Part:
    return Part(name, 10, {k: Estimate(v, v - 0.1, v + 0.1) for k, v in values.items()})


TEST = Evaluation(
    "accuracy",
    True,
    30,
    {},
    per_class=(_part("a", f1=0.2, accuracy=0.9), _part("b", accuracy=0.5), _part("c", f1=0.1)),
)


def test_worst_part_comes_first_and_unmeasured_last() -> None:
    (table,) = parts.tables(TEST)
    assert [p.name for p in table.shown] == ["b", "a", "c"]
    assert table.metrics == ("accuracy", "f1")
    assert table.main == "accuracy"


def test_worst_is_the_largest_where_lower_is_better() -> None:
    (table,) = parts.tables(replace(TEST, higher_is_better=False))
    assert [p.name for p in table.shown] == ["a", "b", "c"]


def test_order_is_kept_where_the_headline_was_not_measured() -> None:
    (table,) = parts.tables(replace(TEST, metric="auroc"))
    assert [p.name for p in table.shown] == ["a", "b", "c"]
    assert table.main == "f1"


def test_scale_holds_every_interval() -> None:
    (table,) = parts.tables(TEST)
    assert table.low < 0.4
    assert table.high > 1.0


def test_every_part_is_shown_folded_or_counted() -> None:
    many = tuple(_part(f"{i}", accuracy=i / 100) for i in range(100))
    (table,) = parts.tables(replace(TEST, per_class=(), per_group=many), shown=10, most=60)
    assert (len(table.shown), len(table.rest), table.uncounted) == (10, 50, 40)
    assert [p.name for p in (*table.shown, *table.rest)] == [str(i) for i in range(60)]


def test_domains_come_first_and_empty_tables_not_at_all() -> None:
    part = (_part("x", accuracy=0.5),)
    titles = [t.noun for t in parts.tables(replace(TEST, per_domain=part, per_group=part))]
    assert titles == ["domain", "class", "group"]
    assert parts.tables(replace(TEST, per_class=())) == ()


def test_parts_without_any_metric_make_a_table_all_the_same() -> None:
    nothing = Part("x", 3, {"accuracy": Estimate(math.nan, math.nan, math.nan)})
    (table,) = parts.tables(replace(TEST, per_class=(nothing, Part("y", 1, {}))))
    assert [p.name for p in table.shown] == ["x", "y"]


def test_types_of_entities_are_sorted_by_f1_and_seen_ones_come_first() -> None:
    types = (_part("a", precision=0.9, f1=0.8), _part("b", precision=0.1, f1=0.2), _part("c"))
    novelty = (_part("seen", recall=0.9), _part("unseen", recall=0.3))
    test = replace(TEST, metric="entity_f1", per_class=types, per_novelty=novelty)
    by_type, seen = parts.tables(test, "tagging")
    assert [p.name for p in by_type.shown] == ["b", "a", "c"]
    assert (by_type.main, by_type.counted, by_type.note) == ("f1", "entities", "worst first")
    assert [p.name for p in seen.shown] == ["seen", "unseen"]
    assert seen.note == ""
