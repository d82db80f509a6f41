"""Which column of a table is what: the image, its label, and who may be judged beside whom."""

from collections.abc import Iterable, Mapping, Sequence

from retarget.core.errors import DataError
from retarget.core.text import listed, printable

ROLES = ("image", "label", "split", "group", "domain", "weight")
_ALSO: Mapping[str, tuple[str, ...]] = {
    "image": ("file_name", "filename", "image_path", "path", "file", "img"),
    "label": ("labels", "target", "class"),
}


def find_columns(
    names: Sequence[str], asked: Mapping[str, str], repeated: Iterable[str] = ()
) -> dict[str, str]:
    """Return role → column, for the roles that are there.

    A role is filled by the column the user named; else by the one of that name, whatever its
    case; else, for image and label, by one with another usual name. Raises `DataError` for roles
    and columns that don't exist, and for a column that is there twice.
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
            usual = (role, *_ALSO.get(role, ()))
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


def image_column(names: Sequence[str]) -> str | None:
    """Return the column that would be taken for the image, `None` where there is none."""
    return find_columns(names, {}).get("image")


def told(found: Mapping[str, str]) -> str:
    """Return which columns are used, as a clause."""
    return "the columns used are " + ", ".join(
        printable(column) if column == role else f"{printable(column)} (as {role})"
        for role, column in found.items()
    )


def no_image_column(what: str, names: Sequence[str]) -> DataError:
    """Return the error that says that no column holds images, and which there are."""
    return DataError(
        f"{what} has no column named image. The columns are {listed(names)}. Name it with"
        " --column image=NAME (columns={'image': 'NAME'})."
    )
