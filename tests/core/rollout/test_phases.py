from itertools import product

import pytest

from analyzer.core.rollout.phases import IN_FLIGHT, TRANSITIONS, Phase, Trigger, after, mermaid

DESIGN = {
    Phase.IDLE: {Phase.PENDING, Phase.INVALID},
    Phase.PENDING: {Phase.PROGRESSING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.INVALID},
    Phase.PROGRESSING: {Phase.PROGRESSING, Phase.BAKING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.INVALID},
    Phase.BAKING: {Phase.BAKING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.INVALID},
    Phase.ROLLING_BACK: {Phase.ROLLED_BACK, Phase.INVALID},
    Phase.PROMOTED: {Phase.PENDING, Phase.INVALID},
    Phase.ROLLED_BACK: {Phase.PENDING, Phase.INVALID},
    Phase.INVALID: {Phase.IDLE},
}


def test_each_phase_leads_only_where_the_design_says() -> None:
    assert {phase: set(row.values()) for phase, row in TRANSITIONS.items()} == DESIGN


@pytest.mark.parametrize(("phase", "trigger"), list(product(Phase, Trigger)))
def test_a_pair_that_is_not_in_the_table_is_refused(phase: Phase, trigger: Trigger) -> None:
    if trigger in TRANSITIONS[phase]:
        assert after(phase, trigger) is TRANSITIONS[phase][trigger]
    else:
        with pytest.raises(LookupError, match=f"from {phase} on {trigger}"):
            after(phase, trigger)


def test_from_every_phase_in_flight_the_traffic_can_be_taken_back() -> None:
    for phase in IN_FLIGHT - {Phase.ROLLING_BACK}:
        assert after(after(phase, Trigger.ABORT), Trigger.ZEROED) is Phase.ROLLED_BACK


def test_the_diagram_shows_every_transition_but_the_breaking_ones() -> None:
    arrows = [line for line in mermaid().splitlines() if "-->" in line]
    drawn = sum(len(row) for row in TRANSITIONS.values()) - sum(Trigger.BROKEN in row for row in TRANSITIONS.values())
    assert len(arrows) == drawn + 1
