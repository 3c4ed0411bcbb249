"""What a run is worth to the claims of its suite, for a budget to be spent by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from resbench.analysis.claims import judge_claims
from resbench.analysis.power import claim_powers
from resbench.analysis.results import Results
from resbench.analysis.tables import filled
from resbench.suite.expand import Expanded, parsed_claims

DECIDED = frozenset({"confirmed", "not_confirmed", "contradicted"})


def claim_shares(expanded: Expanded, results: Results) -> Mapping[str, float]:
    """Return per cell how much the claims count, together, that its runs help to decide.

    A claim that the recorded runs decide counts nothing; another as far as the planned seeds can
    decide it (`Power.decidable`).
    """
    table = filled(expanded, results)
    powers = claim_powers(expanded, {id_: cell.done for id_, cell in table.cells.items()})
    shares: dict[str, float] = defaultdict(float)
    for claim, parsed, power in zip(
        judge_claims(table), parsed_claims(expanded), powers, strict=True
    ):
        if claim.verdict.kind not in DECIDED:
            for cell in parsed.cells:
                shares[cell] += power.decidable
    return shares
