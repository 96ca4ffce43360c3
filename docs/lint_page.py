"""docs/reference/lint.md, from the table of risks."""

from __future__ import annotations

from collections.abc import Iterator

from rowseal.cli.risks import RISKS

__all__ = ["lines"]


def lines() -> Iterator[str]:
    """The page."""
    yield "# Lint\n"
    yield "<!-- Written by docs/lint_page.py from `rowseal.cli.risks`. Change that, then run `make docs`. -->\n"
    yield (
        "[`rowseal validate`](cli.md#rowseal-validate) says what is wrong with a configuration, and a server does not start with it.\n"
        "[`rowseal lint`](cli.md#rowseal-lint) says what is allowed and yet risky.\nIt reads the file and the database's catalogs, and no row.\n\n"
        "A finding that is meant is left out by `--accept CODE`, or `--accept CODE:DATASET`; with `--strict` any other ends with exit status 1.\n\n"
        "To notice what has changed in the tables, keep an answer and compare with it later.\n"
        "A server reads the tables when it loads the file, so do this before a reload:\n"
    )
    yield "```sh\nrowseal lint --json > lint.json\nrowseal lint --since lint.json\n```\n"
    for code, meaning in RISKS.items():
        yield f"## `{code}`\n"
        yield f"{meaning.means[0].upper()}{meaning.means[1:]}.\n\nCure: {meaning.cure}.\n"
