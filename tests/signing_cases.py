"""What both signers are given, the one in Python and the one in JavaScript: what must be signed alike, and what neither may sign."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BASE", "OTHERS", "REFUSED", "SECRETS", "SIGNED", "TENANT"]

TENANT: Final = {"field": "tenant", "op": "=", "value": 7}
BASE: Final[dict[str, Any]] = {"userReference": "person 1", "projectId": "prj_1", "dataSetIds": ["orders"], "secureFilters": {"orders": [[TENANT]]}}


def _filtered(op: str, value: Any) -> dict[str, Any]:
    return {"secureFilters": {"orders": [[{"field": "a", "op": op, "value": value}]]}}


# Over BASE, in the vendor's names; None leaves one out.
SIGNED: Final[dict[str, dict[str, Any]]] = {
    "a tenant": {},
    "an admin of some dashboards": {"accessType": "admin", "scope": "read", "parentDashboardIds": ["dsh_1", "dsh_2"]},
    "the older word for admin": {"accessType": "editor"},
    "the older place": {"projectId": None, "organisationId": "org_1", "dashboardId": "dsh_1"},
    "everything": {"dataSetIds": "*", "secureFilters": {}},
    "no filter for a public one": {"dataSetIds": ["orders", "products"], "secureFilters": {"orders": [[TENANT]], "products": []}},
    "one flat filter": {"secureFilters": {"orders": [TENANT]}},
    "or": {"secureFilters": {"orders": [[TENANT, {"field": "region", "op": "starts_with", "value": "E"}], [{"field": "tenant", "op": "is_null"}]]}},
    "a list": _filtered("is_one_of", [1, 2, 3]),
    "texts": _filtered("is_not_one_of", ["ä", "日本", "a'b\"c\\", "😀", "\x7f>~?", "\u2028"]),
    "truths": _filtered("is_one_of", [True, False]),
    "between": _filtered("between", [1.5, 2]),
    "small and large numbers": _filtered("is_one_of", [1e-7, 0.1, -0.5, 9007199254740991, -9007199254740991]),
    "parameters": {"parameters": {"region": "Zoë", "deep": {"list": [1, None, "x"], "no": False}}},
    "no parameters": {"parameters": {}},
    "a subject": {"subject": "person-1"},
    "origins": {"allowedOrigins": ["https://app.example", "http://localhost:3000"]},
    "a key": {"dpopThumbprint": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
    "names that sound secret and are none": {"parameters": {"has_password": True, "secretary": "Ann", "keyboard": "qwerty", "token_ring": "x", "secret": None}},
    "what looks like a secret and is none": {
        "parameters": {"page": "https://app.example/a:b?c=d@e", "said": "the password is not here", "begin": "eyes.on.you", "time": "http://[::1]:80/"}
    },
}

REFUSED: Final[dict[str, dict[str, Any]]] = {
    "filters that are no list": {"secureFilters": {"orders": "notalist"}},
    "an empty group": {"secureFilters": {"orders": [[]]}},
    "a group beside an empty one": {"secureFilters": {"orders": [[TENANT], []]}},
    "null": _filtered("=", None),
    "an unknown operator": _filtered("==", 1),
    "no operator": {"secureFilters": {"orders": [[{"field": "a", "value": 1}]]}},
    "no value": {"secureFilters": {"orders": [[{"field": "a", "op": "="}]]}},
    "a value too many": _filtered("is_null", 1),
    "a member too many": {"secureFilters": {"orders": [[{**TENANT, "also": 1}]]}},
    "no field": {"secureFilters": {"orders": [[{"op": "=", "value": 1}]]}},
    "an empty field": {"secureFilters": {"orders": [[{**TENANT, "field": ""}]]}},
    "a long field": {"secureFilters": {"orders": [[{**TENANT, "field": "x" * 257}]]}},
    "two flat filters": {"secureFilters": {"orders": [TENANT, TENANT]}},
    "a filter beside a group": {"secureFilters": {"orders": [TENANT, [TENANT]]}},
    "a filter for everything": {"secureFilters": {"*": [[TENANT]]}},
    "no filters": {"secureFilters": None},
    "filters as a list": {"secureFilters": []},
    "an empty list of values": _filtered("is_one_of", []),
    "values of two kinds": _filtered("is_one_of", [1, "1"]),
    "truths among numbers": _filtered("is_one_of", [1, True]),
    "null among values": _filtered("is_one_of", [1, None]),
    "a list for one value": _filtered("=", [1]),
    "one value for a list": _filtered("is_one_of", 1),
    "an object for a value": _filtered("=", {"claim": "x"}),
    "an order of truths": _filtered(op=">", value=True),
    "between truths": _filtered("between", [True, False]),
    "between one": _filtered("between", [1]),
    "between three": _filtered("between", [1, 2, 3]),
    "the empty text": _filtered("starts_with", ""),
    "a number in a text": _filtered("contains_substring", 7),
    "a long text": _filtered("=", "x" * 4097),
    "too many groups": {"secureFilters": {"orders": [[TENANT]] * 101}},
    "too many filters": {"secureFilters": {"orders": [[TENANT] * 101]}},
    "no dataset": {"dataSetIds": []},
    "everything in a list": {"dataSetIds": ["*"]},
    "one dataset without a list": {"dataSetIds": "orders"},
    "no datasets": {"dataSetIds": None},
    "a dataset that is a number": {"dataSetIds": [1]},
    "a dataset without a name": {"dataSetIds": [""]},
    "a dataset with a long name": {"dataSetIds": ["x" * 257]},
    "parameters that are a list": {"parameters": []},
    "too deep": {"parameters": {"a": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}},
    "a text with NUL": {"parameters": {"a": "\0"}},
    "an unknown access type": {"accessType": "owner"},
    "an unknown scope": {"scope": "write"},
    "a scope that is true": {"scope": True},
    "nobody": {"userReference": ""},
    "a number for somebody": {"userReference": 7},
    "somebody with a long name": {"userReference": "x" * 257},
    "no place": {"projectId": None},
    "an empty place": {"projectId": ""},
    "two places": {"organisationId": "org_1"},
    "a dashboard of a project": {"dashboardId": "dsh_1"},
    "parents of an organisation": {"projectId": None, "organisationId": "org_1", "parentDashboardIds": ["dsh_1"]},
    "parents that are text": {"parentDashboardIds": "dsh_1"},
    "a parent that is a number": {"parentDashboardIds": [1]},
    "no parents in a list": {"parentDashboardIds": []},
    "an empty subject": {"subject": ""},
    "an origin with a path": {"allowedOrigins": ["https://app.example/"]},
    "an origin in capitals": {"allowedOrigins": ["https://APP.example"]},
    "an origin with its scheme's port": {"allowedOrigins": ["https://app.example:443"]},
    "any origin": {"allowedOrigins": ["*"]},
    "no origin": {"allowedOrigins": []},
    "an origin twice": {"allowedOrigins": ["https://app.example"] * 2},
    "a short thumbprint": {"dpopThumbprint": "abc"},
}

# What looks like a secret, by what the refusal calls it. Made up, as is every name in them.
SECRETS: Final[list[tuple[dict[str, Any], str]]] = [
    ({"parameters": {"note": "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----"}}, "`parameters.note` looks like a private key"),
    ({"parameters": {"key": {"kty": "EC", "crv": "P-256", "d": "AAAA"}}}, "`parameters.key` looks like a private key"),
    ({"parameters": {"jwks": [{"kty": "oct", "k": "AAAA"}]}}, r"`parameters.jwks\[0\]` looks like a private key"),
    ({"parameters": {"login": "Bearer eyJhbGciOiJub25lIn0.e30.AAAA"}}, "`parameters.login` looks like a token"),
    ({"userReference": "eyJhbGciOiJub25lIn0.e30.AAAA"}, "`userReference` looks like a token"),
    (_filtered("=", "postgresql+psycopg://reader:hunter2@db/shop"), r"`secureFilters.orders\[0\]\[0\].value` looks like a URL with a password"),
    (_filtered("is_one_of", ["x", "redis://:hunter2@cache/0"]), r"value\[1\]` looks like a URL with a password"),
    ({"parameters": {"warehouse": "Server=db;User Id=sa;Password=hunter2;"}}, "looks like a connection string"),
    ({"parameters": {"warehouse": "host=db user=sa password=hunter2"}}, "looks like a connection string"),
    ({"parameters": {"storage": "AccountName=shop;AccountKey=AAAA=="}}, "looks like a connection string"),
    *(
        ({"parameters": {name: "x"}}, f"`parameters.{name}` is called like a secret")
        for name in (
            *("password", "db_password", "dbPassword", "PASSWORD", "Passwort", "passwd", "pwd", "passphrase", "secret", "client_secret", "clientSecret"),
            *("api_key", "apiKey", "API_KEY", "apikey", "privateKey", "accessKey", "credentials", "awsCredentials", "accessToken", "refresh_token"),
            *("connectionString", "databaseUrl", "db_url", "DSN", "APIKey"),
        )
    ),
    ({"parameters": {"deep": [{"password": 12345678}]}}, r"`parameters.deep\[0\].password` is called like a secret"),
]

# Other options of a signer than its key and its tokens' life.
OTHERS: Final[dict[str, dict[str, Any]]] = {"none": {}, "all": {"issuer": "shop", "audience": "rowseal", "withIat": True, "withJti": True}}
