"""When a component is started again, when it is given up, and in what order things stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_sandbox.supervisor_plan import (
    MAX_FAILURES,
    ComponentStatus,
    GiveUp,
    History,
    Overall,
    Restart,
    State,
    after_exit,
    overall,
    stop_order,
)


def test_delays_grow_and_then_it_is_given_up() -> None:
    history, delays = History(), []
    while isinstance(decision := after_exit(history, ran_for=0.1, was_ready=False), Restart):
        delays.append(decision.delay)
        history = decision.history
    assert delays == sorted(delays)
    assert len(delays) == MAX_FAILURES - 1
    assert decision == GiveUp(History(failures=MAX_FAILURES, restarts=MAX_FAILURES - 1))


@pytest.mark.parametrize(
    ("ran_for", "was_ready", "failures"),
    [
        pytest.param(3600.0, True, 1, id="was well for long: a new story"),
        pytest.param(1.0, True, 4, id="ready but only for a moment: the same story"),
        pytest.param(3600.0, False, 4, id="never ready: the same story"),
    ],
)
def test_what_counts_as_in_a_row(ran_for: float, was_ready: bool, failures: int) -> None:
    decision = after_exit(History(failures=3, restarts=3), ran_for=ran_for, was_ready=was_ready)
    assert decision.history.failures == failures


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=40))
def test_no_history_makes_a_delay_outside_its_bounds(exits: list[tuple[float, bool]]) -> None:
    history = History()
    for ran_for, was_ready in exits:
        decision = after_exit(history, ran_for=ran_for, was_ready=was_ready)
        if isinstance(decision, GiveUp):
            assert decision.history.failures == MAX_FAILURES
            return
        assert 0 < decision.delay <= 10
        assert decision.history.restarts == history.restarts + 1
        history = decision.history


def _status(state: State) -> ComponentStatus:
    return ComponentStatus("x", "node", state, None, 0, 0.0)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.READY, State.DONE], Overall.READY),
        ([State.READY, State.STARTING], Overall.STARTING),
        ([State.READY, State.WAITING], Overall.STARTING),
        ([State.READY, State.BACKOFF], Overall.STARTING),
        ([State.STARTING, State.FAILED], Overall.DEGRADED),
        ([State.READY, State.STOPPED], Overall.DEGRADED),
    ],
)
def test_overall(states: list[State], expected: Overall) -> None:
    assert overall(tuple(map(_status, states))) is expected


@st.composite
def _graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    names = [f"c{number}" for number in range(draw(st.integers(0, 8)))]
    return {
        name: tuple(draw(st.lists(st.sampled_from(names[:index]), unique=True))) if index else ()
        for index, name in enumerate(names)
    }


@given(_graphs())
def test_nothing_stops_before_what_needs_it(graph: dict[str, tuple[str, ...]]) -> None:
    waves = stop_order(graph)
    position = {name: number for number, wave in enumerate(waves) for name in wave}
    assert position.keys() == graph.keys()
    assert all(position[need] > position[name] for name, needs in graph.items() for need in needs)
