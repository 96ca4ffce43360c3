"""Keys whose private halves stand in documentation, so that anybody can sign with them. Named by their RFC 7638 thumbprints."""

from __future__ import annotations

from typing import Final

from rowseal.keys.types import KeyRefused, PublicKey

__all__ = ["PUBLISHED", "refuse_published"]

PUBLISHED: Final = frozenset(
    {
        # a dashboard vendor's examples, demonstrations and staging
        "8yxZcyD3E6AZmSaERZ-dnQ8Nt-m2v-hIBKkm2vx42wI",
        "ZzplqB8WKJ2GpxDj6kLzssV9UUIiY_dm6Ls11KI2Wx8",
        "7D1atw7nPnLf-B1_M8NwiKkf8WkRuYnCLfSGNLh0TMY",
        "N4Ps4JAoO7rcVCro-Y0foOVYHxgn_YeSmrztpjXD32c",
        "GrHG5WNE5V57NDZx0kyejwTBZ3t01vhjtapDNdVDOSQ",
        # what a well-known page for looking at tokens signs its examples with: ES256, RS256
        "19J8y7Zprt2-QKLjF2I5pVk0OELX6cY2AfaAv1LC_w8",
        "oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY",
        # RFC 7515 appendix A.3, RFC 8037 appendix A.1
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    }
)


def refuse_published(key: PublicKey) -> PublicKey:
    """The key, unless anybody can sign with it. Raises KeyRefused."""
    if key.thumbprint in PUBLISHED:
        raise KeyRefused("the private half of this key stands in public documentation, so anybody can sign with it: make a key with `rowseal keys create`")
    return key
