"""What every database spells alike."""

from __future__ import annotations

from typing import Final

from rowseal.filters import Operator

__all__ = ["COMPARISONS"]

COMPARISONS: Final = {Operator.NE: "<>", Operator.GT: ">", Operator.GE: ">=", Operator.LT: "<", Operator.LE: "<="}
