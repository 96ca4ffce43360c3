"""A sealed token goes in, only the permitted rows come out.

General layout, in the order in which a request passes:

- `http`: requests in, tokens found, refusals out; `app`: the stand-alone gateway; `cli`: all of it by hand
- `gate`: a configuration, loaded; its `access`: a query from top to bottom
- `configuration`: datasets.yaml, loaded
- `tokens`, `keys`, `strict`: bytes to verified `claims`; `holder`, `dpop`: who may use them; `signing`, `private_keys`: the other side
- `grants`: claims to a grant, one module a token profile
- `dashboard`: a dashboard access token, for hosts that keep dashboards
- `catalog`: what exists, checked against the database
- `filters`, `policy`: which rows of which dataset
- `sql`: admit, resolve names, write guards, witness
- `engine`: a secured query to rows; `explain`: why those
- `errors`: every way to say no; `decisions`: the record of each

The names below are public; modules are internal unless the documentation names them.
"""

from rowseal import errors
from rowseal.dashboard import DashboardAccess
from rowseal.engine import Result
from rowseal.gate import Access, Gate
from rowseal.holder import Presented
from rowseal.http.middleware import GateMiddleware, access_of
from rowseal.http.rewrite import Rewrite
from rowseal.signing import Signer
from rowseal.sql import SecuredQuery

__all__ = ["Access", "DashboardAccess", "Gate", "GateMiddleware", "Presented", "Result", "Rewrite", "SecuredQuery", "Signer", "access_of", "errors"]
