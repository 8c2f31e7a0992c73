"""The project's documents as tests read them: headings, links, words in backticks and examples, each with its place."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

PROJECT = Path(__file__).resolve().parents[2]
#: What is made here and belongs to nobody's reading.
_NOT_OURS = {"var", "node_modules", "staticfiles", "test-results", "__pycache__"}
_SHELLS = {"sh", "console", "bash"}
#: Without a suffix that tells.
_SOURCES = {"Makefile", ".env.example", "Dockerfile", "run"}


@dataclass(frozen=True)
class Found:
    """Something in a document. line: the first of the block that it stands in, from 1."""

    text: str
    line: int


@dataclass(frozen=True)
class Fence:
    """A fenced block. info: the word behind the fence, such as `sh`; empty for none."""

    info: str
    text: str
    line: int


@dataclass(frozen=True)
class Document:
    """One file. path: from the project's folder."""

    path: Path
    text: str

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def _inline(self, kind: str) -> Iterator[tuple[Token, int]]:
        for token in self._tokens:
            line = (token.map or [0])[0] + 1
            for child in token.children or []:
                if child.type == kind:
                    yield child, line

    @cached_property
    def links(self) -> list[Found]:
        """Where links and pictures lead."""
        links = [Found(str(token.attrs["href"]), line) for token, line in self._inline("link_open")]
        return links + [Found(str(token.attrs["src"]), line) for token, line in self._inline("image")]

    @cached_property
    def codes(self) -> list[Found]:
        """What stands in backticks."""
        return [Found(token.content, line) for token, line in self._inline("code_inline")]

    @cached_property
    def italics(self) -> list[Found]:
        """What stands between asterisks: names of buttons, pages and fields, and words said with stress."""
        found = []
        for block in self._tokens:
            children = block.children or []
            for at, child in enumerate(children):
                if child.type == "em_open":
                    end = next(i for i in range(at, len(children)) if children[i].type == "em_close")
                    text = "".join(each.content or " " for each in children[at + 1 : end])
                    found.append(Found(text, (block.map or [0])[0] + 1))
        return found

    @cached_property
    def fences(self) -> list[Fence]:
        return [
            Fence(token.info.strip(), token.content, (token.map or [0])[0] + 1)
            for token in self._tokens
            if token.type == "fence"
        ]

    @cached_property
    def commands(self) -> list[Found]:
        """Lines of shell examples, without comments and continued ones joined; and what stands in backticks."""
        found = list(self.codes)
        for fence in self.fences:
            if fence.info in _SHELLS:
                text = re.sub(r"\\\n\s*", " ", fence.text)
                lines = [re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ").strip() for line in text.splitlines()]
                found += [Found(line, fence.line) for line in lines if line]
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """What a `#…` may name: GitHub's rule."""
        seen: Counter[str] = Counter()
        anchors = set()
        for token, content in zip(self._tokens, self._tokens[1:], strict=False):
            if token.type == "heading_open":
                text = "".join(child.content for child in content.children or [])
                anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
                anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
                seen[anchor] += 1
        return anchors

    def section(self, heading: str) -> Document:
        """The part below a heading, down to the next one of its level or above. Raises: KeyError."""
        lines = self.text.splitlines(keepends=True)
        for token, content in zip(self._tokens, self._tokens[1:], strict=False):
            if token.type == "heading_open" and content.content == heading and token.map:
                level = len(token.markup)
                end = next(
                    (
                        other.map[0]
                        for other in self._tokens
                        if other.type == "heading_open"
                        and other.map
                        and other.map[0] > token.map[0]
                        and len(other.markup) <= level
                    ),
                    len(lines),
                )
                return Document(self.path, "".join(lines[token.map[0] + 1 : end]))
        raise KeyError(heading)

    def rows(self) -> list[list[str]]:
        """The rows of its tables, as Markdown, without their heads."""
        rows: list[list[str]] = []
        is_body = False
        for token in self._tokens:
            if token.type in {"tbody_open", "tbody_close"}:
                is_body = token.type == "tbody_open"
            elif is_body and token.type == "tr_open":
                rows.append([])
            elif is_body and token.type == "inline":
                rows[-1].append(token.content)
        return rows


def _is_ours(path: Path) -> bool:
    """Neither made here nor a folder of a tool, such as `.git` and `.venv`; `.ci` is ours."""
    return not _NOT_OURS & set(path.parts) and not any(
        part.startswith(".") and part != ".ci" for part in path.parts[:-1]
    )


@cache
def all_documents() -> tuple[Document, ...]:
    """Every Markdown file of the project."""
    files = sorted(
        path for path in PROJECT.rglob("*.md") if _is_ours(path.relative_to(PROJECT)) and not path.is_symlink()
    )
    return tuple(Document(path.relative_to(PROJECT), path.read_text(encoding="utf-8")) for path in files)


def read_document(path: str) -> Document:
    return next(document for document in all_documents() if str(document.path) == path)


def planted(text: str, *, path: str = "docs/planted.md") -> Document:
    """A document that a test made up, to see that a check finds what is wrong in it."""
    return Document(Path(path), text)


def code_words(text: str) -> list[str]:
    """What stands in backticks in a cell of a table."""
    return re.findall(r"`([^`]+)`", text)


@cache
def project_files() -> frozenset[str]:
    """Paths of all files and folders (with a slash at their end) of the project."""
    found = set()
    for path in PROJECT.rglob("*"):
        name = path.relative_to(PROJECT)
        if _is_ours(name):
            found.add(f"{name}/" if path.is_dir() else str(name))
    return frozenset(found)


@cache
def sources(*, tests: bool = True) -> str:
    """All that is written in the project beside its documents. tests: theirs too."""
    left_out = "tests/docs/" if tests else "tests/"
    names = [name for name in sorted(project_files()) if not name.startswith(left_out) and _is_source(PROJECT / name)]
    return "\n".join((PROJECT / name).read_text(encoding="utf-8", errors="replace") for name in names)


def _is_source(path: Path) -> bool:
    if not path.is_file() or path.suffix in {".md", ".png"}:
        return False
    kinds = {".py", ".js", ".css", ".json", ".html", ".toml", ".yaml", ".yml", ".sh", ".sql", ".service", ".txt"}
    return path.suffix in kinds or path.name in _SOURCES or "deploy" in path.relative_to(PROJECT).parts
