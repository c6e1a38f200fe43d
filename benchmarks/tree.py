"""Draw the file tree of CONTRIBUTING.md again: each file with the first sentence it says of itself.

python benchmarks/tree.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
ROOMS = ("isoshare", "space", "evaluators", "storage", "search")
BESIDE = {
    "tests/": "one file a module; fakes.py runs a search in a moment; chaos/ kills",
    "benchmarks/": "the commands behind every figure in the docs",
    "examples/": "searches of many tasks, one short file each",
    "docs/": "pages, their pictures, a notebook, files for clusters",
}
WIDTH = 34


def first_sentence(file: Path) -> str:
    """What a file says of itself, up to its first full stop, colon of a list or semicolon."""
    text = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"\.(?: |$)|; ", text)[0]


def lines_of(folder: Path, depth: int) -> list[str]:
    """A folder with all below it, packages first the files, then the folders."""
    start = folder / "__init__.py"
    said = first_sentence(start) if start.exists() else ""
    found = [line(f"{folder.name}/", said, depth)]
    files = [f for f in folder.glob("*.py") if f.name != "__init__.py"]
    found += [line(file.name, first_sentence(file), depth + 1) for file in sorted(files)]
    inner = (
        f for f in folder.iterdir() if f.is_dir() and not f.is_symlink() and any(f.rglob("*.py"))
    )
    for one in sorted(inner):
        found += lines_of(one, depth + 1)
    return found


def line(name: str, said: str, depth: int) -> str:
    """One entry of the tree."""
    return f"{'  ' * depth + name:<{WIDTH}}{said}".rstrip()


def tree() -> str:
    """The whole tree as text."""
    found = [line("run_search.py", first_sentence(ROOT / "run_search.py"), 0)]
    for room in ROOMS:
        found += lines_of(ROOT / room, 0)
    return "\n".join([*found, *(line(name, said, 0) for name, said in BESIDE.items())]) + "\n"


def drawn(text: str) -> str:
    """A document with the tree in it drawn again."""
    return re.sub(
        r"(?<=^```\n)run_search\.py.*?(?=^```$)", lambda _: tree(), text, flags=re.S | re.M
    )


if __name__ == "__main__":
    CONTRIBUTING.write_text(drawn(CONTRIBUTING.read_text()))
