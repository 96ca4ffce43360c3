"""Pages as tests read them: fences in their order, files that are shown, commands that run, and output compared with what is shown.

A page shows a file by a paragraph that begins with the file's name in backticks, and a fence after it. A fence of `diff` changes the file that
its paragraph names. A fence of `sh` runs; a fence of `text` right after it is what it prints. There `…` inside a line stands for any characters,
`…` as a line of its own for any lines.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED: Final = re.compile(r"`([\w./-]+\.\w+)`")
_NOT_RUN: Final = "<!-- not run"
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of a page: its language, its text, the paragraph before it, and the text that is shown as its output."""

    language: str
    text: str
    lead: str
    shows: str | None = None

    @property
    def file(self) -> str | None:
        """The file whose whole text this is, where the paragraph begins with its name."""
        found = _NAMED.match(self.lead)
        return found[1] if found and self.language not in {"sh", "text", "diff"} else None


def fences(page: str) -> list[Fence]:
    """Every block of the page that is to be run, written or applied, in order; output stands with its command."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[Fence] = []
    for block in _FENCE.finditer(text):
        before = text[: block.start()].rstrip("\n")
        lead = before.rpartition("\n\n")[2]
        if lead.startswith(_NOT_RUN):
            continue
        if block[1] == "text" and found and found[-1].language == "sh" and lead.endswith("```"):
            found[-1] = Fence(found[-1].language, found[-1].text, found[-1].lead, block[2])
        else:
            found.append(Fence(block[1], block[2], lead))
    return found


def apply(diff: str, text: str) -> str:
    """The text with the lines changed; they must stand there, together and once."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in "- ")
    new = "".join(line[1:] for line in lines if line[0] in "+ ")
    assert text.count(old) == 1, f"the page changes what is not there:\n{old}"
    return text.replace(old, new)


def resembles(printed: str, shown: str) -> bool:
    """Whether the page shows what was printed, but for its ellipses."""
    pattern = "".join(r"(?:[^\n]*\n)*" if line == "…\n" else re.escape(line).replace("…", r"[^\n]+") for line in shown.splitlines(keepends=True))
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else f"{printed}\n") is not None


def environment() -> dict[str, str]:
    """What a reader's shell has: this Python's programs on the path, nothing buffered."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def run(command: str, folder: Path) -> str:
    """What the command prints on both streams, as a terminal shows it. How it ends is for the output to say."""
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), timeout=_SECONDS, check=False, **streams)
    return done.stdout.decode()


def follow(fence: Fence, folder: Path) -> str | None:
    """Do what the fence says: write the file, change it, or run the command, whose output it returns. What is only shown must stand in a file."""
    if fence.file is not None:
        (folder / fence.file).write_text(fence.text, encoding="utf-8")
    elif fence.language == "diff":
        named = _NAMED.findall(fence.lead)
        file = folder / named[-1]
        file.write_text(apply(fence.text, file.read_text(encoding="utf-8")), encoding="utf-8")
    elif fence.language == "sh":
        return run(fence.text, folder)
    else:
        assert fence.text in "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")), fence.text
    return None


def make_first_shop(folder: Path) -> Path:
    """The folder as the tutorial has it when both tokens are signed."""
    for fence in fences("docs/tutorial.md"):
        if "rowseal inspect" in fence.text:
            break
        follow(fence, folder)
    return folder


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(command: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server of this command, from when it listens until it is asked to end; it must end by itself then."""
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, env=environment(), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + _SECONDS
            while not _listens(port):
                assert process.poll() is None, (folder / f"{port}.log").read_text()
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS)
            finally:
                process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
