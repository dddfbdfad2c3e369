"""What replicas tell of their demand, on clocks that move when the test says so; and the policy that sums it up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from serve_deployments.autoscaling import CALL_CPU_S, DEMAND, CallDemand, RouterDemand, by_demand


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cpu() -> Clock:
    return Clock()


@pytest.fixture
def demand(clock: Clock, cpu: Clock) -> CallDemand:
    return CallDemand(clock=clock, cpu=cpu)


class Sent:
    """What a router sent so far."""

    def __init__(self) -> None:
        self.calls = 7.0
        self.images = 70.0

    def batches(self, calls: int, of: int) -> None:
        self.calls += calls
        self.images += calls * of


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def router(sent: Sent, clock: Clock, cpu: Clock) -> RouterDemand:
    return RouterDemand(calls=lambda: sent.calls, images=lambda: sent.images, max_batch=32, clock=clock, cpu=cpu)


def test_a_router_needs_what_it_computes(router: RouterDemand, clock: Clock, cpu: Clock) -> None:
    clock.pass_by(10)
    cpu.pass_by(4)
    assert router.read() == pytest.approx(0.4)
    clock.pass_by(2)
    assert router.read() == 0


@pytest.mark.parametrize(
    ("cpu_s", "calls", "of", "demand"),
    [
        pytest.param(1.8, 200, 32, 0.9, id="full batches save nothing"),
        # As two clients keep it: 400 calls a second with two images each. In full ones they would be 25.
        pytest.param(1.6, 800, 2, 0.8 - 375 * CALL_CPU_S, id="small ones could be fuller"),
    ],
)
def test_what_fuller_batches_would_save_is_left_out(
    router: RouterDemand, sent: Sent, clock: Clock, cpu: Clock, cpu_s: float, calls: int, of: int, demand: float
) -> None:
    clock.pass_by(2)
    cpu.pass_by(cpu_s)
    sent.batches(calls, of=of)
    assert router.read() == pytest.approx(demand)


def test_what_small_batches_cost_is_never_more_than_there_was(
    router: RouterDemand, sent: Sent, clock: Clock, cpu: Clock
) -> None:
    """On a machine that is faster than the one the cost of a call was measured on."""
    clock.pass_by(1)
    cpu.pass_by(0.3)
    sent.batches(1000, of=1)
    assert router.read() == 0


def test_a_classifier_is_busy_while_any_call_is_in_it(demand: CallDemand, clock: Clock) -> None:
    with demand.call(1, 0), demand.call(1, 0):
        clock.pass_by(1)
    clock.pass_by(1)
    with demand.call(1, 0):
        clock.pass_by(1)
    clock.pass_by(1)
    assert demand.read() == pytest.approx(0.5)
    clock.pass_by(5)
    assert demand.read() == 0


def test_a_call_that_lasts_counts_in_each_reading(demand: CallDemand, clock: Clock) -> None:
    with demand.call(4, 0):
        for _ in range(3):
            clock.pass_by(2)
            assert demand.read() == pytest.approx(1)
        clock.pass_by(1)
    clock.pass_by(1)
    assert demand.read() == pytest.approx(0.5)


def test_a_call_that_fails_is_over(demand: CallDemand, clock: Clock) -> None:
    with pytest.raises(ValueError, match="broken"), demand.call(1, 0):
        clock.pass_by(1)
        raise ValueError("broken")
    clock.pass_by(1)
    assert demand.read() == pytest.approx(0.5)


def test_computing_around_the_calls_counts_for_each_thread(clock: Clock, cpu: Clock) -> None:
    demand = CallDemand(threads=2, clock=clock, cpu=cpu)
    with demand.call(1, 0):
        clock.pass_by(1)
    clock.pass_by(9)
    cpu.pass_by(16)
    assert demand.read() == pytest.approx(0.8)


def test_what_waits_counts_as_the_work_that_it_is(demand: CallDemand, clock: Clock) -> None:
    """10 images a second, and 20 and 40 that waited for this replica: 3 s of work, to be done within one."""
    for waiting in (20, 40):
        with demand.call(10, waiting):
            clock.pass_by(1)
    assert demand.read() == pytest.approx(1 + 3)
    clock.pass_by(2)
    assert demand.read() == 0, "nobody says that anything waits any more"


def test_a_long_call_keeps_saying_what_waited(demand: CallDemand, clock: Clock) -> None:
    with demand.call(10, 0):
        clock.pass_by(1)
    assert demand.read() == pytest.approx(1)
    with demand.call(10, 5):
        for _ in range(2):
            clock.pass_by(2)
            assert demand.read() == pytest.approx(1.5)


def context(demands: dict[str, float] | None, replicas: int = 2) -> SimpleNamespace:
    return SimpleNamespace(
        aggregated_metrics={DEMAND: demands} if demands is not None else {},
        current_num_replicas=replicas,
        target_num_replicas=replicas,
        config=SimpleNamespace(target_ongoing_requests=0.5),
    )


def test_the_policy_shares_the_demand_out() -> None:
    assert by_demand(context({"a": 1.0, "b": 0.75})) == (3.5, {})
    assert by_demand(context({"a": 0.0, "b": 0.0})) == (0.0, {})


def test_without_a_report_all_stays_as_it_is() -> None:
    assert by_demand(context(None, replicas=3)) == (3, {})
    assert by_demand(context({}, replicas=3)) == (3, {})
    no_metrics = context(None)
    no_metrics.aggregated_metrics = None
    assert by_demand(no_metrics) == (2, {})
