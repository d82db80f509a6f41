"""What is wrong with tags that were read all the same: counted, with where the first stands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from retarget.core.text import count, printable
from retarget.tasks.tags import Scheme, broken, read_tag
from retarget.tasks.task import Problem


@dataclass
class TagFaults:
    """Tags of a data set that break its scheme, and what has not the form of a tag.

    Attributes:
        scheme: of all its tags.
        broken: where tags may not stand as they do, and these tags.
        formless: where there are no tags, and what there is.
    """

    scheme: Scheme
    broken: list[tuple[str, str]] = field(default_factory=list)
    formless: list[tuple[str, str]] = field(default_factory=list)

    def look_at(self, tags: Sequence[str], place: Callable[[int], str]) -> None:
        """Note what is wrong with the tags of one sentence; `place` says where the i-th stands."""
        if self.scheme == "plain":
            return
        self.broken += [(place(i), tags[i]) for i in broken(tags, self.scheme)]
        self.formless += [(place(i), tag) for i, tag in enumerate(tags) if read_tag(tag) is None]

    def problems(self) -> list[Problem]:
        """Return one problem for each kind of fault."""
        sorts = (
            (
                self.broken,
                f"that {self.scheme} does not allow where they stand",
                "Spans were read all the same: one begins at B, and at any tag that does not go on"
                " with an open span of its type.",
            ),
            (self.formless, f"that are no tags of {self.scheme}", "They were read as O."),
        )
        return [
            Problem(
                "bad-target",
                tuple(dict.fromkeys(where for where, _ in found)),
                f"{count(len(found), 'tag')} {what} (such as {printable(found[0][1], 40)},"
                f" {printable(found[0][0])}). {done}",
            )
            for found, what, done in sorts
            if found
        ]
