"""What examples are called: a picture, a text, a sentence; and what of them is judged."""

from retarget.core.text import count
from retarget.runs.schema import TaskRecord
from retarget.tasks.modalities import LOADERS


def example(task: TaskRecord) -> str:
    """Return what one example is called, in the singular."""
    if task.kind == "tagging":
        return "sentence"
    found = set(task.inputs.values())
    names = [loader.noun for modality, loader in LOADERS.items() if modality in found]
    return names[0] if names and len(found) == 1 else "example"


def row(task: TaskRecord) -> str:
    """Return what is learned and judged one by one: of a sentence its words."""
    return "word" if task.kind == "tagging" else example(task)


def how_many(task: TaskRecord) -> str:
    """Return how many examples there are: `612 pictures`; `1,000 sentences, 18,000 words`."""
    told = count(task.examples, example(task))
    return f"{told}, {count(task.words, 'word')}" if task.words else told


def classes(task: TaskRecord) -> str:
    """Return how many classes there are: `12 classes`, `6 types of entities`; "" for numbers."""
    if task.kind == "regression":
        return ""
    if task.kind == "tagging":
        return count(len(task.classes), "type of entities", "types of entities")
    return count(len(task.classes), "class", "classes")
