"""Real text that is on every machine: the documentation strings of Python's standard library.

The source files are parsed, never imported, so reading them has no side effects. What is written
in C (``math``, ``itertools``, most of ``os``) has no source here and is left out.

How it is bounded: the well-known modules come first, with the methods of their classes; then the
modules and definitions of the rest, top-level modules before nested ones; after ``LIMIT`` rows it
ends. A docstring of more than ``LONGEST`` characters, about one in thirty, is cut after its last
paragraph before that.
"""

from __future__ import annotations

import ast
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT = 2000
SHORTEST = 40  # characters; below that a docstring says little more than its name
LONGEST = 1500

WELL_KNOWN = tuple(
    """
    subprocess os pathlib shutil tempfile json csv datetime calendar zoneinfo collections contextlib
    string difflib random statistics fractions threading queue concurrent socket selectors zipfile
    tarfile gzip pickle shelve argparse configparser ipaddress mimetypes sched graphlib urllib
    """.split()
)
# tests, tools, tables, what only Windows has, and tkinter, which some systems package separately
SKIPPED = frozenset(
    """
    test tests idlelib lib2to3 turtledemo tkinter distutils encodings ensurepip pydoc_data ntpath
    nturl2path
    """.split()
)
# files that hold what is imported under another name
PUBLIC_NAMES = {
    "posixpath": "os.path",
    "genericpath": "os.path",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class StdlibDoc:
    """One documented thing of the standard library.

    Attributes:
        name: As one would import it, ``subprocess.run``.
        kind: ``module``, ``class``, ``function``, ``method`` or ``property``.
        signature: As in the source, without ``self``: ``(args, *, check=False) -> None``.
        doc: The documentation string, its indentation removed; long ones shortened.
    """

    name: str
    kind: str
    signature: str
    doc: str


@dataclass(frozen=True)
class Module:
    """A source file and the name its contents are imported by."""

    name: str
    path: Path

    @property
    def top(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]

    @property
    def is_public(self) -> bool:
        """Whether no part of the name is private."""
        return all(map(_is_public, self.name.split(".")))


def read_stdlib_docs(limit: int = LIMIT, root: Path | None = None) -> Iterator[StdlibDoc]:
    """The documentation of the running Python's standard library, always in the same order.

    Args:
        limit: Most rows.
        root: The folder of the source files. Defaults to the running Python's own.

    Yields:
        Rows, each name once.
    """
    modules = _modules(root or Path(os.__file__).parent)
    return itertools.islice(_once(_all_docs(modules)), limit)


def _all_docs(modules: Sequence[Module]) -> Iterator[StdlibDoc]:
    for top in WELL_KNOWN:
        yield from _docs([module for module in modules if module.top == top], methods=True)
    rest = [module for module in modules if module.top not in WELL_KNOWN]
    yield from _docs(sorted(rest, key=lambda module: module.name.count(".")), methods=False)


def _once(docs: Iterator[StdlibDoc]) -> Iterator[StdlibDoc]:
    seen = set()
    for doc in docs:
        if doc.name not in seen:
            seen.add(doc.name)
            yield doc


def _modules(root: Path) -> list[Module]:
    """Every source file of the library, sorted by name; a package stands before its modules."""
    found = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts[0] in sys.stdlib_module_names and SKIPPED.isdisjoint(parts):
            name = ".".join(parts)
            found.append(Module(PUBLIC_NAMES.get(name, name), path))
    return sorted(found, key=lambda module: (module.name, module.path))


def _docs(modules: Sequence[Module], *, methods: bool) -> Iterator[StdlibDoc]:
    """Modules' documentation. What a package re-exports goes by the package's name."""
    exports: dict[tuple[str, str], str] = {}
    for module in modules:
        tree = ast.parse(module.path.read_bytes(), str(module.path))
        exports.update(_re_exports(module, tree))
        if module.is_public:
            yield from _documented(tree, module.name, "module", "")
        offered = _offered(tree)
        for definition in _definitions(tree.body):
            home = exports.get((module.name, definition.name))
            if home is None and definition.name in offered:
                home = exports.get((module.name, "*"))
            if home is None and module.is_public:
                home = module.name
            if home is not None:
                yield from _definition_docs(definition, home, methods=methods)


def _definition_docs(node: Definition, home: str, *, methods: bool) -> Iterator[StdlibDoc]:
    name = f"{home}.{node.name}"
    if isinstance(node, Function):
        yield from _documented(node, name, "function", _signature(node))
        return
    members = [one for one in _definitions(node.body) if isinstance(one, Function)]
    makers = [one for one in node.body if isinstance(one, Function) and one.name == "__init__"]
    yield from _documented(node, name, "class", _signature(makers[0], bound=True) if makers else "")
    for member in members if methods else ():
        decorators = {getattr(one, "id", "") for one in member.decorator_list}
        kind = "property" if decorators & {"property", "cached_property"} else "method"
        signature = _signature(member, bound="staticmethod" not in decorators)
        member_name = f"{name}.{member.name}"
        yield from _documented(member, member_name, kind, "" if kind == "property" else signature)


def _documented(
    node: ast.Module | Definition, name: str, kind: str, signature: str
) -> Iterator[StdlibDoc]:
    doc = (ast.get_docstring(node, clean=True) or "").strip()  # cleaned by inspect.cleandoc
    if len(doc) >= SHORTEST and "\0" not in doc:
        yield StdlibDoc(name, kind, signature, _shortened(doc))


def _shortened(doc: str) -> str:
    if len(doc) <= LONGEST:
        return doc
    head = doc[:LONGEST]
    return (head.rpartition("\n\n")[0] or head.rpartition("\n")[0] or head).rstrip()


def _definitions(body: Sequence[ast.stmt]) -> Iterator[Definition]:
    """Public classes and functions, those within ``if`` and ``try`` too."""
    for node in body:
        if isinstance(node, Definition):
            if _is_public(node.name):
                yield node
        elif isinstance(node, ast.If):
            yield from _definitions([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _definitions([*node.body, *handlers, *node.orelse, *node.finalbody])


def _signature(node: Function, *, bound: bool = False) -> str:
    arguments = node.args
    first = arguments.posonlyargs or arguments.args
    if bound and first:
        del first[0]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){returns}"


def _re_exports(module: Module, tree: ast.Module) -> dict[tuple[str, str], str]:
    """What a package imports from its own modules: (module, name or ``*``) to the package."""
    if module.path.name != "__init__.py":
        return {}
    return {
        (source, alias.name): module.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for source in [f"{module.name}.{node.module}" if node.level else node.module or ""]
        for alias in node.names
        if source.startswith(f"{module.name}.")
    }


def _offered(tree: ast.Module) -> frozenset[str]:
    """``__all__``, where it is written out."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            try:
                return frozenset(ast.literal_eval(node.value))
            except ValueError:
                return frozenset()
    return frozenset()


def _is_public(name: str) -> bool:
    return not name.startswith("_")
