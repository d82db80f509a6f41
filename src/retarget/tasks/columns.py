"""Which column of a table is what: image or text, its label, and who may be judged beside whom."""

from collections.abc import Iterable, Mapping, Sequence

from retarget.core.errors import DataError
from retarget.core.text import listed, printable

ROLES = ("image", "text", "text_b", "label", "split", "group", "domain", "weight")
_ALSO: Mapping[str, tuple[str, ...]] = {
    "image": ("file_name", "filename", "image_path", "path", "file", "img"),
    "text": (
        "sentence",
        "review",
        "content",
        "document",
        "body",
        "comment",
        "tweet",
        "message",
        "utterance",
        "title",
        "tokens",
        "words",
    ),
    "label": ("labels", "target", "class"),
}
# Names of labels beside tokens, and of spans beside a text.
_TAGGED: Mapping[str, tuple[str, ...]] = dict.fromkeys(("tokens", "words"), ("tags", "ner_tags"))
_SPANS = ("spans", "entities")
# Names of the two texts of a pair; the second is one only beside the first.
_PAIRS = (
    ("text", "text_b"),
    ("text", "text2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
)


def find_columns(
    names: Sequence[str], asked: Mapping[str, str], repeated: Iterable[str] = ()
) -> dict[str, str]:
    """Return role → column, for the roles that are there.

    A role is filled by the column the user named; else by the one of that name, whatever its
    case; else, for image, text and label, by one with another usual name. The second text of a
    pair is known by its name and that of the first. Raises `DataError` for roles and columns that
    don't exist, and for a column that is there twice.
    """
    for role, column in asked.items():
        if role not in ROLES:
            raise DataError(
                f"There is no role {printable(role)!r} for a column. Choose from"
                f" {', '.join(ROLES)}."
            )
        if column not in names:
            raise DataError(
                f"There is no column {printable(column)!r} for {role}. The columns are"
                f" {listed(names)}."
            )
    lowered = {name.lower(): name for name in reversed(names)}
    found = dict(asked)
    for role in ROLES:
        if role not in found:
            usual = _usual(role, lowered, found)
            match = next((lowered[name] for name in usual if name in lowered), None)
            if match is not None and match not in asked.values():
                found[role] = match
    for role, column in found.items():
        if column in repeated:
            raise DataError(
                f"Two columns are named {printable(column)!r}, so which one is the {role} is not"
                " clear. Rename one."
            )
    return found


def _usual(role: str, lowered: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names, in lower case, that a column for a role may have, the best first."""
    if role == "text":
        pairs = tuple(a for a, b in _PAIRS if a in lowered and b in lowered)
        return ("text", *pairs, *_ALSO["text"])
    if role == "text_b":
        first = found.get("text", "").lower()
        return tuple(b for a, b in _PAIRS if a == first) if first else ()
    if role == "label" and "text" in found:
        return (role, *_ALSO[role], *_TAGGED.get(found["text"].lower(), ()), *_SPANS)
    return (role, *_ALSO.get(role, ()))


def without_texts(found: Mapping[str, str]) -> dict[str, str]:
    """Return the roles that matter for a table of images."""
    return {role: column for role, column in found.items() if role not in ("text", "text_b")}


def one_input(found: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """Return the roles of a table with images and texts: without images where texts were named."""
    if "text" in asked and "image" not in asked:
        return {role: column for role, column in found.items() if role != "image"}
    return dict(found)


def reads_texts(names: Sequence[str], asked: Mapping[str, str]) -> bool:
    """Whether a table is one of texts: it has such a column, and none of images that wins.

    A column of images wins unless the user named the one of texts.
    """
    if "image" in asked:
        return False
    if "text" in asked:
        return asked["text"] in names
    found = find_columns(names, {})
    return "text" in found and "image" not in found


def image_column(names: Sequence[str]) -> str | None:
    """Return the column that would be taken for the image, `None` where there is none."""
    return find_columns(names, {}).get("image")


def told(found: Mapping[str, str]) -> str:
    """Return which columns are used, as a clause; of images, that there are texts too."""
    both = "image" in found and "text" in found
    used = ", ".join(
        printable(column) if column == role else f"{printable(column)} (as {role})"
        for role, column in (without_texts(found) if both else found).items()
    )
    other = f"; for the texts in {printable(found['text'])} say --column text=" if both else ""
    return f"the columns used are {used}{other and other + printable(found['text'])}"


def no_image_column(what: str, names: Sequence[str]) -> DataError:
    """Return the error that says that no column holds images or texts, and which there are."""
    return DataError(
        f"{what} has no column named image or text. The columns are {listed(names)}. Name it with"
        " --column image=NAME or --column text=NAME (columns={'text': 'NAME'})."
    )
