"""Every way in which rowseal says no.

    Exception
    ├─ Misconfigured            start-up only: datasets.yaml or a key is wrong; lists *all* problems
    └─ Refused                  has .code .status .hint; never raised itself
       ├─ TokenRefused     401, 503  who the bearer is was not proven
       ├─ AccessRefused    403  proven, but this dataset is not for them
       ├─ QueryRefused     400  not a query (or request) that we accept
       ├─ BudgetExceeded   413, 429
       ├─ EngineFailed     502  the database failed; its words stay in the log
       ├─ TimedOut         504
       ├─ Cancelled        499  nobody waits for the answer any more; only the audit sees it
       ├─ AdminRefused     400, 401, 404, 409  an operator's act on the keys is not done
       ├─ Unsecured        500  the application asked its sealed engine what nobody secured, so nothing ran
       └─ OurBug           500  a promise of ours did not hold, so nothing ran

A code is stable, greppable and documented in docs/reference/errors.md, which a test compares with `CODES`.
Messages are lower case, without a full stop; what the bearer wrote stands in backticks; no message ever holds a token,
a claim's or filter's value, the database's own words, or a name that the bearer did not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "CODES",
    "AccessRefused",
    "AdminRefused",
    "BudgetExceeded",
    "Cancelled",
    "Code",
    "EngineFailed",
    "Misconfigured",
    "OurBug",
    "Problem",
    "QueryRefused",
    "Refused",
    "TimedOut",
    "TokenRefused",
    "Unsecured",
]


@dataclass(frozen=True, slots=True)
class Code:
    """What one code means, whoever raises it: the HTTP status, one sentence, and the cure."""

    status: int
    means: str
    hint: str


CODES: Final[dict[str, Code]] = {
    # 401: the token
    "token_missing": Code(401, "the request carries no data access token", "send it as `Authorization: Bearer <token>`"),
    "token_malformed": Code(401, "the token is not a well-formed compact JWS with strict JSON inside", "send the signer's output unchanged"),
    "token_too_large": Code(401, "the token is larger than this server accepts", "send fewer or shorter filters, or raise `limits.token_bytes`"),
    "token_in_query": Code(
        401, "a token stood in the URL, where logs and histories keep it", "send it as `Authorization: Bearer <token>` and treat the one in the URL as leaked"
    ),
    "token_ambiguous": Code(401, "the request carries more than one token", "send exactly one"),
    "header_refused": Code(401, "the token's header holds a member that is not accepted", "sign with a header of `alg`, `kid` and `typ` only"),
    "algorithm_refused": Code(
        401,
        "the token's algorithm is none that this server takes",
        "sign with ES256 and a P-256 key, or with another algorithm of docs/reference/claims.md and its key",
    ),
    "signature_invalid": Code(
        401,
        "no configured key proves the token's signature",
        "sign with the private half of a configured key and its algorithm (`rowseal keys thumbprint` names both halves alike), and send the token unchanged",
    ),
    "keys_unavailable": Code(
        503, "the issuer's keys cannot be had at the moment, so the token cannot be proven", "try again in a moment; the token may be good"
    ),
    "token_expired": Code(401, "the token has expired", "fetch a fresh token from the host application, and ask again with it"),
    "token_revoked": Code(
        401, "the token was revoked", "fetch a fresh token from the host application; if that is refused too, whoever revoked it has to be asked"
    ),
    "token_idle": Code(401, "the token was not used for longer than it may stay idle, and has ended", "fetch a fresh token from the host application"),
    "token_replayed": Code(401, "the token holds for one use, and was used already", "fetch a fresh token for each request"),
    "state_unavailable": Code(503, "what was revoked cannot be known at the moment, so no token is accepted", "try again in a moment; the token may be good"),
    "token_not_yet_valid": Code(401, "the token is not valid yet", "set the clock of the signing server right, or raise `leeway`"),
    "expiry_missing": Code(401, "the token names no moment at which it expires", "sign with `expires` (ISO 8601 with an offset) or `exp` (a number)"),
    "lifetime_too_long": Code(
        401, "the token lives longer than this server allows", "sign with a shorter life (some signers count minutes as days), or raise `max_lifetime`"
    ),
    "token_kind": Code(401, "this is another kind of token than belongs here", "send the `dataAccessToken`"),
    "claim_invalid": Code(401, "a claim of the token is missing or has a wrong shape", "sign with the claims in docs/reference/claims.md"),
    "development_refused": Code(
        401, "a development key signed the token, and this server does not take its tokens", "sign with another key, or start the server with `--development`"
    ),
    "issuer_refused": Code(
        401,
        "issuer, audience or project of the token are not the configured ones",
        "sign as `iss`, `aud` or `projectId` what datasets.yaml demands by `issuer`, `audience` or `project_id`",
    ),
    "binding_required": Code(
        401, "the token is bound to no holder, and this server demands that it is", "sign `allowedOrigins` or `cnf`, whichever datasets.yaml demands"
    ),
    "origin_refused": Code(
        401, "the token is for web pages of other origins", "ask from a page of an origin in the token's `allowedOrigins`, or sign the page's origin there"
    ),
    "proof_required": Code(
        401, "the token is bound to a key, and came without a proof of holding it", "send `Authorization: DPoP <token>` with a `DPoP` header (RFC 9449)"
    ),
    "proof_refused": Code(401, "the DPoP proof does not prove that the token's holder sent this request", "make a proof for each request as RFC 9449 says"),
    "proof_replayed": Code(401, "the DPoP proof was used before", "make a proof for each request, with a `jti` of its own"),
    "filters_malformed": Code(
        401, "the token's secure filters do not follow the grammar", "write a list of AND-groups of {field, op, value}; see docs/reference/operators.md"
    ),
    # 403: the dataset
    "explain_closed": Code(403, "queries of this token may not be explained", "ask the operator, who may write `explain: true` at the key in datasets.yaml"),
    "dataset_unknown": Code(403, "no dataset of this name is open to this token", "read a dataset that the token grants, or sign a token that grants this one"),
    "dataset_not_asked": Code(403, "the query reads another dataset than the one the request names", "name the dataset that the query reads"),
    "dataset_revoked": Code(
        403, "access to this dataset was revoked for tokens as old as this one", "fetch a fresh token from the host application, and ask again with it"
    ),
    "filter_required": Code(
        403,
        "the token grants this dataset but restricts no rows of it",
        "add a secure filter for it to the token, or mark it `public: true`, or sign with a `development: true` key",
    ),
    "filter_inapplicable": Code(
        403, "a secure filter of the token does not fit this dataset's fields or types", "use the field ids and types that datasets.yaml declares"
    ),
    "guard_unmet": Code(
        403,
        "the token does not restrict a field that this dataset's guard demands",
        "restrict the guarded field in every OR branch, as its guard in datasets.yaml says",
    ),
    "claim_required": Code(403, "this dataset needs a claim that the token lacks", "sign the claim that the dataset's filter names"),
    "value_not_carried": Code(
        403,
        "a secure filter holds a value that JSON cannot carry exactly to the engine behind",
        "sign whole numbers below 2^53, or let the engine ask `request.state.rowseal`",
    ),
    # 400: the request and its SQL
    "request_malformed": Code(400, "the request's body is not what this path expects", "send a JSON object with `sql`"),
    "sql_empty": Code(400, "there is no SQL to run", "send one SELECT"),
    "sql_not_one_select": Code(400, "only a single SELECT is accepted", "send one SELECT; no other statement, no second one"),
    "sql_syntax": Code(400, "the SQL could not be parsed", "check the SQL against the database's dialect"),
    "sql_character": Code(400, "the SQL holds a character that is not accepted", "remove control and invisible characters"),
    "sql_too_complex": Code(400, "the SQL nests too deeply or is too large", "split the query, or raise `limits.sql_bytes` or `limits.nodes`"),
    "construct_refused": Code(
        400, "the SQL uses a construct that is not on the list of what is accepted", "rewrite without it; see docs/reference/sql-subset.md"
    ),
    "function_refused": Code(
        400, "the SQL calls a function that is not on the list of what is accepted", "use another function, or add it to `functions.allow`"
    ),
    "name_reserved": Code(400, "a name begins with two underscores and g, u or ok, which rowseal uses itself", "choose another name"),
    "column_unknown": Code(400, "no such column is open to this token here", "use the fields that the dataset declares"),
    "column_ambiguous": Code(400, "the column exists in more than one table of the query", "write the table's name before it"),
    "table_alias_unknown": Code(400, "no table or alias of this name stands in the query's FROM", "add it to FROM, or correct the name"),
    "parameter_missing": Code(400, "the SQL names a parameter for which there is no value", "send it in `params`"),
    "parameter_unused": Code(400, "a parameter was sent that the SQL does not name", "remove it, or name it in the SQL"),
    "parameter_refused": Code(400, "a parameter's value has a type that cannot be bound", "send a string, a number, a boolean or null"),
    "admin_refused": Code(401, "this is for operators, and the secret is not theirs", "send the admin secret as `Authorization: Bearer <secret>`"),
    "key_refused": Code(400, "this is no key that may be added", "send a public key of a kind in docs/how-to/keys.md, with the scope that it shall have"),
    "key_missing": Code(404, "there is no such key", "GET /v1/keys, which lists them"),
    "key_taken": Code(409, "the name or the key is taken", "add a new key under a new name"),
    "path_unknown": Code(404, "there is nothing at this path", "GET /openapi.json, which lists the paths"),
    "method_refused": Code(405, "this path does not take this method", "use the method that the `Allow` header names"),
    "format_refused": Code(
        406,
        "the answer is wanted in a form that this server does not have",
        "send `Accept: application/json`, `application/x-ndjson`, `text/csv` or `application/vnd.apache.arrow.stream`",
    ),
    "path_closed": Code(404, "this path is not open", "ask the operator to open it by name"),
    # 413, 429, 502, 504, 499, 500
    "body_too_large": Code(
        413,
        "the request's body is larger than this server accepts",
        "send less, or raise `limits.sql_bytes` (`limits.body_token_bytes` where the body holds the token)",
    ),
    "result_too_large": Code(413, "the result is larger than this server sends", "aggregate, select fewer columns, or raise `limits.result_bytes`"),
    "too_many_queries": Code(429, "too many queries run at once", "try again in a moment"),
    "key_rows_spent": Code(
        429, "tokens of this key have read as many rows as they may in an hour", "aggregate instead, wait as long as `Retry-After` says, or ask the operator"
    ),
    "key_values_spent": Code(
        429, "tokens of this key have named as many filter values as they may in an hour", "wait as long as `Retry-After` says, or ask the operator"
    ),
    "query_failed": Code(502, "the database could not run the query", "check types and functions; the operator's log holds the reason"),
    "database_unavailable": Code(502, "the database could not be reached", "try again in a moment"),
    "timed_out": Code(504, "the query ran longer than this server allows", "narrow the query, or raise `limits.seconds`"),
    "statement_unsecured": Code(
        500, "the application asked its database what no access has secured, so nothing ran", "whoever wrote it: execute `access.secure(...).statement`, once"
    ),
    "query_cancelled": Code(499, "whoever asked has gone, so the query was ended", "keep the connection open until the answer has come"),
    "our_bug": Code(500, "rowseal could not prove its own work, so nothing ran", "report it with the request id; the log holds the rest"),
}


class Refused(Exception):
    """Base of every refusal. Never raised itself.

    `code` is a key of `CODES`; `status` the HTTP status; `detail` one lower-case sentence for the bearer; `hint` the cure;
    `line` and `column` (from 1) point into the bearer's SQL where that helps.
    """

    def __init__(self, code: str, detail: str | None = None, *, hint: str | None = None, line: int | None = None, column: int | None = None) -> None:
        meaning = CODES[code]
        self.code = code
        self.status = meaning.status
        self.detail = detail or meaning.means
        self.hint = hint or meaning.hint
        self.line = line
        self.column = column
        super().__init__(f"{code}: {self.detail}")


class TokenRefused(Refused):
    """The token itself is not accepted (401), or cannot be proven at the moment (503).

    `reason` and `key`, the id of a key that is configured, are for the log alone: which keys there are is nothing for whoever proved nothing.
    `kid` is what a token that no key proves called its key.
    """

    def __init__(
        self, code: str, detail: str | None = None, *, hint: str | None = None, reason: str | None = None, key: str | None = None, kid: str | None = None
    ) -> None:
        super().__init__(code, detail, hint=hint)
        self.reason = reason
        self.key = key
        self.kid = kid
        self.awaited = False  # whether the key is being asked for


class AccessRefused(Refused):
    """The token is fine, but this dataset is not for its bearer (403)."""


class QueryRefused(Refused):
    """The request or its SQL is not one that rowseal accepts (400)."""


class BudgetExceeded(Refused):
    """A bound on size, concurrency or use was reached (413, 429). `retry_after`: in how many seconds it is worth asking again."""

    def __init__(self, code: str, detail: str | None = None, *, hint: str | None = None, retry_after: int = 1) -> None:
        super().__init__(code, detail, hint=hint)
        self.retry_after = retry_after


class EngineFailed(Refused):
    """The database refused or failed (502). Its own words are only in the log."""


class TimedOut(Refused):
    """The query ran out of time (504)."""


class AdminRefused(Refused):
    """What an operator asked of the keys is not done (400, 401, 404, 409)."""


class Unsecured(Refused):
    """A sealed engine was asked something that no access has secured: a mistake of the application's. Nothing ran (500)."""


class Cancelled(Refused):
    """Whoever asked has gone before the answer (499, as some servers log it). Nobody reads this but the audit."""


class OurBug(Refused):
    """This should never happen: a promise of rowseal's own did not hold. Nothing ran (500)."""

    def __init__(self, detail: str) -> None:
        # INVARIANT: what went wrong may name tables and values; only the log sees it, through __cause__ and `internal`.
        super().__init__("our_bug")
        self.internal = detail


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration: where, and what to write instead. `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}" if self.path else f"{self.file}:{self.line}:{self.column}: {self.message}"


class Misconfigured(Exception):
    """The configuration cannot be used. `.problems` holds every problem found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
