"""Code of ours as it is written, for programs that run without the package."""

import ast
import inspect
from collections.abc import Collection, Iterator
from types import ModuleType


def definitions(module: ModuleType, left_out: Collection[str] = ()) -> Iterator[str]:
    """Yield the definitions of a module as they are written, without docstring and imports.

    What isn't written a second time can't drift apart from what is copied here.
    """
    source = inspect.getsource(module)
    lines = source.splitlines()
    for node in ast.parse(source).body:
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id if isinstance(target, ast.Name) else ""
        elif name is None:  # imports, the docstring
            continue
        if name in left_out:
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        yield "\n".join(lines[first - 1 : node.end_lineno])
