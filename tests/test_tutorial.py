"""The tutorial, as its reader walks through it: the files that it shows, its commands, and what they print."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import pages

_SERVES = re.compile(r"^(?:rowseal serve|uvicorn)\b.*?(?: --port (\d+))?$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(600)  # some thirty programs, one after the other
def test_every_command_of_the_tutorial_prints_what_the_page_shows(tmp_path: Path) -> None:
    """From a database to a served API, in one folder. Servers get other ports, so that two walks can go side by side."""
    ports: dict[str, str] = {}
    walked = []
    with ExitStack() as servers:
        for fence in pages.fences("docs/tutorial.md"):
            if fence.language == "sh" and (serves := _SERVES.match(fence.text)):
                shown, port = serves[1] or "8000", pages.free_port()
                ports[f"localhost:{shown}"] = f"localhost:{port}"
                command = fence.text.strip().removesuffix(f" --port {shown}")
                servers.enter_context(pages.server(f"{command} --port {port}", tmp_path, port))
                walked.append(fence.text)
                continue
            command = fence.text
            for shown, used in ports.items():
                command = command.replace(shown, used)
            printed = pages.follow(replace(fence, text=command), tmp_path)
            if printed is not None:
                assert pages.resembles(printed, fence.shows or ""), f"{fence.text}\nprinted\n\n{printed}\nand the page shows\n\n{fence.shows}"
                walked.append(fence.text)
    for named in ("init", "validate", "lint", "access-tokens", "inspect", "query", "explain", "serve"):
        assert any(f"rowseal {named}" in command for command in walked)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("key … (a)\n", "key abc (a)\n", True),
        ("key … (a)\n", "key abc (b)\n", False),
        ("key … (a)\n", "key abc\n (a)\n", False),
        ("one\n…\n", "one\ntwo\nthree\n", True),
        ("one\n…\n", "none\ntwo\n", False),
        ("one\n", "one\ntwo\n", False),
        ("", "said\n", False),
    ],
)
def test_an_ellipsis_stands_for_what_differs_and_nothing_else(shown: str, printed: str, same: bool) -> None:
    """The rule by which pages are compared can say no."""
    assert pages.resembles(printed, shown) is same
