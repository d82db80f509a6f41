import itertools
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retarget.core.text import printable
from retarget.evaluation.results import Estimate
from retarget.reports import drift, html, numbers
from retarget.runs.schema import RunRecord

VOID = {"meta", "img", "wbr", "br"}
KINDS = (
    "classification",
    "regression",
    "multilabel",
    "hostile",
    "bare",
    "many",
    "tuned",
    "texts",
    "tags",
)


class Page(HTMLParser):
    """Every tag and attribute of a page; checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def pages(records: dict[str, RunRecord], run_folder: Path) -> dict[str, str]:
    return {name: html.render(record, run_folder) for name, record in records.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_well_formed_and_asks_for_nothing(pages: dict[str, str], kind: str) -> None:
    page = Page(pages[kind])
    known = {name for name, _ in page.tags}
    assert not known & {"script", "link", "iframe", "object", "embed", "form", "base", "video"}
    assert not re.search(r"@import|url\(", pages[kind].split("</style>")[0])
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("href", "#").startswith("#")
        assert attrs.get("src", "data:image/").startswith("data:image/")


@pytest.mark.parametrize("kind", KINDS)
def test_headings_tables_pictures_and_links_are_accessible(
    pages: dict[str, str], kind: str
) -> None:
    page = Page(pages[kind])
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in attrs for attrs in page.all("th"))
    assert all(attrs.get("alt") for attrs in page.all("img"))
    pictures = page.all("svg")
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in pictures)
    here = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["href"][1:] for attrs in page.all("a")} <= here
    assert len(here) == sum("id" in attrs for _, attrs in page.tags)


def test_verdict_comes_first_in_words_and_a_sign(records: dict[str, RunRecord]) -> None:
    for kind, words in (
        ("classification", "✓ Transfer helps"),
        ("multilabel", "≈ Can't be told apart"),
        ("regression", "✗ Transfer hurts"),
    ):
        text = Page(html.render(records[kind])).text
        sentence = records[kind].verdict.sentence
        assert text.index(words) < text.index(sentence) < text.index("What transfer brought")
        assert text.index(sentence) < 400


def test_parts_come_in_the_order_in_which_they_matter(pages: dict[str, str]) -> None:
    found = [attrs["id"] for attrs in Page(pages["classification"]).all("section")]
    assert found == [
        "gain", "judged", "trials", "layers", "curve", "where", "map", "mistakes", "data", "cost",
        "again",
    ]  # fmt: skip


def test_trainings_add_their_parts(pages: dict[str, str]) -> None:
    found = [attrs["id"] for attrs in Page(pages["tuned"]).all("section")]
    assert found[:8] == [
        "gain", "judged", "methods", "robustness", "trials", "training", "changed", "layers",
    ]  # fmt: skip


def test_every_number_of_a_training_is_in_the_page(
    records: dict[str, RunRecord], pages: dict[str, str]
) -> None:
    record, text = records["tuned"], Page(pages["tuned"]).text
    for method in record.methods:
        assert numbers.estimate(method.score) in text
        assert method.gain is None or numbers.gain(method.gain) in text
        assert method.robustness is not None
        assert numbers.estimate(method.robustness.clean) in text
        assert numbers.kept(method.robustness.kept) in text
        for cell in method.robustness.cells if method.test else ():
            assert numbers.kept(cell.kept) in text
    for trial in record.trials:
        if trial.training:
            cost = trial.training.cost
            assert numbers.part_of(cost.trainable, cost.parameters) in text
            assert numbers.megabytes(cost.peak_megabytes) in text
            assert numbers.megabytes(cost.disk_megabytes) in text
            assert numbers.seconds(cost.step_seconds) in text
            assert trial.training.why in text
            assert all(numbers.score(mix.score) in text for mix in trial.training.mixes)
    for layer in record.drift[0].layers:
        assert layer.weights is None or drift.percent(layer.weights) in text
        assert layer.cka is None or numbers.score(layer.cka) in text


def test_page_says_that_a_training_judged_another_way_than_the_rest(
    pages: dict[str, str],
) -> None:
    said = "scored on the fold that their training held out"
    assert said in Page(pages["tuned"]).text
    assert said not in Page(pages["classification"]).text


def test_robustness_of_frozen_features_alone_is_shown(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    only = records["classification"].model_copy(update={"methods": tuned.methods[:1]})
    page = Page(html.render(only))
    found = [attrs["id"] for attrs in page.all("section")]
    assert "robustness" in found
    assert "methods" not in found


def test_methods_with_nothing_to_keep_are_dashes_and_said(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    bare = tuple(
        m.model_copy(update={"robustness": replace(m.robustness, kept=None)}) for m in tuned.methods
    )
    text = Page(html.render(tuned.model_copy(update={"methods": bare}))).text
    assert "lead over guessing can't be told from none" in text
    assert "Share kept under corruption against" not in text


def test_parts_without_content_are_left_out(pages: dict[str, str]) -> None:
    found = [attrs["id"] for attrs in Page(pages["bare"]).all("section")]
    assert found == ["gain", "judged", "trials", "data", "cost", "again"]
    assert "None: everything could be read and used." in Page(pages["bare"]).text


def test_every_measured_number_is_in_the_page(record: RunRecord, pages: dict[str, str]) -> None:
    text = Page(pages["classification"]).text
    for measured in record.test.metrics.values():
        assert numbers.estimate(measured) in text
    for gain in record.gain.values():
        assert numbers.gain(gain) in text
        assert numbers.score(gain.denominator_score) in text
    calibration, curve = record.test.calibration, record.learning_curve
    assert calibration is not None
    assert curve is not None
    for measured in (calibration.before, calibration.after, *(p.score for p in curve.points)):
        assert numbers.estimate(measured) in text
    for part in (*record.test.per_class, *record.test.per_domain, *record.test.per_group):
        assert part.name in text
    for version in record.versions.values():
        assert version in text


def test_no_trial_is_lost(record: RunRecord, pages: dict[str, str]) -> None:
    text = Page(pages["classification"]).text
    for trial in record.trials:
        assert numbers.with_error(trial.loss, trial.loss_se) in text
    assert "20 of 72 trials" in text
    assert "52 more trials" in text
    many = Page(pages["many"]).text
    assert "20 of 1,008 trials" in many
    assert "580 more trials" in many
    assert "408 trials not listed here" in many


def test_problems_are_counted_and_named(record: RunRecord, pages: dict[str, str]) -> None:
    text = Page(pages["classification"]).text
    for problem in record.task.problems:
        assert problem.what in text
        assert all(place in text for place in problem.where)
    assert "Duplicates 64 pictures, 64 left out" in text
    assert "50 of 64 named" in text


def test_hostile_text_is_shown_as_text(
    pages: dict[str, str], hostile_names: tuple[str, ...]
) -> None:
    page = Page(pages["hostile"])
    for name in hostile_names:
        assert " ".join(printable(name).split()) in page.text
    assert "{{7*7}}" in page.text


@pytest.mark.parametrize("kind", KINDS)
def test_page_holds_no_control_or_direction_characters(pages: dict[str, str], kind: str) -> None:
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", pages[kind]
    )


def test_pictures_are_embedded_and_missing_ones_said(record: RunRecord, run_folder: Path) -> None:
    assert len(Page(html.render(record, run_folder)).all("img")) == 8
    without = Page(html.render(record))
    assert without.all("img") == []
    assert without.text.count("no picture") == 9


def test_picture_outside_the_run_directory_is_not_shown(
    record: RunRecord, run_folder: Path
) -> None:
    inner = run_folder / "pictures"
    moved = tuple(m.model_copy(update={"picture": "../pictures/0.png"}) for m in record.mistakes)
    page = html.render(record.model_copy(update={"mistakes": moved}), inner)
    assert Page(page).all("img") == []


def test_numbers_that_are_missing_are_dashes(record: RunRecord) -> None:
    nothing = Estimate(math.nan, math.nan, math.nan)
    test = replace(record.test, metrics=dict.fromkeys(record.test.metrics, nothing))
    lost = record.trials[0].model_copy(
        update={"loss": math.nan, "score": math.nan, "seconds": math.nan}
    )
    changed = record.model_copy(update={"test": test, "trials": (lost, *record.trials[1:])})
    text = Page(html.render(changed)).text
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_page_is_the_same_every_time(record: RunRecord, run_folder: Path) -> None:
    assert html.render(record, run_folder) == html.render(record, run_folder)


def test_record_that_went_through_its_file_draws_the_same_page(
    records: dict[str, RunRecord],
) -> None:
    for record in records.values():
        again = RunRecord.model_validate_json(record.model_dump_json())
        assert html.render(again) == html.render(record)


def test_write_puts_the_page_where_it_is_asked(
    record: RunRecord, run_folder: Path, tmp_path: Path
) -> None:
    page = html.render(record, run_folder)
    for destination, expected in (
        (tmp_path, tmp_path / "report.html"),
        (tmp_path / "new" / "page.html", tmp_path / "new" / "page.html"),
    ):
        assert html.write(record, run_folder, destination) == expected
        assert expected.read_text(encoding="utf-8") == page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "report.html"]


def test_failed_write_leaves_the_old_page(record: RunRecord, tmp_path: Path) -> None:
    old = tmp_path / "report.html"
    old.write_text("old")
    broken = record.model_copy(update={"verdict": replace(record.verdict, sentence=object())})
    broken = broken.model_copy(update={"test": None})
    with pytest.raises(AttributeError):
        html.write(broken, None, old)
    assert old.read_text() == "old"


def test_lone_surrogates_in_names_are_written_as_escapes(record: RunRecord, tmp_path: Path) -> None:
    task = record.task.model_copy(update={"name": "bad\udcff name"})
    path = html.write(record.model_copy(update={"task": task}), None, tmp_path / "r.html")
    assert "bad\\udcff name" in path.read_text(encoding="utf-8")


def test_texts_of_mistakes_stand_where_there_is_no_picture(
    records: dict[str, RunRecord], pages: dict[str, str]
) -> None:
    page = Page(pages["texts"])
    assert "no picture" not in page.text
    assert records["texts"].mistakes[0].text in page.text
    assert "confidence 0.99" in page.text


def test_tagging_is_told_in_entities_sentences_and_words(pages: dict[str, str]) -> None:
    page = Page(pages["tags"])
    for said in (
        "1,000 sentences, 18,000 words · 3 types of entities",
        "Entity F1",
        "on 300 sentences that chose nothing",
        "By type of entity worst first",
        "Entities seen before, and others",
        "counts of entities whose words were found",
        "of words",
        "labelled sentences (log scale)",
        "a CRF on words",
        "Ada Lovelace person",
        "London location, missed",
        "1 right, 2 missed, 1 wrong",
    ):
        assert said in page.text
    assert "map" not in {attrs.get("id") for _, attrs in page.tags}
    marks = {attrs["class"] for attrs in page.all("mark")}
    assert marks == {"right", "missed", "wrong", "wrong missed"}


def test_words_of_both_ways_stand_side_by_side_and_how_they_were_measured_is_said(
    records: dict[str, RunRecord], pages: dict[str, str]
) -> None:
    page = Page(pages["texts"])
    assert "words" in {attrs["id"] for attrs in page.all("section")}
    assert "Transferred Adds Texts TF-IDF Adds Texts stunning +0.90 1 stunning +3.1 1" in (
        page.text
    )
    assert "before texts are scaled to one length" in page.text
    assert "2 more classes" in page.text
    assert "words" not in {attrs["id"] for attrs in Page(pages["tags"]).all("section")}


def test_sizes_stay_in_their_order(pages: dict[str, str]) -> None:
    text = Page(pages["texts"]).text
    assert text.index("length 3 to 40 characters") < text.index("length 41 to 90 characters")
    assert "By size" in text
