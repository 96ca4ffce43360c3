"""Every command and option as data: the parser and docs/reference/cli.md are made of it."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from rowseal.cli.ask import explain, query
from rowseal.cli.blast_radius import blast_radius
from rowseal.cli.demo import demo
from rowseal.cli.export_rls import export_rls
from rowseal.cli.init import init
from rowseal.cli.inspect import inspect
from rowseal.cli.keys import activate_key, add_key, list_keys, retire_key, upload_key
from rowseal.cli.lint import lint
from rowseal.cli.postgres_role import postgres_role
from rowseal.cli.revoke import end_all, end_dataset, end_jti, end_key, end_subject, end_token, list_revoked, make_store, prune
from rowseal.cli.schema import schema
from rowseal.cli.serve import serve
from rowseal.cli.sign import ALGORITHMS, access_tokens, create, name_keys
from rowseal.cli.terminal import Options, Terminal
from rowseal.cli.validate import validate

__all__ = ["ABOUT", "COMMANDS", "Command", "Option", "Usage", "parser"]

ABOUT: Final = "A sealed token goes in, only the permitted rows come out: keys, tokens, configurations and queries, tried by hand."
_JWS: Final = re.compile(r"ey[\w-]+\.[\w-]*\.[\w-]*")


class Usage(Exception):
    """The command line cannot be read. The message holds the usage and what is wrong."""


@dataclass(frozen=True, slots=True)
class Option:
    """One argument: its spellings (a name without dashes stands at its place), what it means, and argparse's settings."""

    flags: tuple[str, ...]
    help: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `help` is a sentence, `more` what else there is to know, `example` a line that runs as it stands."""

    name: str
    run: Callable[[Options, Terminal], int]
    help: str
    more: str
    example: str
    options: tuple[Option, ...]
    alias: str | None = None


def _option(*flags: str, about: str, **settings: Any) -> Option:
    return Option(flags, about, settings)


_JSON: Final = _option("--json", about="print JSON, for scripts", action="store_true")
_KEPT_OUT: Final = "`-` reads it from standard input and `@file` from a file, so that it does not land in the shell's history"
_CONFIG: Final = _option("-c", "--config", about="the configuration (default: datasets.yaml)", metavar="FILE", default="datasets.yaml")
_PRINTED: Final = (
    _option("file", about="the configuration (default: datasets.yaml)", metavar="FILE", nargs="?", default="datasets.yaml"),
    _option("--role", about="the role's name (default: rowseal)", metavar="NAME", default="rowseal"),
    _option("--connection", about="the connection that it is for, where the file has several PostgreSQL databases", metavar="NAME"),
)
_ASKED: Final = (
    _CONFIG,
    _option("--token", about=f"the data access token; {_KEPT_OUT}", metavar="TOKEN", required=True),
    _option("sql", about="one SELECT; `-` and `@file` as for the token", metavar="SQL"),
    _option("--params", about="a value for each `:name` in the SQL, as a JSON object or `@file`", metavar="JSON"),
    _option("--connection", about="the connection that the query is for, where there are several (default: the first that takes it)", metavar="NAME"),
    _JSON,
)
_REASON: Final = _option("--reason", about="why, for whoever lists it later; never put a secret there", metavar="TEXT")
_ISSUED: Final = (
    _option("--before", about="tokens issued before this moment, as `2026-01-31T12:00:00Z` (default: now)", metavar="ISO"),
    _option("--for-good", about="tokens whenever issued, now and later", action="store_true"),
    _CONFIG,
    _REASON,
    _JSON,
)
_WITHIN: Final = (
    "Every gateway of the same `state:` refuses them within its `poll`, also those that it has accepted before. docs/how-to/revoke.md says which to use."
)

_KEY: Final = _option("name", about="the key's name, which is the beginning of its file's name", metavar="NAME")
_NAMED: Final = _option("--name", about="its name there (default: the file's)", metavar="NAME")
_DIRECTORY: Final = _option("--directory", about="the id of the entry of `keys:` with `directory:`, where there are several", metavar="ID")
_SCOPED: Final = (
    _option("--datasets", about="the datasets that its tokens may grant, joined by commas (default: all that the directory may)", metavar="IDS"),
    _option("--project-id", about="the project that its tokens must be of", metavar="ID"),
    _option("--not-before", about="its tokens are refused before this moment", metavar="ISO"),
    _option("--retire-at", about="its tokens are refused from this moment on", metavar="ISO"),
)

COMMANDS: Final = (
    Command(
        "demo",
        demo,
        "Show it: a shop of three tenants, one question under two tokens, and five attacks.",
        "Makes everything in a temporary folder, and removes it. Ends with exit status 1 if an attack brings anything.",
        "rowseal demo",
        (_option("--keep", about="make it in this new folder, and leave it there", metavar="DIR"), _JSON),
    ),
    Command(
        "keys create",
        create,
        "Make a key pair for signing tokens.",
        "Writes PREFIX-private.pem (mode 0600) and PREFIX-public.pem. A file that exists is never overwritten.",
        "rowseal keys create --prefix vizzly",
        (
            _option("--out", about="folder for the two files (default: the current one)", metavar="DIR", default="."),
            _option("-p", "--prefix", about="how their names begin (default: vizzly)", metavar="PREFIX", default="vizzly"),
            _option("--algorithm", about="what the key will sign with (default: ES256)", choices=ALGORITHMS, default="ES256"),
            _JSON,
        ),
        alias="create-key-pair",
    ),
    Command(
        "keys add",
        add_key,
        "Put a public key into the directory that a configuration names.",
        "Checked first, and written so that a crash leaves nothing half. Without a `directory:` in the file it prints the entry to write there.",
        "rowseal keys add vizzly-public.pem --name shop-2027 --retire-at 2028-01-31T00:00:00Z",
        (
            _option("file", about="PEM or a JWK, or `-` for standard input", metavar="FILE"),
            _CONFIG,
            _NAMED,
            _DIRECTORY,
            *_SCOPED,
            _option("--pending", about="let no token in before `keys activate`", action="store_true"),
            _JSON,
        ),
    ),
    Command(
        "keys activate",
        activate_key,
        "Let the tokens of a key in that was added pending.",
        "Compare its thumbprint with that of whoever made it first, over another way than it came.",
        "rowseal keys activate shop-2027",
        (_KEY, _CONFIG, _DIRECTORY, _JSON),
    ),
    Command(
        "keys list",
        list_keys,
        "List the keys of a configuration, with their states, times and datasets.",
        "Asks no database and fetches nothing. Ends with exit status 1 if a file of a directory gives no key.",
        "rowseal keys list",
        (_CONFIG, _JSON),
    ),
    Command(
        "keys retire",
        retire_key,
        "Refuse the tokens of a key of a directory from a moment on.",
        "A time to retire may come nearer and never moves away. Its file stays, so that nobody adds the key again.",
        "rowseal keys retire shop-2026 --at 2027-01-31T00:00:00Z",
        (_KEY, _option("--at", about="the moment, as `2027-01-31T00:00:00Z` (default: now)", metavar="ISO"), _CONFIG, _DIRECTORY, _JSON),
    ),
    Command(
        "keys upload",
        upload_key,
        "Send a public key to the admin listener of a server, where it waits to be activated.",
        "The secret comes from ROWSEAL_ADMIN_SECRET or a file, and goes over https, or to this machine.",
        "rowseal keys upload vizzly-public.pem --name shop-2027 --to http://127.0.0.1:8001",
        (
            _option("file", about="PEM or a JWK, or `-` for standard input", metavar="FILE"),
            _option("--to", about="the address of the admin listener", metavar="URL", required=True),
            _NAMED,
            *_SCOPED,
            _option("--activate", about="do the second act too", action="store_true"),
            _option("--secret-file", about="the file with the admin secret (default: ROWSEAL_ADMIN_SECRET in the environment)", metavar="FILE"),
            _JSON,
        ),
    ),
    Command(
        "keys thumbprint",
        name_keys,
        "Print the RFC 7638 thumbprint of each key in a file.",
        "It is the `kid` by which a token names its key. Takes PEM, a JWK or a JWKS; of a private key it names the public half.",
        "rowseal keys thumbprint vizzly-public.pem",
        (_option("file", about="the file, or `-` for standard input", metavar="FILE"), _JSON),
    ),
    Command(
        "access-tokens",
        access_tokens,
        "Sign a dashboard access token and a data access token.",
        "Prints the JSON object that the host application hands to a dashboard. Name the place by `-p`, or by the older `-o` and `-d`.\n"
        "Without `--data-set-ids` and `--secure-filters` the token grants everything unfiltered, which is for development only: with\n"
        "`--config`, a key that is not marked `development: true` asks first.",
        "rowseal access-tokens -p prj_shop -u anna --data-set-ids orders "
        """--secure-filters '{"orders": [[{"field": "tenant", "op": "=", "value": 1}]]}' --config datasets.yaml > tokens.json""",
        (
            _option("-o", "--organisation-id", about="the organisation (older tokens)", metavar="ID"),
            _option("-d", "--dashboard-id", about="the dashboard, with `-o`", metavar="ID"),
            _option("-p", "--project-id", about="the project", metavar="ID"),
            _option("--parent-dashboard-ids", about="dashboards with `-p`, joined by commas", metavar="IDS"),
            _option("-u", "--user-reference", about="who the tokens are for, in the host's own words", metavar="REFERENCE", required=True),
            _option("-t", "--type", about="what the dashboard may do (default: standard)", choices=("admin", "standard", "editor"), default="standard"),
            _option("-pk", "--private-key", about="PEM file, or `-` (default: vizzly-private.pem)", metavar="FILE", default="vizzly-private.pem"),
            _option("--algorithm", about="for RSA keys, which can sign with several (default: RS256)", choices=ALGORITHMS),
            _option("--data-set-ids", about="ids joined by commas, or `*` for every dataset (default: `*`)", metavar="IDS", default="*"),
            _option("--secure-filters", about="JSON object, dataset id to `[[A, B], [C]]`, (A and B) or C; or `@file`", metavar="JSON"),
            _option("--parameters", about="JSON object that is signed as `parameters`; or `@file`", metavar="JSON"),
            _option("--subject", about="who this is, signed as `sub`", metavar="TEXT"),
            _option("--allowed-origins", about="web pages that may use the tokens, joined by commas, like `https://app.example.com`", metavar="ORIGINS"),
            _option("--dpop-thumbprint", about="RFC 7638 thumbprint of the key whose holder may use the tokens", metavar="TEXT"),
            _option("--ttl", about="life in minutes (default: 15)", metavar="MINUTES", type=float, default=15.0),
            _option("--scope", about="scope of the dashboard token (default: read_write)", choices=("read", "read_write"), default="read_write"),
            _option("-c", "--config", about="sign only what this configuration accepts", metavar="FILE"),
            _option("--full-access", about="do not ask before a production key signs full read access", action="store_true"),
        ),
    ),
    Command(
        "inspect",
        inspect,
        "Show what a token says, whether it would be accepted, and what looks like a mistake.",
        "Values stay withheld. Without `--config` the form and the times are judged, and nothing is proven about who signed.",
        "rowseal inspect --config datasets.yaml - < tokens.json",
        (
            _option("token", about=f"the token; {_KEPT_OUT}", metavar="TOKEN"),
            _option("-c", "--config", about="judge by this configuration: signature, times, and each dataset", metavar="FILE"),
            _option("--at", about="judge as of this moment, as `2026-01-31T12:00:00Z` (default: now)", metavar="ISO"),
            _option("--show-values", about="show the values of claims and filters", action="store_true"),
            _JSON,
        ),
    ),
    Command(
        "init",
        init,
        "Propose a datasets.yaml for a database, and make the keys that it names.",
        "Every table becomes a dataset. Columns that look like the tenant's are guarded, those that sound like secrets are hidden, and where it "
        "guessed the reason stands beside it.\nNothing is open by itself, no password lands in the file, and no file is overwritten.\n"
        "Prints the next three commands.",
        "rowseal init --database sqlite:///shop.db --out first/datasets.yaml",
        (
            _option("--database", about="SQLAlchemy URL of SQLite, PostgreSQL, MariaDB or DuckDB", metavar="URL", required=True),
            _option("--out", about="the file (default: datasets.yaml); keys are made beside it", metavar="FILE", default="datasets.yaml"),
            _option("--table", about="only such tables; repeat it, and use `*`, as in `sales.*`", metavar="NAME", action="append"),
            _option("--allow-privileged-role", about="accept a role that may do more than read, and write that into the file", action="store_true"),
            _JSON,
        ),
    ),
    Command(
        "validate",
        validate,
        "Load configurations as a server would, and list every problem with its place.",
        "Asks the database and reads the keys. Says what was loaded when all is well.",
        "rowseal validate datasets.yaml",
        (_option("files", about="the files (default: datasets.yaml)", metavar="FILE", nargs="*"), _JSON),
    ),
    Command(
        "lint",
        lint,
        "List what a configuration allows and probably should not.",
        "Where `validate` says what is wrong, this says what is risky: each finding with its code, its place and a cure.\n"
        "The codes stand in docs/reference/lint.md.",
        "rowseal lint --config datasets.yaml --strict --accept public_dataset:products --accept no_index",
        (
            _CONFIG,
            _option("--strict", about="end with exit status 1 if there is a finding", action="store_true"),
            _option("--accept", about="leave out CODE, or CODE:DATASET; repeat it", metavar="CODE", action="append"),
            _option("--since", about="an earlier answer of `lint --json`: find what has changed in the tables", metavar="FILE"),
            _JSON,
        ),
    ),
    Command(
        "schema",
        schema,
        "Print the JSON Schema of datasets.yaml, with which an editor completes and explains its keys.",
        "Beside a file that begins with `# yaml-language-server: $schema=datasets.schema.json`. What is valid is for `validate` to say.",
        "rowseal schema > datasets.schema.json",
        (),
    ),
    Command(
        "postgres-role",
        postgres_role,
        "Print SQL that makes a PostgreSQL role which may read what a configuration reads, and do nothing else.",
        "Column by column, with the reason beside each step. Nothing runs: read it, and give it to psql as a superuser.\n"
        "docs/how-to/least-privilege.md says what it stops.",
        "rowseal postgres-role --role rowseal datasets.yaml > role.sql",
        _PRINTED,
    ),
    Command(
        "export-rls",
        export_rls,
        "Print PostgreSQL's own row-level security for what a configuration says about rows.",
        "A policy for each table, for one role. Nothing runs. What a token would say is read from settings, and no setting means no row.\n"
        "Ends with exit status 1, and says what is left out, where policies cannot say all of it; see docs/how-to/least-privilege.md.",
        "rowseal export-rls --role reports datasets.yaml > policies.sql",
        (*_PRINTED, _option("--no-settings", about="leave out what a token would say: for the role that rowseal itself connects as", action="store_true")),
    ),
    Command(
        "blast-radius",
        blast_radius,
        "Show what whoever holds a private key could read, dataset by dataset, in rows.",
        "For each dataset: all rows that its tokens can reach, and the most that a single one can, counted in the database through every wall of the\n"
        "server. `?` is what was not counted. What bounds it, and what could, stands below.",
        "rowseal blast-radius --key vizzly",
        (_option("--key", about="the key's `id` in the configuration", metavar="KEY", required=True), _CONFIG, _JSON),
    ),
    Command(
        "explain",
        explain,
        "Show the SQL that the database would get for a query under a token. Nothing runs.",
        "Says of each read which filters hold and where they were written, and whether they must have run before the query's own expressions do.",
        "rowseal explain --token @tokens.json 'SELECT region, SUM(amount) AS total FROM orders GROUP BY region'",
        _ASKED,
    ),
    Command(
        "query",
        query,
        "Run a query under a token and print the permitted rows.",
        "With every wall of the server: the same checks, limits and refusals.",
        """rowseal query --token @tokens.json 'SELECT COUNT(*) AS orders FROM orders WHERE amount > :least' --params '{"least": 1000}'""",
        _ASKED,
    ),
    Command(
        "revoke init",
        make_store,
        "Make the file or the tables of `state:`, with nothing revoked.",
        "A file that exists is left as it is, so are tables. A gateway does not start without them.",
        "rowseal revoke init --config datasets.yaml",
        (_CONFIG, _option("--print", about="print the SQL that makes the tables, and do nothing", action="store_true")),
    ),
    Command(
        "revoke token",
        end_token,
        "End one token.",
        f"Keeps the SHA-256 of its `header.payload` and when it ends, never the token. {_WITHIN}",
        "rowseal revoke token @tokens.json --reason 'sent to the wrong address'",
        (_option("token", about=f"the token, or the 64 hex digits of that digest; {_KEPT_OUT}", metavar="TOKEN"), _CONFIG, _REASON, _JSON),
    ),
    Command(
        "revoke jti",
        end_jti,
        "End the tokens with this `jti`.",
        _WITHIN,
        "rowseal revoke jti 5f0c3b1e",
        (_option("jti", about=f"the id; {_KEPT_OUT}", metavar="JTI"), _CONFIG, _REASON, _JSON),
    ),
    Command(
        "revoke subject",
        end_subject,
        "End the tokens of one person.",
        f"Whom a token is for stands in the claim that `subject:` of its profile names. {_WITHIN}",
        "rowseal revoke subject anna",
        (_option("subject", about="the person, as tokens name them; `-` and `@file` as for a token", metavar="SUBJECT"), *_ISSUED),
    ),
    Command(
        "revoke key",
        end_key,
        "End the tokens that a key has signed.",
        f"Whoever has its private half signs new ones: with `--for-good` these are refused too, until the key is taken out of the file. {_WITHIN}",
        "rowseal revoke key shop-2026 --for-good --reason 'the private half was in a backup'",
        (_option("key", about="the key's `id` in the configuration", metavar="KEY"), *_ISSUED),
    ),
    Command(
        "revoke dataset",
        end_dataset,
        "Close one dataset to the tokens that are out.",
        f"They go on reading the others. {_WITHIN}",
        "rowseal revoke dataset orders",
        (_option("dataset", about="the dataset's `id` in the configuration", metavar="DATASET"), *_ISSUED),
    ),
    Command(
        "revoke all",
        end_all,
        "End every token that is out.",
        _WITHIN,
        "rowseal revoke all --reason 'the signer was broken into'",
        _ISSUED,
    ),
    Command(
        "revoke list",
        list_revoked,
        "Print what is revoked, since when, by whom and why.",
        "In the order in which it was written.",
        "rowseal revoke list",
        (_CONFIG, _JSON),
    ),
    Command(
        "revoke prune",
        prune,
        "Take out revocations that end nothing any more.",
        "Nothing that was refused is accepted afterwards: tokens issued longer ago than any may live are refused altogether.",
        "rowseal revoke prune",
        (
            _CONFIG,
            _option("--keep", about="hours that a token may be old (default: the longest `max_lifetime` of the file)", metavar="HOURS", type=float),
            _JSON,
        ),
    ),
    Command(
        "serve",
        serve,
        "Answer queries over HTTP, until Ctrl-C or SIGTERM.",
        "Says on standard error what it serves; standard output has a line of JSON for each decision and each request.\n"
        "SIGHUP loads the configuration again. A file that cannot be used changes nothing, and every problem is said.",
        "rowseal serve --config datasets.yaml --port 8000 --reload",
        (
            _CONFIG,
            _option("--host", about="the address to listen on (default: 127.0.0.1, which nobody else reaches)", metavar="ADDRESS", default="127.0.0.1"),
            _option("--port", about="the port, 0 for any that is free (default: 8000)", metavar="PORT", type=int, default=8000),
            _option("--reload", about="load the configuration again when it or a key file changes", action="store_true"),
            _option(
                "--admin-port", about="also listen for operators, who add and retire keys and read /metrics (default: nobody does)", metavar="PORT", type=int
            ),
            _option("--admin-host", about="the address for operators (default: 127.0.0.1)", metavar="ADDRESS", default="127.0.0.1"),
            _option("--admin-secret-file", about="the file with their secret (default: ROWSEAL_ADMIN_SECRET in the environment)", metavar="FILE"),
            _option("--admin-directory", about="the id of the entry of `keys:` whose directory they write to, where there are several", metavar="ID"),
            _option("--development", about="take tokens of keys with `development: true` on other addresses than this machine's own", action="store_true"),
            _option(
                "--public-url",
                about="an address of this server as its clients write it, for DPoP proofs; may stand several times (default: where it listens)",
                metavar="URL",
                action="append",
            ),
        ),
    ),
)


_GROUPS: Final = {"keys": "Key pairs for signing tokens.", "revoke": "End tokens before their time."}
_Formatter: Final = argparse.RawDescriptionHelpFormatter


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse quotes what it cannot place, and that may be a token
        raise Usage(f"{self.format_usage()}{self.prog}: {_JWS.sub('<token>', message)}; see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line: options in a namespace whose `command` is the Command. Raises Usage."""
    top = _Parser(
        prog="rowseal", description=_wrapped(ABOUT), epilog="each command has its own --help, with an example", allow_abbrev=False, formatter_class=_Formatter
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        *group, name = command.name.split()
        within = commands
        for each in group:
            if each not in groups:
                about = _GROUPS[each]
                groups[each] = _new(commands.add_parser, each, help=about, description=about).add_subparsers(
                    metavar="COMMAND", parser_class=_Parser, required=True
                )
            within = groups[each]
        _add(within, name, command)
        if command.alias is not None:
            _add(commands, command.alias, command, about=f"The same as `{command.name}`.")
    return top


def _add(commands: Any, name: str, command: Command, about: str | None = None) -> None:
    added = _new(
        commands.add_parser,
        name,
        help=about or command.help,
        description=_wrapped(command.help, *command.more.split("\n")),
        epilog=f"example:\n  {command.example}",
    )
    for option in command.options:
        added.add_argument(*option.flags, help=option.help.replace("%", "%%"), **option.settings)
    added.set_defaults(command=command)


def _wrapped(*lines: str) -> str:
    """Each line as wide as the terminal, as argparse has it for options."""
    return "\n".join(textwrap.fill(line, max(shutil.get_terminal_size().columns - 2, 20)) for line in lines)


def _new(make: Callable[..., Any], name: str, **settings: Any) -> Any:
    # no abbreviations: what a script writes today must not mean another option tomorrow
    return make(name, allow_abbrev=False, formatter_class=_Formatter, **settings)
