"""`blast-radius`: what the holder of a private key could read: the worst that any token of it could say, dataset by dataset.

Rows are counted through every wall of the server, by a configuration in which one token grants everything: that token's key is made for the moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rowseal.catalog import Catalog, ClaimFilter, Dataset, Guard, ThroughFilter
from rowseal.catalog.text import among, nearest
from rowseal.claims import KeyFacts
from rowseal.cli.terminal import OK, Failed, Options, Terminal
from rowseal.configuration import Configuration, load
from rowseal.errors import Refused
from rowseal.filters import GROUPS, LIST_VALUES, Operator
from rowseal.gate import Access, Gate
from rowseal.gate.keyring import Keys
from rowseal.keys import PublicKey, TokenRules, thumbprint
from rowseal.sql.dialects import DIALECTS
from rowseal.strict import to_base64url

__all__ = ["blast_radius"]

_SECONDS: Final = 60.0
_FEW: Final = frozenset({Operator.EQ, Operator.IS_ONE_OF})  # each value opens the rows of that value and no others


@dataclass(frozen=True, slots=True)
class _Reach:
    """What tokens of the key could read of one dataset. `rows` are all that its tokens together reach, `one_token` the most that a single one does;
    None where that was not counted."""

    dataset: str
    connection: str
    how: str
    bounds: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int | None
    one_token: int | None


def blast_radius(options: Options, terminal: Terminal) -> int:
    """`blast-radius`: load the configuration as a server would, and count."""
    configuration = load(options.config)
    ring = Keys(configuration.token_rules, configuration.limits, clock=terminal.clock).ring
    found = {key.facts.id: (rules, key.facts) for rules in ring.rules for key in rules.keys}
    if options.key not in found:
        raise Failed(f"`{options.key}` is no key of {options.config}{nearest(options.key, list(found)) or among(list(found))}")
    rules, facts = found[options.key]
    reaches, closed = [], []
    gate, access = _opened(configuration)
    try:
        for catalog in configuration.catalogs.values():
            for dataset in catalog.datasets.values():
                if _open(dataset, rules, facts):
                    terminal.progress(f"counting {dataset.id} ...")
                    reaches.append(_reach(dataset, catalog, rules, facts, access))
                else:
                    closed.append(dataset.id)
    finally:
        terminal.progress()
        gate.close()
    if options.json:
        terminal.facts(_facts(rules, facts, reaches, closed))
    else:
        _say(rules, facts, reaches, closed, terminal)
    return OK


def _open(dataset: Dataset, rules: TokenRules, facts: KeyFacts) -> bool:
    """Whether a token of the key can grant the dataset, and those that it is read through."""
    for needed in (dataset.id, *(rule.parent for rule in dataset.secure_filters if isinstance(rule, ThroughFilter))):
        granted = rules.mapping is None or any(needed in role.datasets for role in rules.mapping.roles.values())
        if not granted or (facts.datasets is not None and needed not in facts.datasets):
            return False
    return True


def _opened(configuration: Configuration) -> tuple[Gate, Access]:
    """A gate over the same databases with one token that grants every row the file's own filters leave. Nobody else ever has its key."""
    key = Ed25519PrivateKey.generate()
    facts = KeyFacts("blast-radius", "vizzly", development=True)
    rules = TokenRules(facts.profile, (PublicKey(facts, "EdDSA", thumbprint(key.public_key()), key.public_key()),))
    limits = replace(configuration.limits, seconds=_SECONDS)
    catalogs = {name: _widened(replace(catalog, limits=limits)) for name, catalog in configuration.catalogs.items()}
    gate = Gate(replace(configuration, catalogs=MappingProxyType(catalogs), token_rules=(rules,), limits=limits, state=None))
    claims = json.dumps({"dataSetIds": "*", "secureFilters": {}, "exp": int(gate.clock()) + 3600}).encode()
    signed = ".".join(map(to_base64url, (b'{"alg":"EdDSA"}', claims)))
    return gate, gate.verify(f"{signed}.{to_base64url(key.sign(signed.encode()))}")


def _widened(catalog: Catalog) -> Catalog:
    """The datasets without what a token may say otherwise: guards and claims. What the file itself filters stays."""
    return replace(catalog, datasets=MappingProxyType({name: _wide(dataset) for name, dataset in catalog.datasets.items()}))


def _wide(dataset: Dataset) -> Dataset:
    fixed = tuple(rule for rule in dataset.secure_filters if not isinstance(rule, ClaimFilter))
    fields = tuple(replace(field, hidden=False) for field in dataset.fields)
    return replace(dataset, fields=fields, guards=(), public=True, secure_filters=fixed)


def _reach(dataset: Dataset, catalog: Catalog, rules: TokenRules, facts: KeyFacts, access: Access) -> _Reach:
    quote = DIALECTS[catalog.dialect].quote
    name = quote(dataset.sql_name)
    rows = _counted(access, f"SELECT COUNT(*) AS n FROM {name}", dataset)  # noqa: S608 -- a name of the file, quoted, through every wall
    tops = [_top(guard, dataset, name, quote) for guard in dataset.guards]
    through = [rule.parent for rule in dataset.secure_filters if isinstance(rule, ThroughFilter)]
    attributes = () if rules.mapping is None else tuple(each.name for each in rules.mapping.attributes if dataset.id in each.fields)
    counts = [_counted(access, sql, dataset) for sql in tops if sql is not None]
    one_token = min((each for each in counts if each is not None), default=None if through else rows)
    return _Reach(
        dataset.id,
        catalog.connection,
        _how(dataset, facts, through, attributes),
        (*(_described(guard) for guard in dataset.guards), *(_claim(rule) for rule in dataset.secure_filters if isinstance(rule, ClaimFilter))),
        tuple(field.id for field in dataset.visible),
        rows,
        one_token,
    )


def _top(guard: Guard, dataset: Dataset, name: str, quote: Callable[[str], str]) -> str | None:
    """SQL for the most rows that one token can reach past this guard: those of the values that have the most. None where it bounds no values."""
    field = dataset.field(guard.field)
    if field is None or not guard.ops <= _FEW:
        return None
    each = max(1 if op is Operator.EQ else guard.max_values or LIST_VALUES for op in guard.ops)
    if guard.max_values is not None:
        each = min(each, guard.max_values)
    # Groups are joined by OR, and each of them names values of its own.
    values = each * GROUPS
    if guard.values_in is not None and len(guard.values_in) <= values:
        values = min(values, len(guard.values_in))
    column = quote(field.sql_name)
    groups = f"SELECT COUNT(*) AS n FROM {name} WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY COUNT(*) DESC LIMIT {values}"  # noqa: S608 -- as above
    return f"SELECT SUM(t.n) AS n FROM ({groups}) AS t"  # noqa: S608 -- as above


def _counted(access: Access, sql: str, dataset: Dataset) -> int | None:
    try:
        ((count,),) = access.execute(sql, dataset=dataset.id).rows
    except Refused:
        return None
    return int(count or 0)


def _how(dataset: Dataset, facts: KeyFacts, through: list[str], attributes: tuple[str, ...]) -> str:
    if dataset.public:
        return "public: needs no filter"
    if through:
        return f"through {', '.join(through)}"
    if facts.development and not dataset.guards:
        return "development key: needs no filter"
    if attributes:
        return f"any {', '.join(attributes)} that is signed"
    return "guarded" if dataset.guards else "any filter, such as one that every row passes"


def _described(guard: Guard) -> str:
    said = f"{guard.field} {' or '.join(sorted(op.value for op in guard.ops))}"
    if guard.max_values is not None:
        said += f", {guard.max_values} values a filter"
    if guard.values_in is not None:
        said += f", of {len(guard.values_in)} values"
    return said if guard.matches is None else f"{said}, of one form"


def _claim(rule: ClaimFilter) -> str:
    return f"{rule.field} {rule.op.value} the claim {rule.claim}, whatever is signed there"


def _facts(rules: TokenRules, facts: KeyFacts, reaches: list[_Reach], closed: list[str]) -> Mapping[str, Any]:
    return {
        "key": facts.id,
        "profile": rules.profile,
        "development": facts.development,
        "explain": facts.explain,
        "max_lifetime": rules.max_lifetime,
        "max_rows_per_hour": facts.max_rows,
        "max_values_per_hour": facts.max_values,
        "datasets": [{name: getattr(reach, name) for name in _Reach.__slots__} for reach in reaches],
        "closed": closed,
    }


def _say(rules: TokenRules, facts: KeyFacts, reaches: list[_Reach], closed: list[str], terminal: Terminal) -> None:
    lines = [("dataset", "rows", "one token", "how", "columns")]
    lines += [(each.dataset, _number(each.rows), _number(each.one_token), each.how, str(len(each.columns))) for each in reaches]
    widths = [max(len(line[at]) for line in lines) for at in range(5)]
    for line in (lines[0], tuple("-" * width for width in widths), *lines[1:]):
        cells = (cell.rjust(widths[at]) if at in {1, 2, 4} else cell.ljust(widths[at]) for at, cell in enumerate(line))
        terminal.say("  ".join(cells).rstrip())
    terminal.say()
    for each in reaches:
        for bound in each.bounds:
            terminal.say(f"{each.dataset}: {bound}")
    for note in _notes(rules, facts, closed):
        terminal.say(note)


def _notes(rules: TokenRules, facts: KeyFacts, closed: list[str]) -> Iterator[str]:
    if closed:
        yield f"closed to it: {', '.join(closed)}"
    for said, bound in (("rows", facts.max_rows), ("different filter values", facts.max_values)):
        yield f"{bound} {said} an hour in each process" if bound is not None else f"no bound on {said} an hour: see `max_{said.rsplit(' ', 1)[-1]}_per_hour`"
    yield f"a token lives {rules.max_lifetime:g} seconds at most, and {GROUPS} groups of filters may stand in it, joined by OR"
    if facts.explain:
        yield "its tokens may see what queries are made into: names of tables, hidden fields and rules"


def _number(count: int | None) -> str:
    return "?" if count is None else str(count)
