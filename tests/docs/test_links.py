"""Links of the documents lead somewhere, and their figures are whole."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

import pytest

from tests.docs.documents import PROJECT, Document, all_documents, planted, read_document

_PAIRS = {"]": "[", ")": "(", "}": "{"}


def dead_links(document: Document) -> list[str]:
    """Relative links whose file or heading is not there."""
    dead = []
    for link in document.links:
        if re.match(r"[a-z]+:", link.text):
            continue
        path, _, anchor = unquote(link.text).partition("#")
        target = PROJECT / os.path.normpath(document.path.parent / path) if path else PROJECT / document.path
        if path and not (target.exists() and target.is_relative_to(PROJECT)):
            dead.append(f"{document}:{link.line} {link.text}: no such file")
        elif anchor and anchor not in _anchors_of(document, path, os.path.relpath(target, PROJECT)):
            dead.append(f"{document}:{link.line} {link.text}: no such heading")
    return dead


def _anchors_of(document: Document, path: str, target: str) -> set[str]:
    return read_document(target).anchors if path else document.anchors


def broken_figures(document: Document) -> list[str]:
    """Mermaid fences that draw nothing, or whose brackets do not close."""
    broken = []
    for fence in document.fences:
        if fence.info != "mermaid":
            continue
        lines = [line for line in fence.text.splitlines() if line.strip()]
        if len(lines) < 2 or not re.match(r"(flowchart|sequenceDiagram|stateDiagram-v2|graph)\b", lines[0]):
            broken.append(f"{document}:{fence.line}: draws nothing")
        for at, line in enumerate(lines):
            if not _is_balanced(line):
                broken.append(f"{document}:{fence.line + at + 1}: brackets do not close: {line.strip()}")
        opened = sum(line.split()[0] == "subgraph" for line in lines)
        if opened != sum(line.strip() == "end" for line in lines):
            broken.append(f"{document}:{fence.line}: a subgraph does not end")
    return broken


def _is_balanced(line: str) -> bool:
    waiting: list[str] = []
    for sign in re.sub(r'"[^"]*"', "", line):
        if sign in _PAIRS.values():
            waiting.append(sign)
        elif sign in _PAIRS and (not waiting or waiting.pop() != _PAIRS[sign]):
            return False
    return not waiting


def open_fences(document: Document) -> list[str]:
    """Fences that are never closed: all that follows is an example."""
    fences = [line for line in document.text.splitlines() if re.match(r"\s*```", line)]
    return [f"{document}: a fence is open at its end"] if len(fences) % 2 else []


@pytest.mark.parametrize("document", all_documents(), ids=str)
def test_links_lead_somewhere(document: Document) -> None:
    assert dead_links(document) == []


@pytest.mark.parametrize("document", all_documents(), ids=str)
def test_figures_are_whole(document: Document) -> None:
    assert broken_figures(document) + open_fences(document) == []


def test_every_document_is_found_from_the_readme() -> None:
    """By its links, or by those of a document that it leads to."""
    known = {str(document) for document in all_documents()}
    reached, waiting = {"README.md"}, ["README.md"]
    while waiting:
        document = read_document(waiting.pop())
        for link in document.links:
            path = link.text.partition("#")[0]
            target = os.path.normpath(document.path.parent / path) if path else ""
            linked = {target} if target in known else {each for each in known if path and each.startswith(f"{target}/")}
            waiting += sorted(linked - reached)
            reached |= linked
    assert known - reached == set()


def test_faults_are_found() -> None:
    document = planted(
        "# One & two `three`\n\n# Again\n\n# Again\n\n[a](#one--two-three) [b](#again-1) [c](api.md)"
        " ![d](images/purchase.png)"
        " [e](https://telegram.org/#nowhere) [f](payment-process.md#states-of-an-order)\n"
    )
    assert dead_links(document) == []
    for link in ("nowhere.md", "#again-2", "payment-process.md#nowhere", "../../secret.md"):
        assert len(dead_links(planted(f"# Again\n\n[a]({link})"))) == 1, link
    for figure in (
        "flowchart LR\n",
        "flowchart LR\na[b --> c",
        "flowchart TB\nsubgraph x\na --> b",
        "nothing\na --> b",
    ):
        assert broken_figures(planted(f"```mermaid\n{figure}\n```")), figure
    assert broken_figures(planted('```mermaid\nflowchart LR\na["(b"] --> c([d])\n```')) == []
    assert open_fences(planted("```sh\nls\n"))
