"""`validate`: a configuration is loaded as a server would load it, and shown or found wanting."""

from __future__ import annotations

from typing import Any

from rowseal.catalog import ClaimFilter, ConfigFilter, Dataset, ThroughFilter
from rowseal.cli.terminal import FAILED, OK, Options, Terminal, listed
from rowseal.configuration import Configuration, load
from rowseal.errors import Misconfigured, Problem
from rowseal.filters import Operator
from rowseal.gate import Gate
from rowseal.keys.records import scan

__all__ = ["validate"]


def validate(options: Options, terminal: Terminal) -> int:
    """`validate`: load each file, database, role and keys included, and say all that is wrong."""
    loaded: dict[str, Any] = {}
    problems: list[Problem] = []
    for path in options.files or ["datasets.yaml"]:
        terminal.progress(f"loading {path} ...")
        try:
            configuration = load(path)
            Gate(configuration, clock=terminal.clock).close()
        except Misconfigured as misconfigured:
            problems += misconfigured.problems
            continue
        finally:
            terminal.progress()
        loaded[path] = _contents(configuration)
        if not options.json:
            _print(path, loaded[path], terminal)
    if options.json:
        terminal.facts({"loaded": loaded, "problems": [listed(problem) for problem in problems]})
    elif problems:
        terminal.problems(problems, as_json=False)
        terminal.note(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
    return FAILED if problems else OK


def _contents(configuration: Configuration) -> dict[str, Any]:
    keys = [(rules, key) for rules in configuration.token_rules for key in rules.keys]
    keys += [(rules, kept.key) for rules in configuration.token_rules for source in rules.sources if source.kind == "directory" for kept in scan(source)[0]]
    return {
        "connections": {name: catalog.dialect for name, catalog in configuration.catalogs.items()},
        "keys": [
            {"id": key.facts.id, "profile": rules.profile, "algorithm": key.algorithm, "thumbprint": key.thumbprint, "development": key.facts.development}
            for rules, key in keys
        ],
        "key_urls": [source.place for rules in configuration.token_rules for source in rules.sources if source.kind == "jwks_url"],
        "datasets": [_dataset(dataset, name) for name, catalog in configuration.catalogs.items() for dataset in catalog.datasets.values()],
    }


def _dataset(dataset: Dataset, connection: str) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "connection": connection,
        "tables": sorted(f"{schema}.{table}" for schema, table in dataset.tables),
        "relation": dataset.relation,
        "fields": [field.id for field in dataset.visible],
        "hidden_fields": [field.id for field in dataset.fields if field.hidden],
        "public": dataset.public,
        "secure_filters": [_rule(rule) for rule in dataset.secure_filters],
        "guards": [f"{guard.field} {' or '.join(sorted(guard.ops))}" for guard in dataset.guards],
    }


def _rule(rule: ConfigFilter | ClaimFilter | ThroughFilter) -> str:
    match rule:
        case ThroughFilter(parent, _):
            return f"through {parent}"
        case ClaimFilter(field, op, claim):
            return f"{field} {op} {{claim: {claim}}}"
        case ConfigFilter(filter_):
            return f"{filter_.field} {filter_.op}" + ("" if filter_.op in {Operator.IS_NULL, Operator.IS_NOT_NULL} else " ...")


def _print(path: str, contents: dict[str, Any], terminal: Terminal) -> None:
    datasets, keys, connections = contents["datasets"], contents["keys"], contents["connections"]
    terminal.say(f"{path}: good ({', '.join(connections.values() if len(connections) == 1 else (f'{name}: {each}' for name, each in connections.items()))})")
    for key in keys:
        development = ", for development: opens datasets without a filter" if key["development"] else ""
        terminal.say(f"  key      {key['id']}  {key['algorithm']}  {key['thumbprint']}  ({key['profile']}{development})")
    for url in contents["key_urls"]:
        terminal.say(f"  keys     of {url}, which a server fetches")
    if not keys and not contents["key_urls"]:
        terminal.say("  key      none: every token will be refused")
    width = max((len(dataset["id"]) for dataset in datasets), default=0)
    for dataset in datasets:
        hidden = f", {len(dataset['hidden_fields'])} hidden" if dataset["hidden_fields"] else ""
        place = "" if len(connections) == 1 else f" on {dataset['connection']}"
        terminal.say(
            f"  dataset  {dataset['id']:{width}}  {dataset['relation']} {', '.join(dataset['tables'])}{place}, {len(dataset['fields'])} fields{hidden}"
        )
        if dataset["public"]:
            terminal.say(f"           {'':{width}}  public: tokens need no filter for it")
        for rule in dataset["secure_filters"]:
            terminal.say(f"           {'':{width}}  always filtered: {rule}")
        for guard in dataset["guards"]:
            terminal.say(f"           {'':{width}}  guard: tokens must restrict {guard}")
