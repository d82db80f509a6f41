"""What words of a sentence look like: their letters, shapes, affixes and neighbours."""

import re
from collections.abc import Sequence

from retarget.tasks.words import Worded

AFFIXES = 4
NEIGHBOURS = (-2, -1, 1, 2)

_RUNS = re.compile(r"(.)\1+")


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Return, for each word of a sentence, the names of what is true of it.

    Its lower case, shape, prefixes and suffixes of 1 to 4 characters, capitals, digits and place;
    of neighbours up to two words away the lower case and shape, of the next ones on each side also
    the last three characters, and the pairs that words make with them. Each name occurs once.
    """
    lowered = [word.lower() for word in words]
    shapes = [_runs_cut(shape_of(word)) for word in words]
    return [_features(words, lowered, shapes, i) for i in range(len(words))]


def parts_of_words(text: Worded) -> list[list[str]]:
    """Return the features of every word of a text."""
    return word_features([text.text[start:end] for start, end in text.words])


def shape_of(word: str) -> str:
    """Return a word with X for capitals, x for other letters, 9 for digits: "U2's" → "X9'x"."""
    return "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word
    )


def _runs_cut(shape: str) -> str:
    """Return a shape with what is repeated once or more as twice: "Xxxxx" → "Xxx"."""
    return _RUNS.sub(r"\1\1", shape)


def _features(
    words: Sequence[str], lowered: Sequence[str], shapes: Sequence[str], at: int
) -> list[str]:
    word, low = words[at], lowered[at]
    found = ["bias", f"word={low}", f"shape={shapes[at]}", *_affixes(low), *_looks(word)]
    if at == 0:
        found.append("first")
    if at == len(words) - 1:
        found.append("last")
    for step in NEIGHBOURS:
        other = at + step
        if not 0 <= other < len(words):
            found.append(f"{step:+d}none")
            continue
        found += [f"{step:+d}word={lowered[other]}", f"{step:+d}shape={shapes[other]}"]
        if abs(step) == 1:
            found += [f"{step:+d}suffix={lowered[other][-3:]}", *_looks(words[other], f"{step:+d}")]
            found.append(f"{step:+d}both={low}\0{lowered[other]}")
    return list(dict.fromkeys(found))


def _affixes(low: str) -> list[str]:
    sizes = range(1, min(AFFIXES, len(low)) + 1)
    return [*(f"prefix={low[:k]}" for k in sizes), *(f"suffix={low[-k:]}" for k in sizes)]


def _looks(word: str, before: str = "") -> list[str]:
    """Return which of a few looks a word has."""
    looks = {
        "capital": word[:1].isupper(),
        "capitals": len(word) > 1 and word.isupper(),
        "capital inside": any(c.isupper() for c in word[1:]) and not word.isupper(),
        "digits": word.isdigit(),
        "digit": any(c.isdigit() for c in word),
        "no letter": not any(c.isalpha() for c in word),
        "hyphen": "-" in word,
        "mention": word.startswith("@"),
        "hashtag": word.startswith("#"),
        "link": word.lower().startswith(("http", "www.")),
    }
    return [before + name for name, there in looks.items() if there]
