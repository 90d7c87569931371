"""The rules of the house as functions of source files: each returns one line per violation, empty when all is well."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 60
ARGUMENTS = 8
CLONE_LINES = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the library, by its path below the package's folder."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def package(self) -> str:
        """The first folder (or the file itself) below the root package: `layers`, `systems`, `room`, ..."""
        return self.path.parts[0].removesuffix(".py")

    def walk(self, *kinds: type) -> Iterator:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{node.lineno}"


def library(root: Path) -> list[Source]:
    """Every file of the package at `root` that is shipped: tests and front-end folders are not."""
    skipped = {"tests", "node_modules"}
    paths = sorted(p.relative_to(root) for p in root.rglob("*.py"))
    return [Source(p, (root / p).read_text(encoding="utf-8")) for p in paths if not skipped & set(p.parts)]


# ------------------------------------------------------------------------------------------------------- sizes
def short_files(sources: list[Source]) -> list[str]:
    sizes = [(s, len(s.text.splitlines())) for s in sources]
    return [f"{s.path}: {n} lines, the budget is {FILE_LINES}" for s, n in sizes if n > FILE_LINES]


def short_functions(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        for node in source.walk(*Function.__args__):
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                found.append(f"{source.at(node)}: {node.name} has {lines} lines, the budget is {FUNCTION_LINES}")
    return found


def few_arguments(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        for node in source.walk(*Function.__args__):
            spec = node.args
            named = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
            count = len([name for name in named if name not in ("self", "cls")])
            if count > ARGUMENTS:
                found.append(f"{source.at(node)}: {node.name} takes {count} arguments, the budget is {ARGUMENTS}")
    return found


# ------------------------------------------------------------------------------------------------------ clones
class _Bare(ast.NodeTransformer):
    """Drops what does not change what a statement does: docstrings and annotations."""

    def _function(self, node: Function) -> Function:
        node.returns = None
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


@dataclass(frozen=True)
class _Statement:
    line: int
    lines: int
    digest: bytes
    is_import: bool


def _lines(statement: ast.stmt) -> int:
    """The lines of a statement; of a function those of its body, because each side of a contract says its signature."""
    first, last = statement, statement
    if isinstance(statement, Function):
        if not statement.body:
            return 0
        first, last = statement.body[0], statement.body[-1]
    return last.end_lineno - first.lineno + 1


def _blocks(tree: ast.Module) -> Iterator[list[_Statement]]:
    """Every list of statements of a file (a body, an else, ...), bare, with the digest of each statement's tree."""
    for node in ast.walk(_Bare().visit(tree)):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                yield [
                    _Statement(
                        line=s.lineno,
                        lines=_lines(s),
                        digest=hashlib.blake2b(ast.dump(s).encode(), digest_size=16).digest(),
                        is_import=isinstance(s, ast.Import | ast.ImportFrom),
                    )
                    for s in block
                ]


def _windows(block: list[_Statement]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """The shortest run of statements from each statement on that fills the budget of a clone; imports are none."""
    for first in range(len(block)):
        lines = 0
        for last in range(first, len(block)):
            if block[last].is_import:
                break
            lines += block[last].lines
            if lines >= CLONE_LINES:
                yield block[first].line, tuple(s.digest for s in block[first : last + 1])
                break


def no_clones(sources: list[Source]) -> list[str]:
    """Runs of statements of 8 or more lines whose syntax trees stand elsewhere too."""
    seen: dict[tuple[bytes, ...], tuple[Source, int]] = {}
    found, reported = [], {}
    for source in sources:
        for block in _blocks(ast.parse(source.text)):
            for line, window in _windows(block):
                first, first_line = seen.setdefault(window, (source, line))
                if (first, first_line) == (source, line):
                    continue
                pair = (first.path, source.path)
                if line - reported.get(pair, -CLONE_LINES) >= CLONE_LINES:
                    found.append(f"{source.path}:{line}: the same {CLONE_LINES}+ lines as {first.path}:{first_line}")
                reported[pair] = line
    return found


# ------------------------------------------------------------------------------------------------- inheritance
def _is_abstract(node: ast.ClassDef) -> bool:
    bases = " ".join(ast.unparse(b) for b in (*node.bases, *node.keywords))
    marks = [d for f in node.body if isinstance(f, Function) for d in f.decorator_list]
    return "ABC" in bases or "Protocol" in bases or any("abstractmethod" in ast.unparse(d) for d in marks)


def flat_inheritance(sources: list[Source]) -> list[str]:
    """Modules inherit from `nn.Module` or from an abstract class of ours: no concrete class has a subclass."""
    classes = {node.name: node for source in sources for node in source.walk(ast.ClassDef)}

    def is_module(name: str, depth: int = 0) -> bool:
        node = classes.get(name.rsplit(".", maxsplit=1)[-1])
        if node is None or depth > len(classes):
            return name.startswith(("nn.", "torch.nn."))
        return any(is_module(ast.unparse(base), depth + 1) for base in node.bases)

    found = []
    for source in sources:
        for node in source.walk(ast.ClassDef):
            for base in map(ast.unparse, node.bases):
                ours = classes.get(base.split(".")[-1])
                concrete = not _is_abstract(ours) if ours else base not in ("nn.Module", "torch.nn.Module")
                if is_module(base) and concrete:
                    found.append(f"{source.at(node)}: {node.name} inherits from the concrete {base}")
    return found


def plain_names(sources: list[Source]) -> list[str]:
    """Names say what a thing is; these say nothing."""
    vague = ("Manager", "Helper", "Handler", "Processor", "Mixin", "Utils")
    files = [
        f"{s.path}: a file's name says what it holds"
        for s in sources
        if {"utils", "misc", "helpers", "common"} & {part.removesuffix(".py") for part in s.path.parts}
    ]
    return files + [
        f"{source.at(node)}: {node.name} says nothing by its ending"
        for source in sources
        for node in source.walk(ast.ClassDef)
        if node.name.endswith(vague)
    ]


# ------------------------------------------------------------------------------------------ what is never said
def _calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    return ((node, ast.unparse(node.func)) for node in source.walk(ast.Call))


def no_swallowed_errors(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        for node in source.walk(ast.ExceptHandler):
            if node.type is None:
                found.append(f"{source.at(node)}: a bare except")
            elif len(node.body) == 1 and isinstance(node.body[0], ast.Pass):
                found.append(f"{source.at(node)}: an error is swallowed")
    return found


def no_pickle(sources: list[Source]) -> list[str]:
    """Nothing that runs what a file says: pickles and their relatives, outside `weights/`, which guards them."""
    modules = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = {"torch.load", "torch.save", "FileSystemReader", "dcp.FileSystemReader", "pd.read_pickle"}
    found = []
    for source in sources:
        if source.package == "weights":
            continue
        for node in source.walk(ast.Import):
            found += [f"{source.at(node)}: imports {a.name}" for a in node.names if a.name.split(".")[0] in modules]
        for node in source.walk(ast.ImportFrom):
            if (node.module or "").split(".")[0] in modules:
                found.append(f"{source.at(node)}: imports {node.module}")
            elif node.module == "torch":
                found += [
                    f"{source.at(node)}: imports torch.{a.name}" for a in node.names if f"torch.{a.name}" in calls
                ]
        for node, name in _calls(source):
            keywords = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
            if name in calls or keywords & {"allow_pickle", "trust_remote_code"}:
                found.append(f"{source.at(node)}: {ast.unparse(node)[:60]}")
    return found


def one_attend(sources: list[Source]) -> list[str]:
    """Scaled dot-product attention is named once, in `layers/attention.py`."""
    forbidden = "scaled_dot_product_attention"
    return [
        f"{source.at(node)}: call bottega.layers.attend"
        for source in sources
        if source.path != Path("layers/attention.py")
        for node in source.walk(ast.Attribute, ast.alias)
        if (node.attr if isinstance(node, ast.Attribute) else node.name) == forbidden
    ]


def no_guessing(sources: list[Source]) -> list[str]:
    """No `hasattr`, `eval`, `exec` or `globals`: what a thing is, its type says."""
    return [
        f"{source.at(node)}: {name}() is not used here"
        for source in sources
        for node, name in _calls(source)
        if name in {"hasattr", "eval", "exec", "globals", "locals", "__import__"}
    ]


def typed_kwargs(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        for node in source.walk(*Function.__args__):
            kwarg = node.args.kwarg
            if kwarg and (kwarg.annotation is None or ast.unparse(kwarg.annotation) in {"Any", "object"}):
                found.append(f"{source.at(node)}: {node.name} takes untyped **{kwarg.arg}")
    return found


def no_machine_paths(sources: list[Source]) -> list[str]:
    return [
        f"{source.at(node)}: {node.value[:40]!r} is a path of one machine"
        for source in sources
        for node in source.walk(ast.Constant)
        if isinstance(node.value, str) and node.value.startswith(("/tmp", "/home/", "/root", "/work", "/mnt/", "/opt/"))
    ]


def public_imports(sources: list[Source]) -> list[str]:
    """Another package is imported by its public names: `from bottega.layers import attend`, not from a file inside."""
    packages = {".".join(("bottega", *s.path.parent.parts)) for s in sources if s.path.name == "__init__.py"}
    found = []
    for source in sources:
        if source.package == "catalog":
            continue
        for node in source.walk(ast.ImportFrom, ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] != "bottega" or len(parts) < 3 or parts[1] == source.package or name in packages:
                    continue
                found.append(f"{source.at(node)}: import {name} by its package, {'.'.join(parts[:-1])}")
    return found


def heavy_imports(module: str, path: Path) -> list[str]:
    """What importing `module` from the folder `path` brings along that must wait until it is needed."""
    code = f"import sys, {module}; print(*sorted({{'torch', 'PIL', 'transformers', 'fastapi'}} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ImportError(f"{module}: {done.stderr.strip()}")
    return done.stdout.split()


RULES: tuple[Callable[[list[Source]], list[str]], ...] = (
    short_files,
    short_functions,
    few_arguments,
    no_clones,
    flat_inheritance,
    plain_names,
    no_swallowed_errors,
    no_pickle,
    one_attend,
    no_guessing,
    typed_kwargs,
    no_machine_paths,
    public_imports,
)
