"""Reports that do not arrive lose nothing that there is room for, and never end the router."""

from __future__ import annotations

from app.errors import ClusterError
from serve_deployments.observation import Observation
from serve_deployments.report import LoggedAnswer
from serve_deployments.reporter import KEPT_SECONDS, Noted, Notes, Reporter


def answer(number: int) -> LoggedAnswer:
    return LoggedAnswer(f"r{number}", 0, "1", "champion", 0, 0.9, float(number))


class Receiver:
    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.got: list[str] = []

    async def __call__(self, noted: Noted) -> None:
        if self.failure is not None:
            raise self.failure
        self.got += [each.request_id for each in noted.answers]
        self.got += [f"image at {each.at:g}" for each in noted.observations]


async def test_answers_arrive_once_and_in_order() -> None:
    notes, receiver = Notes(100, 5), Receiver()
    reporter = Reporter(notes, receiver)
    for number in range(3):
        notes.answers.add(answer(number))
    await reporter.report()
    await reporter.report()
    assert receiver.got == ["r0", "r1", "r2"]


async def test_what_did_not_arrive_is_sent_again() -> None:
    notes, receiver = Notes(100, 5), Receiver()
    reporter = Reporter(notes, receiver)
    for failure in (ClusterError("gone"), TimeoutError()):
        receiver.failure = failure
        notes.answers.add(answer(len(receiver.got)))
        await reporter.report()
    receiver.failure = None
    notes.answers.add(answer(9))
    notes.observations.add(Observation(7.0, "/1", 0, 0.9, 1.0, 2.0, 3.0, 4.0))
    await reporter.report()
    assert receiver.got == ["r0", "r0", "r9", "image at 7"]


async def test_an_unforeseen_failure_does_not_end_reporting() -> None:
    notes, receiver = Notes(100, 5), Receiver()
    reporter = Reporter(notes, receiver)
    receiver.failure = ValueError("unforeseen")
    await reporter.report()
    receiver.failure = None
    notes.answers.add(answer(1))
    await reporter.report()
    assert receiver.got == ["r1"]


async def test_memory_is_bounded_while_control_is_gone() -> None:
    notes, receiver = Notes(10, 5), Receiver()
    reporter = Reporter(notes, receiver)
    receiver.failure = ClusterError("gone")
    for second in range(3 * KEPT_SECONDS):
        for number in range(20):
            notes.answers.add(answer(100 * second + number))
        await reporter.report()
    receiver.failure = None
    await reporter.report()
    assert len(receiver.got) == 10 * KEPT_SECONDS
    assert receiver.got[-1] == f"r{100 * (3 * KEPT_SECONDS - 1) + 9}", "the newest are kept"
