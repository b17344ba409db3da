"""All scenarios by name."""

from collections.abc import Mapping

from tests.crash.points.scenario import Scenario
from tests.crash.points.scenarios import (
    copies,
    deletion,
    exports,
    labels,
    migration,
    rebuild,
    reconcile,
    retention,
    upkeep,
)

_ALL: tuple[Scenario, ...] = (
    *upkeep.SCENARIOS,
    *copies.SCENARIOS,
    *retention.SCENARIOS,
    *deletion.SCENARIOS,
    *reconcile.SCENARIOS,
    *rebuild.SCENARIOS,
    *migration.SCENARIOS,
    *exports.SCENARIOS,
    *labels.SCENARIOS,
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
