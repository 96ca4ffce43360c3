"""The shape of datasets.yaml as models. `reading` says what is wrong with a file of another shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rowseal.catalog import FieldType
from rowseal.catalog.scalars import ClaimPath, Count, Duration, Identifier, Idle, JoinType, Leeway, Moment, Name, Size, Text, Version
from rowseal.filters import FlatFilters, Operator

__all__ = [
    "ConnectionEntry",
    "DatasetEntry",
    "Document",
    "EngineEntry",
    "FieldEntry",
    "FunctionsEntry",
    "GuardEntry",
    "JoinEntry",
    "KeyEntry",
    "LimitsEntry",
    "RefreshEntry",
    "RoleEntry",
    "RoleLimitsEntry",
    "SecureFilterEntry",
    "StateEntry",
    "TokensEntry",
    "TrustedEntry",
]


def _one_or_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class _Entry(BaseModel):
    # The text under a key is what an editor shows of it: docs/json_schema.py reads it from the source.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, protected_namespaces=())


def _one_of(*keys: str) -> ConfigDict:
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in keys]})


class RefreshEntry(_Entry):
    """How often a published key set is fetched, whatever it says of itself."""

    at_least: Duration = 60.0
    """It is not fetched sooner than this after it was. Default: 1m."""
    at_most: Duration = 3600.0
    """It is fetched again after this at the latest, and where it does not say for how long it is fresh. Default: 1h."""
    cool_down: Duration = 30.0
    """After a failed fetch, and for a `kid` that nobody knows, the next fetch comes no sooner. Default: 30s."""
    max_stale: Duration = 86_400.0
    """For how long its keys are used after the last fetch that succeeded. Then their tokens are refused. Default: 1d."""
    timeout: Duration = 5.0
    """The longest that one fetch may take, a minute at most. Default: 5s."""


class KeyEntry(_Entry):
    """A public key, or several: exactly one of `public_key`, `public_keys`, `public_key_file`, `jwks_file`, `jwks_url` and `directory`. Or a shared secret."""

    model_config = _one_of("public_key", "public_keys", "public_key_file", "jwks_file", "jwks_url", "directory", "secret_env", "secret_file")

    id: Name
    """Unique in the file; stands in the audit."""
    public_key: Text | None = Field(default=None, repr=False)
    """The public key itself, as PEM, JWK or JWKS. A private key is refused."""
    public_keys: Text | None = Field(default=None, repr=False)
    """Several keys from one variable, `"${VIZZLY_PUBLIC_KEYS}"`: a JSON list of PEM texts, as it is or in base64."""
    public_key_file: Text | None = None
    """A file with the public key in PEM. Relative paths begin at the folder of this file."""
    jwks_file: Text | None = None
    """A file with a JWK or a JWKS. Relative paths begin at the folder of this file."""
    jwks_url: Text | None = None
    """Where an issuer publishes its keys: `https://issuer.example/.well-known/jwks.json`. Fetched again and again, as `refresh` says."""
    directory: Text | None = None
    """A folder with a file for each key, which is looked at every second. The key of `a.pem` has the id of this entry, a slash and `a`."""
    refresh: RefreshEntry | None = None
    """With `jwks_url`: how often it is fetched, and for how long its keys are used when it cannot be."""
    secret_env: Text | None = None
    """The name of an environment variable with a secret shared with the issuer, for HS256. Needs `allow_symmetric: true`."""
    secret_file: Text | None = None
    """A file with such a secret in one line. Relative paths begin at the folder of this file."""
    allow_symmetric: bool = False
    """true, with a secret: accepted in writing that whoever can read it, this server too, can sign any token."""
    algorithm: Text | None = None
    """Only RSA keys have a choice: they mean RS256 unless told, such as PS256."""
    datasets: list[Name] | None = None
    """The datasets that this key's tokens may grant. Default: all."""
    development: bool = False
    """true: tokens of this key may read datasets without a filter for them. Guards still hold."""
    explain: bool = False
    """true: tokens of this key may have their queries explained: the text that the database gets, with names of tables and rules."""
    project_id: Text | None = None
    """Demanded of this key's tokens. Default: the profile's."""
    issuer: Text | None = None
    """Demanded as `iss` of this key's tokens, where several issuers stand in one profile. Default: the profile's."""
    not_before: Moment | None = None
    """The key's tokens are refused before this moment, such as `2026-01-31T12:00:00Z`."""
    retire_at: Moment | None = None
    """The key's tokens are refused from this moment on, also those that claim to live longer."""
    max_rows_per_hour: Count | None = None
    """The most rows that this key's tokens, all of them together, may read in an hour. Counted by each process for itself. Default: no bound."""
    max_values_per_hour: Count | None = None
    """The most different values that the filters of this key's tokens may name in an hour, such as tenants. Counted likewise. Default: no bound."""


class RoleLimitsEntry(_Entry):
    """Budgets of a role, each no wider than the file's."""

    rows: Count | None = None
    """The longest answer of a query that reads a dataset which this role grants. Of several roles that grant it the widest holds."""


class RoleEntry(_Entry):
    """What whoever has the role may read. Several roles add up."""

    datasets: list[Name] = Field(min_length=1)
    """The ids of datasets. Which of their rows, the attributes say."""
    limits: RoleLimitsEntry = RoleLimitsEntry()
    """Budgets of this role."""
    explain: bool = False
    """true: whoever has the role may have queries explained: the text that the database gets, with names of tables and rules."""


class TokensEntry(_Entry):
    """Which claims to expect of the tokens that these keys verify."""

    profile: Literal["vizzly", "oidc"]
    """The vocabulary of the claims. `oidc`: access tokens of an identity provider, as `claims`, `attributes` and `roles` say."""
    keys: list[KeyEntry] = Field(min_length=1)
    """The public keys. Several may stand here while you change from one to the next."""
    max_lifetime: Duration = 7200.0
    """The longest remaining life that a token may claim, such as `15m` or `2h`. Default: 2h."""
    leeway: Leeway = 30.0
    """For `iat` and `nbf` only, ten minutes at most; it never prolongs a life. Default: 30s."""
    flat_filters: Annotated[FlatFilters, Field(strict=False)] = FlatFilters.ALL
    """What `[A, B]` means in a token: `all` is A AND B, `any` is A OR B, `reject` refuses it. Default: all."""
    issuer: Text | None = None
    """Demanded as `iss` where it is written."""
    audience: Text | None = None
    """Demanded as `aud` where it is written."""
    project_id: Text | None = None
    """Demanded as `projectId` where it is written."""
    origin: Literal["optional", "required"] = "optional"
    """`required`: tokens must name the web pages that may use them, as `allowedOrigins`. Where a token names some, that always holds."""
    dpop: Literal["optional", "required"] = "optional"
    """`required`: tokens must be bound to a key, as `cnf` (RFC 9449). Where a token is, its proofs are always asked for."""
    required_claims: list[Name] = []
    """Claims that every token must have, such as `iat`, `jti`."""
    subject: ClaimPath | None = None
    """The claim that says whom a token is for, such as `parameters.user`: then each token must have it, and `rowseal revoke subject` names it.
    Default: `sub` for `oidc`, none for `vizzly`."""
    one_time: bool = False
    """true: a token holds for one request, and must have a `jti`. Needs `state:` with a database."""
    inactivity: Idle = 0.0
    """A token ends when it is not used for so long, such as `30m`; at least two minutes. Needs `state:` with a database. Default: 0, never."""

    claims: dict[Name, ClaimPath] = {}
    """For `oidc`: where the tokens say what. `roles`, and if they bring filters of their own `filters`; every other name is an attribute's.
    A path such as `app_metadata.tenant`, or a list of names where one holds other characters: `["https://example.com/tenant"]`."""
    attributes: dict[Name, dict[Name, Name]] = {}
    """For `oidc`: for each attribute of `claims`, and for every dataset, the field that must equal it; or `through`, where the parent's field
    decides; or `none`, where the attribute restricts nothing."""
    roles: dict[Name, RoleEntry] = {}
    """For `oidc`: what each role may read. A role that does not stand here grants nothing."""


class FieldEntry(_Entry):
    """A column that queries, or with `hidden: true` only filters, may name."""

    id: Name
    """The name in filters, and in SQL unless `sql_name` says otherwise."""
    type: Annotated[FieldType, Field(strict=False)]
    """What filters compare it with. The column's own type must fit."""
    name: Name | None = None
    """The name that people see; accepted in filters too. Default: the id."""
    sql_name: Name | None = None
    """The name in SQL. Default: the id."""
    table: Name | None = None
    """Where the dataset has `joins:`, the table that has the column: its name, or what `as:` calls it. Default: the dataset's own."""
    column: Name | None = None
    """The column of the table. Default: the id."""
    hidden: bool = False
    """true: for filters only, queries cannot name it."""
    exact: bool = False
    """true, for numbers: a filter's value may be a text such as "9007199254740993", for signers that round."""
    timezone: Text | None = None
    """For a `date_time` in a column that knows no zone: the IANA name of the one that it means. Default: UTC."""
    format: Text | None = None
    """How a date is stored as text (SQLite), in strftime's letters. Default: `%Y-%m-%d`, and `%Y-%m-%d %H:%M:%S` for a date_time."""


class SecureFilterEntry(_Entry):
    """A filter that always holds: `field`, `op` and `value`, or `through` and `on`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["field", "op"], "not": {"anyOf": [{"required": ["through"]}, {"required": ["on"]}]}},
                {"required": ["through", "on"], "not": {"anyOf": [{"required": [key]} for key in ("field", "op", "value")]}},
            ]
        }
    )

    field: Name | None = None
    """Id, or unique name, of a field of this dataset."""
    op: Annotated[Operator, Field(strict=False)] | None = None
    """How the field is compared with the value."""
    value: Any = Field(default=None, repr=False)
    """A value, a list of them, or `{claim: a.dotted.path}` for a claim that the token must have."""
    through: Name | None = None
    """Id of the parent dataset: a row is open where a permitted row of the parent is equal in the fields of `on`."""
    on: Annotated[dict[str, Name], Field(json_schema_extra={"minProperties": 1})] | None = None
    """This dataset's field: the parent's field."""


class GuardEntry(_Entry):
    """The token itself must restrict the field, in every OR branch of its filters."""

    field: Name
    """Id, or unique name, of a field of this dataset."""
    op: Annotated[
        list[Annotated[Operator, Field(strict=False)]], BeforeValidator(_one_or_list, json_schema_input_type=Operator | list[Operator]), Field(min_length=1)
    ]
    """Any of these operators will do."""
    max_values: Count | None = None
    """The most values that one filter may list."""
    matches: Text | None = None
    """A regular expression: the whole of every value must match."""
    values_in: list[Any] | None = Field(default=None, min_length=1)
    """Every value must be one of these."""


class ConnectionEntry(_Entry):
    """One database of several. A query stays within one."""

    url: Text = Field(repr=False)
    """A SQLAlchemy URL: `sqlite:///relative.db`, `duckdb:///relative.db`, `postgresql://role@host/db`. `${NAME:-default}` reads the environment."""
    allow_privileged_role: bool = False
    """true: start although the role in this database may do more than read."""
    experimental: bool = False
    """true: start although this kind of database does not testify what a query reads."""


class JoinEntry(_Entry):
    """A table joined to those before it."""

    type: JoinType
    """`inner`, or `left`: rows that find no partner stay, with nulls."""
    table: Name
    """`table` or `schema.table`. Without a schema: the connection's default one."""
    on: dict[str, Name] = Field(min_length=1)
    """A column of the earlier table: the column of this one that equals it."""
    as_: Name | None = Field(default=None, alias="as")
    """What fields and later joins call it. Default: the table's name."""
    from_: Name | None = Field(default=None, alias="from")
    """Which earlier table the columns of `on` belong to. Default: the dataset's own."""


class TrustedEntry(_Entry):
    """A value that the token must bring for the SELECT, bound where it says `{{ trusted.name }}`."""

    type: Literal["number", "string", "boolean"]
    """What the claim must be."""
    claim: ClaimPath | None = None
    """Which claim it is. Default: the one of this name in `parameters`."""


class DatasetEntry(_Entry):
    """Rows that tokens may grant, and their rules: of a table or view (`table`), of several (`joins`), or of a SELECT (`sql`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {"required": ["public", "guards"], "properties": {"public": {"const": True}, "guards": {"minItems": 1}}},
            "oneOf": [{"required": ["table"]}, {"required": ["sql"], "properties": {"joins": {"maxItems": 0}}}],
        }
    )

    id: Name
    """The name in the token: in `dataSetIds` and `secureFilters`."""
    table: Name | None = None
    """`table` or `schema.table`. Without a schema: the connection's default one."""
    connection: Name | None = None
    """The name, under `connections`, of the database that the table is in. Needed where there are several."""
    sql: Text | None = None
    """A SELECT, in place of `table`: its rows are the dataset's, and the filters apply to them."""
    parameters: dict[Name, TrustedEntry] = {}
    """With `sql`: values of the token that the SELECT names as `{{ trusted.name }}`. A token without one of them cannot read the dataset."""
    joins: list[JoinEntry] = []
    """Tables joined to `table`, one after the other; their columns may be fields."""
    fields: list[FieldEntry] = Field(min_length=1)
    """What queries may see. A column that is not here does not exist for them."""
    sql_name: Name | None = None
    """The name in SQL, at most 63 bytes. Default: the id."""
    name: Name | None = None
    """The name that people see. Default: the id."""
    public: bool = False
    """true: may be read without a filter in the token. It must still be granted."""
    same_table_as: Name | None = None
    """Written on the later of two datasets over one table: a bearer of both may read whatever either permits."""
    reads_past: list[Name] = []
    """With `sql` or `joins`: the datasets whose tables it reads too, and whose filters do not hold there."""
    secure_filters: list[SecureFilterEntry] = []
    """Always joined with AND, whatever the token says."""
    guards: list[GuardEntry] = []
    """What the token itself must restrict, or the dataset is closed to it."""


class LimitsEntry(_Entry):
    """Budgets. What is not written keeps its default."""

    rows: Count | None = None
    """A longer answer is cut and says so. Default: 10000."""
    seconds: Duration | None = None
    """The longest that a query may run. Default: 15."""
    token_bytes: Size | None = None
    """The longest token in a header. Default: 16384."""
    body_token_bytes: Size | None = None
    """The longest token in a body. Default: 2MB."""
    sql_bytes: Size | None = None
    """The longest query. Default: 65536."""
    nodes: Count | None = None
    """The most parts of a query's syntax tree. Default: 3000."""
    result_bytes: Size | None = None
    """The largest answer. Default: 50MB."""
    concurrent: Count | None = None
    """The most queries at once. Default: 64."""
    queries: Count | None = None
    """The most queries in one request. Default: 10."""


class FunctionsEntry(_Entry):
    """On top of the database's built-in list of harmless functions."""

    allow: list[Name] = []
    """Names in lower case. Such a function is yours to judge: it can do whatever the database lets it do."""
    deny: list[Name] = []
    """Names in lower case that no query may call."""


class EngineEntry(_Entry):
    """What the operator says in writing about the database."""

    allow_privileged_role: bool = False
    """true: start although the database role may do more than read."""
    experimental: bool = False
    """true: start although this kind of database does not testify what a query reads."""


class StateEntry(_Entry):
    """What all gateways must know of tokens: exactly one of `file` and `database`."""

    model_config = _one_of("file", "database")

    file: Text | None = None
    """A file of revocations, made by `rowseal revoke init`. Relative paths begin at the folder of this file."""
    database: Text | None = Field(default=None, repr=False)
    """A SQLAlchemy URL of SQLite or PostgreSQL, shared by every gateway. `rowseal revoke init` makes the tables."""
    table: Identifier = "rowseal_revoked"
    """With `database`: the table of revocations; two more have its name with `_used` and `_seen`. Default: rowseal_revoked."""
    poll: Duration = 1.0
    """How often it is read: a revocation holds after so long. Default: 1s."""
    max_stale: Duration = 30.0
    """Where it cannot be read for longer than this, every token is refused. Default: 30s."""


class Document(_Entry):
    """datasets.yaml: what rowseal lets people read, and under which rules."""

    model_config = _one_of("database", "connections")

    version: Version
    """1, the only version there is."""
    database: Text | None = Field(default=None, repr=False)
    """One for all datasets. A SQLAlchemy URL: `sqlite:///relative.db`, `duckdb:///relative.db`, `postgresql://role@host/db`. `${NAME:-default}` reads
    the environment."""
    connections: dict[Name, ConnectionEntry] = Field(default={}, min_length=1)
    """Instead of `database`: several, each under a name that datasets say as their `connection`."""
    tokens: list[TokensEntry] = Field(min_length=1)
    """Who may sign."""
    datasets: list[DatasetEntry] = Field(min_length=1)
    """What may be read."""
    limits: LimitsEntry = LimitsEntry()
    """Budgets. What is not written keeps its default."""
    functions: FunctionsEntry = FunctionsEntry()
    """Functions on top of the database's built-in list of harmless ones."""
    engine: EngineEntry = EngineEntry()
    """What the operator says in writing about the database. With `connections` it is said there."""
    state: StateEntry | None = None
    """Where revocations are kept, and what else all gateways must know of tokens. Default: nowhere, so nothing can be revoked but keys."""
