from retarget.reports.problems import grouped
from retarget.runs.schema import ProblemRecord, RunRecord


def _problem(kind: str, examples: int, left_out: bool = False) -> ProblemRecord:
    return ProblemRecord(kind=kind, what=".", where=(), examples=examples, left_out=left_out)


def test_problems_are_grouped_by_kind_with_the_largest_first() -> None:
    groups = grouped([_problem("leak", 2), _problem("duplicate", 5, True), _problem("leak", 4)])
    assert [(len(g.problems), g.examples, g.left_out) for g in groups] == [(2, 6, 0), (1, 5, 5)]


def test_no_problem_is_lost(record: RunRecord) -> None:
    groups = grouped(record.task.problems)
    assert sum(len(g.problems) for g in groups) == len(record.task.problems)
    assert grouped(()) == ()


def test_kind_of_a_later_version_is_shown_by_its_own_name() -> None:
    assert grouped([_problem("odd-colours", 1)])[0].title == "odd colours"
