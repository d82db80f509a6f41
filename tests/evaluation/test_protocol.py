"""Who may choose and who may judge."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError
from retarget.core.types import Kind
from retarget.evaluation.protocol import ENOUGH_FOR_HOLD_OUT, inner_folds, plan, unfolded
from retarget.tasks.task import Examples, Task
from retarget.tasks.unfold import unfold
from retarget.tasks.words import Span, Worded


def task_of(
    targets: np.ndarray,
    splits: list[str] | None = None,
    groups: list[str] | None = None,
    ids: list[str] | None = None,
) -> Task:
    n = len(targets)
    examples = Examples(
        ids=np.array(ids or [f"{i:032x}" for i in range(n)]),
        names=tuple(f"{i}.png" for i in range(n)),
        inputs={"image": [None] * n},
        targets=np.asarray(targets, dtype=np.int64),
        splits=np.array(splits or [""] * n),
        groups=np.array(groups or [""] * n),
        domains=np.array([""] * n),
        weights=np.ones(n),
    )
    return Task("task", {"image": "image"}, "classification", ("a", "b"), examples)


def test_a_given_test_split_judges_and_chooses_nothing() -> None:
    task = task_of([0, 1] * 20, ["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    protocol = plan(task)
    assert protocol.mode == "hold-out"
    assert protocol.judging.tolist() == list(range(30, 40))
    assert protocol.choosing.tolist() == list(range(30))


def test_what_becomes_of_a_validation_split_beside_a_test_split_is_said() -> None:
    both = task_of([0, 1] * 20, ["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    assert "its validation split among it" in plan(both).why
    bare = task_of([0, 1] * 20, ["train"] * 30 + ["test"] * 10)
    assert plan(bare).why == "the data's own test split judges; all else may choose."


def test_a_validation_split_judges_where_there_is_no_test_split() -> None:
    protocol = plan(task_of([0, 1] * 10, ["train"] * 12 + ["val"] * 8))
    assert protocol.judging.tolist() == list(range(12, 20))
    assert "validation" in protocol.why


def test_few_labels_are_cross_fitted_and_all_judge_once() -> None:
    protocol = plan(task_of([0, 1] * 25))
    assert protocol.mode == "cross-fitting"
    seen = np.concatenate([places for _, places in protocol.rounds()])
    assert sorted(seen) == list(range(50))
    for rows, places in protocol.rounds():
        assert not set(rows) & set(protocol.judging[places])


def test_many_labels_are_held_out_once() -> None:
    protocol = plan(task_of(np.arange(ENOUGH_FOR_HOLD_OUT) % 2))
    assert protocol.mode == "hold-out"
    share = len(protocol.judging) / ENOUGH_FOR_HOLD_OUT
    assert 0.2 < share < 0.3


def test_unlabelled_examples_neither_choose_nor_judge() -> None:
    targets = np.array([0, 1] * 10 + [-1] * 7)
    protocol = plan(task_of(targets))
    assert set(protocol.judging) == set(range(20))


def test_training_copies_of_test_pictures_are_not_learned_from() -> None:
    ids = [f"{i:032x}" for i in range(20)]
    ids[0] = ids[19]
    protocol = plan(task_of([0, 1] * 10, ["train"] * 14 + ["test"] * 6, ids=ids))
    assert 0 not in protocol.choosing
    assert 19 in protocol.judging
    assert protocol.leaks == "1 copy of judging examples left out."
    assert plan(task_of([0, 1] * 10, ["train"] * 14 + ["test"] * 6)).leaks == ""
    kept = plan(task_of([0, 1] * 10, ["train"] * 14 + ["test"] * 6, ids=ids), keep_leaks=True)
    assert 0 not in kept.choosing


def test_what_a_given_split_parts_from_a_judging_example_is_not_learned_from_unless_asked() -> None:
    groups = [""] * 24
    groups[2] = groups[3] = groups[20] = "patient"  # 20 judges
    groups[4] = groups[5] = "other"  # none of these does
    task = task_of([0, 1] * 12, ["train"] * 14 + ["val"] * 4 + ["test"] * 6, groups=groups)
    # 7 looks like 22, which judges, 8 like 7, and 9 like 10.
    near = np.array([[7, 22], [8, 7], [9, 10]])
    protocol = plan(task, near=near)
    assert sorted(set(range(18)) - set(protocol.choosing.tolist())) == [2, 3, 7, 8]
    assert protocol.leaks.startswith("4 examples left out: nearly equal")
    kept = plan(task, near=near, keep_leaks=True)
    assert kept.choosing.tolist() == list(range(18))
    assert kept.leaks.startswith("4 examples learned from (--keep-leaks)")
    again = plan(task_of([0, 1] * 12, groups=groups), kept=frozenset([f"{20:032x}"]), near=near)
    assert not {2, 3} & set(again.choosing.tolist())


def test_a_split_that_leaves_nothing_to_learn_from_says_what_to_do() -> None:
    task = task_of([0, 1] * 8, ["train"] * 10 + ["test"] * 6, groups=["a", "b", "c", "d"] * 4)
    with pytest.raises(DataError, match=r"10 examples left out.* --keep-leaks\.$"):
        plan(task)
    assert len(plan(task, keep_leaks=True).choosing) == 10


def test_examples_that_judged_before_judge_again() -> None:
    task = task_of([0, 1] * 30)
    kept = frozenset(map(str, task.examples.ids[5:15]))
    protocol = plan(task, kept=kept)
    assert protocol.judging.tolist() == list(range(5, 15))


def test_folds_that_judged_before_stay_and_new_examples_are_dealt_to_them() -> None:
    task = task_of([0, 1] * 30)
    before = plan(task, folds=4)
    grown = task_of([0, 1] * 45, ids=[*map(str, task.examples.ids), *(f"n{i}" for i in range(30))])
    dealt = np.concatenate([before.folds, np.full(30, -1)])
    protocol = plan(grown, folds=4, seed=7, dealt=dealt)
    assert protocol.mode == "cross-fitting"
    np.testing.assert_array_equal(protocol.folds[:60], before.folds)
    for fold in range(4):
        new = protocol.folds[60:] == fold
        assert 6 <= new.sum() <= 9
        assert abs(new[::2].sum() - new[1::2].sum()) <= 2
    assert "60 judge in the fold of the earlier run" in protocol.why


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_folds_of_before_hold_for_any_groups_and_any_order(data: st.DataObject) -> None:
    n = data.draw(st.integers(12, 40))
    groups = [f"g{data.draw(st.integers(0, 9))}" for _ in range(n)]
    groups[:3] = ["x", "y", "z"]
    task = task_of(np.arange(n) % 2, groups=groups)
    old = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    old[:3] = True
    # Of some groups a part is new: it goes where the group is.
    before = plan(task, folds=3, seed=data.draw(st.integers(0, 9)))
    dealt = np.where(old, before.folds, -1)
    here = plan(task, folds=3, seed=5, dealt=dealt)
    same = before.folds[old][:, None] == before.folds[old][None, :]
    np.testing.assert_array_equal(here.folds[old][:, None] == here.folds[old][None, :], same)
    for group in set(groups):
        assert len({int(f) for f, g in zip(here.folds, groups, strict=True) if g == group}) == 1
    order = np.array(data.draw(st.permutations(range(n))))
    there = plan(task.take(order), folds=3, seed=5, dealt=dealt[order])
    np.testing.assert_array_equal(there.folds, here.folds[order])


def test_a_unit_that_has_grown_together_goes_where_most_of_it_judged() -> None:
    task = task_of([0, 1] * 12)
    before = plan(task, folds=3)
    first, other = (np.flatnonzero(before.folds == fold) for fold in (0, 1))
    near = np.array([[first[0], first[1]], [first[1], other[0]]])
    protocol = plan(task, dealt=before.folds, near=near)
    moved = np.flatnonzero(protocol.folds != before.folds)
    assert moved.tolist() == [other[0]]
    assert protocol.folds[other[0]] == 0


def test_an_earlier_run_that_cannot_say_who_judges_is_refused() -> None:
    task = task_of([0, 1] * 12)
    none = np.full(24, -1)
    for earlier in ({"dealt": none}, {"kept": frozenset(["gone"])}):
        with pytest.raises(DataError, match="none of the examples that judged the earlier run"):
            plan(task, **earlier)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="judged in one fold"):
        plan(task, dealt=np.zeros(24, dtype=np.int64))
    split = task_of([0, 1] * 12, ["train"] * 18 + ["test"] * 6)
    with pytest.raises(DataError, match="both say who judges"):
        plan(split, dealt=np.arange(24) % 3)


def test_near_duplicates_are_never_divided() -> None:
    near = np.array([[0, 1], [1, 7], [3, 9]])
    protocol = plan(task_of([0, 1] * 10), near=near)
    for a, b in near:
        assert protocol.folds[a] == protocol.folds[b]
        assert protocol.units[a] == protocol.units[b]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=12, max_size=60), st.integers(0, 99))
def test_a_group_is_never_divided_outside_or_inside(groups: list[int], seed: int) -> None:
    names = [f"g{g}" for g in groups]
    if len(set(names)) < 3:
        names[:3] = ["x", "y", "z"]
    task = task_of(np.arange(len(names)) % 2, groups=names)
    protocol = plan(task, seed=seed)
    for rows, places in protocol.rounds():
        here = {names[i] for i in rows}
        there = {names[protocol.judging[p]] for p in places}
        assert not here & there
        inner = inner_folds(task, rows, protocol)
        for name in here:
            assert len({inner[k] for k, i in enumerate(rows) if names[i] == name}) == 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1_000), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_the_order_of_rows(seed: int, random: "st.random") -> None:
    task = task_of([0, 1, 1] * 8)
    order = np.array(random.sample(range(24), 24))
    here, there = plan(task, seed=seed), plan(task.take(order), seed=seed)
    same = here.folds[order][:, None] == here.folds[order][None, :]
    np.testing.assert_array_equal(same, there.folds[:, None] == there.folds[None, :])


def test_too_few_labels_are_refused_in_a_sentence() -> None:
    with pytest.raises(DataError, match="3 labelled examples"):
        plan(task_of([0, 1, 0]))
    with pytest.raises(DataError, match="at least two classes"):
        plan(task_of([0] * 8))
    one_left = task_of([0] * 8 + [1] * 8, ["train"] * 8 + ["test"] * 8)
    with pytest.raises(DataError, match="'a'"):
        plan(replace(one_left, name="split"))


def test_groups_too_few_to_learn_choose_and_judge_are_refused() -> None:
    for groups in (["g"] * 24, ["g", "h"] * 12):
        with pytest.raises(DataError, match="at least 3 are needed"):
            plan(task_of([0, 1] * 12, groups=groups))
    many = ENOUGH_FOR_HOLD_OUT // 2
    with pytest.raises(DataError, match="at least 3 are needed"):
        plan(task_of([0, 1] * many, groups=["g", "h"] * many))
    with pytest.raises(DataError, match="at least 2 are needed"):
        plan(task_of([0, 1] * 8, ["train"] * 12 + ["test"] * 4, groups=["g"] * 12 + ["h"] * 4))
    assert plan(task_of([0, 1, 1, 0] * 6, groups=["g", "g", "h", "i"] * 6)).rounds()


@pytest.mark.parametrize(("kind", "alike"), [("regression", 3.5), ("multilabel", [1, 1])])
def test_targets_all_alike_are_refused(kind: Kind, alike: float | list[int]) -> None:
    task = task_of([0] * 24)
    examples = replace(task.examples, targets=np.array([alike] * 24, dtype=np.float64))
    with pytest.raises(DataError, match="nothing to tell apart"):
        plan(replace(task, kind=kind, examples=examples))


def tagging_of(labels: list[str | None]) -> Task:
    """Sentences of two words, with a span of the label on the first; "" for none."""
    targets = np.empty(len(labels), dtype=object)
    for row, label in enumerate(labels):
        targets[row] = None if label is None else ((Span(0, 1, label),) if label else ())
    task = task_of([0] * len(labels))
    texts = [Worded(f"x {row}", ((0, 1), (2, 2 + len(str(row))))) for row in range(len(labels))]
    examples = replace(task.examples, targets=targets, inputs={"text": texts})
    return replace(
        task, kind="tagging", classes=("a", "b"), inputs={"text": "text"}, examples=examples
    )


def test_sentences_judge_whole_and_their_words_with_them() -> None:
    task = tagging_of(["a", "b", "", None] * 10)
    protocol = plan(task)
    assert protocol.mode == "cross-fitting"
    assert "30 labelled sentences are few" in protocol.why
    words = unfold(task)
    of_words = unfolded(protocol, words.sentences)
    assert len(of_words.judging) == 60
    for rows, places in of_words.rounds():
        inner = inner_folds(words.task, rows, of_words)
        for sentence in np.unique(words.sentences[rows]):
            assert len(set(inner[words.sentences[rows] == sentence])) == 1
        judged = words.sentences[of_words.judging[places]]
        assert not set(judged) & set(words.sentences[rows])


def test_sentences_of_one_kind_can_be_learned_from_but_not_those_without_a_span() -> None:
    assert plan(tagging_of(["a"] * 8)).mode == "cross-fitting"
    with pytest.raises(DataError, match="No labelled sentence of task to learn from holds a span"):
        plan(tagging_of(["", None] * 8))
    with pytest.raises(DataError, match="3 labelled sentences to learn from"):
        plan(tagging_of(["a"] * 3))
    with pytest.raises(DataError, match="holds a span"):
        plan(unfold(tagging_of([""] * 8)).task)
