"""The owner of live state, and the one writer of the traffic file. One replica; not on the way of a request.

Routers tell it once a second what they counted and answered. What it learns lies in SQLite in MANTA_HOME, so the next
replica goes on where this one ended; the traffic file itself lies in the Serve document.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray

from app.config import Home
from app.errors import BadInput, ClusterError, Conflict, MantaError, NotFound
from app.traffic_changes import automatic, percent_of, stopped
from app.traffic_file import CHAMPION, TrafficFile, TrafficVersion
from cluster.deployment import change
from cluster.serve_client import ServeClient
from serve_deployments.batch_statistics import BatchStatistics
from serve_deployments.change_requests import ChangeRequest, parse
from serve_deployments.drift_watch import DriftWatch
from serve_deployments.experiment import Experiments
from serve_deployments.guard import breach
from serve_deployments.live_store import LiveStore
from serve_deployments.metrics import Gauges, render
from serve_deployments.problem import status_and_detail
from serve_deployments.registry_follower import LiveChampion, RegistryFollower, cause_of
from serve_deployments.report import Instructions, Report
from serve_deployments.schemas import ControlArgs
from serve_deployments.verdicts import decision
from serve_deployments.windows import Windows

logger = logging.getLogger("ray.serve")

P = ParamSpec("P")
T = TypeVar("T")
_TO_FOLLOW = "registry has to follow"
_KEPT_OPERATIONS = 100
_POLL_S = 0.1
_RETRY_S = 1.0
_DECIDE_EVERY_S = 30.0
"""Of feedback in a test that has run for weeks there may be a million rows to count."""
_DECISION_RETRY_S = 60.0

Method = Callable[Concatenate["Control", P], Awaitable[Any]]


def _answers(method: Method[P]) -> Callable[Concatenate[Control, P], Coroutine[Any, Any, dict[str, Any]]]:
    """Errors of Manta's own go back to the router as values: it knows their HTTP status, and Ray wraps exceptions."""

    @functools.wraps(method)
    async def call(self: Control, /, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        try:
            return {"result": await method(self, *args, **kwargs)}
        except MantaError as error:
            return {"error": type(error).__name__, "message": status_and_detail(error)[1]}

    return call


class Control:
    def __init__(self, args: ControlArgs) -> None:
        self._args = args
        self._home = Home.from_env()
        self._store = LiveStore(self._home.live_database)
        self._experiments = Experiments(self._store)
        self._drift = DriftWatch(self._store, args)
        self._drift_gauges: Gauges = {}
        self._drift_unknown = ""
        """Why, where nothing is known of it."""
        self._windows = Windows(self._store.counted(), keep_s=args.longest_window_s)
        self._started = time.monotonic()
        # The database has one writer, and so has the service.
        self._database = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._changing = asyncio.Lock()
        self._registry = RegistryFollower(
            functools.partial(_promoted, str(self._home.root)),
            functools.partial(self._in_database, self._store.save_text, _TO_FOLLOW),
            self._store.text(_TO_FOLLOW) or "",
        )
        self._suspended: dict[str, str] = {}
        """Why, by application: a guardrail was broken, and the traffic file does not say so yet."""
        self._weighted_since: dict[str, float] = {}
        """By application, on the clock of `time.monotonic`."""
        self._counted = self._windows.counted()
        """As the store has it."""
        self._operations: dict[str, dict[str, Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._serve = ServeClient(_dashboard_url())
        self._traffic: TrafficFile | None = None
        self._watching = False

    async def reconfigure(self, _user_config: object) -> None:
        """Called by Serve once the event loop runs."""
        if not self._watching:
            self._watching = True
            for period_s, step in (
                (1.0, self._guard_all),
                (5.0, self._refresh),
                (_DECIDE_EVERY_S, self._decide),
                (5.0, self._keep_counts),
                (60.0, self._forget),
                (self._args.drift_every_s, self._watch_drift),
                (300.0, self._catch_up),
            ):
                self._in_background(self._repeat(period_s, step))

    # What routers tell

    @_answers
    async def report(self, report: Report) -> Instructions:
        self._windows.add(report, time.monotonic())
        if report.answers or report.observations:
            await self._in_database(self._store.add_answers, report.answers, report.observations)
        return Instructions(suspended=frozenset(self._suspended))

    @_answers
    async def feedback(self, request_id: str, image_index: int, class_id: int) -> dict[str, Any]:
        return {"joined": await self._in_database(self._store.add_feedback, request_id, image_index, class_id)}

    # What people ask

    @_answers
    async def metrics(self) -> bytes:
        try:
            await self._keep_counts()  # before they are told: a counter never falls, not even when control is killed
        except ClusterError as error:
            logger.warning("counters will fall if control starts anew: %s", error)
        gauges = self._windows.gauges()
        gauges |= self._drift_gauges
        gauges["manta_uptime_seconds", ()] = time.monotonic() - self._started
        traffic = await self._current_traffic()
        if traffic is not None:
            for version, percent in percent_of(traffic).items():
                is_champion = CHAMPION in traffic[version].aliases
                role = CHAMPION if is_champion else "challenger" if percent else "standby"
                gauges["manta_version_weight", (version, role)] = percent
        return render(self._windows.total(), gauges)

    @_answers
    async def statistics(self) -> dict[str, BatchStatistics]:
        """What the batchers of all routers did, by version."""
        return self._windows.statistics()

    @_answers
    async def traffic(self) -> dict[str, Any]:
        traffic = await self._live_traffic()
        reports = self._windows.reports
        return {
            "traffic": traffic.model_dump(mode="json"),
            "percent": percent_of(traffic),
            "routers": [
                {"router": each.router, "revision": each.revision, "problem": each.problem, "taken_out": each.taken_out}
                for each in reports
            ],
        }

    @_answers
    async def ab(self) -> dict[str, Any]:
        """The comparison of the versions that users are assigned to, or were until the last test ended."""
        traffic = await self._live_traffic()
        return await self._in_database(self._experiments.compare, traffic)

    @_answers
    async def drift(self) -> dict[str, Any]:
        """The champion's traffic against its bundle's reference."""
        traffic = await self._live_traffic()
        if traffic.champion is None:
            raise BadInput("no version is the champion")
        found = await self._in_database(self._drift.look, traffic.champion, traffic.model)
        self._drift_gauges = found.gauges()
        return dict(found.as_values())

    @_answers
    async def decisions(self) -> list[dict[str, Any]]:
        return await self._in_database(self._store.decisions)

    @_answers
    async def operation(self, identifier: str) -> dict[str, Any]:
        """How far a change is: state running, done or failed."""
        found = self._operations.get(identifier)
        if found is None:
            raise NotFound(f"there is no operation {identifier[:64]}; they are remembered until control restarts")
        return found

    # What changes the service. Each answers with an operation at once, because starting a version takes a while.

    @_answers
    async def change(self, kind: str, values: Mapping[str, Any], deadline: float = math.inf) -> dict[str, Any]:
        """The operation. Raises what is wrong with the request itself, where that turns out at once.

        deadline: in Unix time, when the caller stops waiting. Raises Conflict after it: it may have been repeated.
        """
        if time.time() > deadline:
            raise Conflict("the request came too late, after whoever asked had been told that it failed")
        request = parse(kind, values)
        identifier = uuid.uuid4().hex
        if len(self._operations) >= _KEPT_OPERATIONS:
            self._operations.pop(next(iter(self._operations)))
        self._operations[identifier] = {"id": identifier, "kind": kind, "state": "running", "progress": {}}
        task = self._in_background(self._operate(identifier, request))
        await asyncio.wait([task], timeout=self._args.answer_after_s)
        if task.done() and (refusal := task.result()) is not None:
            raise refusal
        return self._operations[identifier]

    async def _operate(self, identifier: str, request: ChangeRequest) -> MantaError | None:
        """Returns what is wrong with the request, if that is why it failed."""
        operation = self._operations[identifier]
        try:
            traffic, not_followed = await self._apply(
                request, lambda statuses: operation.update(progress=dict(statuses))
            )
            warnings = [each for each in (not_followed, await self._not_taken_up(traffic.revision)) if each]
        except MantaError as error:
            operation.update(state="failed", error=type(error).__name__, message=str(error))
            return error if error.http_status < 500 else None
        except Exception as error:
            logger.exception("a change failed")
            operation.update(state="failed", error="ClusterError", message=f"internal error: {type(error).__name__}")
        else:
            operation.update(state="done", traffic=traffic.model_dump(mode="json"), percent=percent_of(traffic))
            if warnings:
                operation.update(warning="; ".join(warnings))
        return None

    async def _not_taken_up(self, revision: int) -> str | None:
        """Which routers do not follow this revision as it stands, and why, once all had the time to report; or None."""
        deadline = time.monotonic() + self._args.take_up_s
        while True:
            now = time.monotonic()
            behind = [each for each in self._windows.lately(now) if each.revision < revision or each.problem]
            if not behind or now >= deadline:
                break
            await asyncio.sleep(_POLL_S)
        told = (
            f"router {each.router} is at revision {each.revision}: {each.problem or 'why, it did not say'}"
            for each in behind
        )
        return "; ".join(told) or None

    async def _apply(
        self, request: ChangeRequest, on_progress: Callable[[Mapping[str, str]], None]
    ) -> tuple[TrafficFile, str | None]:
        """The traffic file afterwards, and what did not follow it, if anything.

        Raises what `cluster.deployment.change` raises.
        """
        async with self._changing:
            before = await self._current_traffic()
            traffic = await asyncio.to_thread(
                change,
                self._serve,
                self._home,
                request.make,
                scale=request.scale,
                version=request.version,
                on_progress=on_progress,
            )
            logger.warning("revision %d: %s (%s): %s", traffic.revision, request.what, request.who, request.why)
            not_written = await self._write_down(traffic, request)
        not_followed = await self._follow(before, traffic, request)
        return traffic, "; ".join(each for each in (not_written, not_followed) if each) or None

    async def _write_down(self, traffic: TrafficFile, request: ChangeRequest) -> str | None:
        """The decision with its reason; or why it could not be: the change is in effect all the same."""
        try:
            await self._know(traffic)
            await self._in_database(self._store.add_decision, request.who, request.what, request.why)
        except ClusterError as error:
            logger.exception("a decision stands in this log alone")
            return f"revision {traffic.revision} is in effect, but the decision is not written down: {error}"
        return None

    async def _follow(self, before: TrafficFile | None, after: TrafficFile, request: ChangeRequest) -> str | None:
        """The registry's champion becomes the one that serves; or why it did not.

        In a task of its own: serving never imports MLflow.
        """
        was, now = before.champion if before else None, after.champion
        if now is None or (was is not None and was.version == now.version):
            return None
        try:
            await self._registry.follow(LiveChampion(after.model, now.version, request.who, request.why))
        except Exception as error:
            logger.exception("the registry's champion was not moved")
            return f"version {now.version} is live, but the registry's champion is not moved yet: {cause_of(error)}"
        return None

    # What it does by itself

    def _in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _repeat(self, period_s: float, step: Callable[[], Awaitable[Any]]) -> None:
        """Each in a task of its own: guardrails do not wait for a registry that hangs."""
        while True:
            await asyncio.sleep(period_s)
            try:
                await step()
            except Exception:
                logger.exception("control could not look after the service; it goes on")

    async def _catch_up(self) -> None:
        traffic = await self._live_traffic()
        champion = traffic.champion
        await self._registry.catch_up((traffic.model, champion.version) if champion else None)

    async def _keep_counts(self) -> None:
        self._windows.retire(time.monotonic())
        counted = self._windows.counted()
        if counted != self._counted:
            await self._in_database(self._store.save_counted, counted)
            self._counted = counted

    async def _forget(self) -> None:
        await self._in_database(self._store.prune)

    async def _watch_drift(self) -> None:
        champion = self._traffic.champion if self._traffic is not None else None
        if self._traffic is None or champion is None:
            self._drift_gauges = {}
            return
        try:
            found = await self._in_database(self._drift.look, champion, self._traffic.model)
        except MantaError as error:
            self._drift_gauges = {}  # what was true before may not be so any more
            if str(error) != self._drift_unknown:
                logger.warning("drift is not known: %s", error)
            self._drift_unknown = str(error)
        else:
            self._drift_gauges, self._drift_unknown = found.gauges(), ""

    async def _guard_all(self) -> None:
        if self._traffic is not None:
            await self._guard(self._traffic, time.monotonic())

    async def _guard(self, traffic: TrafficFile, now: float) -> None:
        """A challenger that breaks a guardrail loses its traffic, without anybody being asked."""
        rules, champion = traffic.guardrails, traffic.champion
        if champion is None:
            return
        for challenger in traffic.challengers:
            if challenger.application in self._suspended:
                continue
            # What it did under a former file, before it was mended perhaps, is not held against it.
            seconds = min(rules.window_s, now - self._weighted_since.get(challenger.application, now))
            why = breach(self._windows.last(seconds, now), challenger.version, champion.version, rules)
            if why is not None:
                # Routers hear of it with their next report, though somebody else may be changing the service for long.
                self._suspended[challenger.application] = why
                self._in_background(self._stop(challenger, why))

    async def _decide(self) -> None:
        """Puts into effect what feedback has decided about challengers on which nobody is asked."""
        traffic = self._traffic
        if traffic is None or self._changing.locked() or not any(each.automatic for each in traffic.challengers):
            return
        comparison = await self._in_database(self._experiments.compare, traffic)
        if time.time() - comparison["since"] < self._args.least_trial_s:
            return
        window = self._windows.last(self._args.longest_window_s, time.monotonic())
        request = decision(traffic, comparison, window, self._suspended)
        if request is None:
            return
        try:
            await self._apply(request, lambda _statuses: None)
        except MantaError as error:
            logger.warning("%s (%s), but not yet: %s", request.what, request.why, error)
            await asyncio.sleep(_DECISION_RETRY_S)

    async def _stop(self, challenger: TrafficVersion, why: str) -> None:
        """Takes its traffic for good, as soon as that can be done."""
        version = challenger.version
        request = ChangeRequest(
            # A share that somebody gives it later is theirs to decide about.
            make=lambda live, _running: automatic(stopped(live, version), version, False),
            who="guardrail",
            what=f"version {version} gets no traffic any more",
            why=why,
        )
        try:
            while self._traffic is not None and _has_traffic(challenger, self._traffic):
                try:
                    await self._apply(request, lambda _statuses: None)
                except MantaError as error:
                    logger.warning("version %s breaks a guardrail (%s) and stays suspended: %s", version, why, error)
                    await asyncio.sleep(_RETRY_S)
        finally:
            del self._suspended[challenger.application]

    # Reading

    async def _current_traffic(self) -> TrafficFile | None:
        return self._traffic or await self._refresh()

    async def _live_traffic(self) -> TrafficFile:
        """As the Serve document has it at this moment. Raises ClusterError when nothing is served."""
        traffic = await self._refresh()
        if traffic is None:
            raise ClusterError("nothing is served yet; put a version live with `manta serve`")
        return traffic

    async def _refresh(self) -> TrafficFile | None:
        """Reads the Serve document. While a change is made, which may take a minute, it is the one from before."""
        if self._changing.locked() and self._traffic is not None:
            return self._traffic
        before = self._traffic
        traffic = (await asyncio.to_thread(self._serve.state)).traffic
        if before is not None and (self._changing.locked() or self._traffic is not before):
            return self._traffic  # a change was begun, or made, since: what was read may be half of it, or from before
        try:
            await self._know(traffic)
            if before is not None and traffic is not None and before.revision < traffic.revision:
                await self._note_change_by_others(before, traffic)
        except ClusterError as error:
            logger.warning("what changed is not written down: %s", error)
        return traffic

    async def _note_change_by_others(self, before: TrafficFile, traffic: TrafficFile) -> None:
        """`manta serve` and pipelines change the service without `control`."""
        was, now = (f"{each.model}/{each.champion.version}" if each.champion else "none" for each in (before, traffic))
        what = f"revision {traffic.revision}: " + (
            f"champion {was} -> {now}" if was != now else f"champion {now} stays"
        )
        await self._in_database(self._store.add_decision, "manta serve, or a pipeline", what, "")

    async def _know(self, traffic: TrafficFile | None) -> None:
        """From now on this is in effect. Raises ClusterError where what follows for the A/B test cannot be kept."""
        self._traffic = traffic
        now = time.monotonic()
        self._weighted_since = {
            each.application: self._weighted_since.get(each.application, now)
            for each in (traffic.challengers if traffic else ())
        }
        if traffic is not None:
            await self._in_database(self._experiments.follow, traffic)

    async def _in_database(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._database, work, *arguments)


def _has_traffic(challenger: TrafficVersion, traffic: TrafficFile) -> bool:
    return any(each.application == challenger.application for each in traffic.challengers)


async def _promoted(home: str, champion: LiveChampion) -> None:
    reference = _promote.remote(home, *champion)
    try:
        await reference
    except asyncio.CancelledError:
        ray.cancel(reference, force=True)
        raise


@ray.remote(num_cpus=0, max_retries=0)
def _promote(home: str, model: str, version: str, who: str, why: str) -> None:
    """Points the registry's champion at a version that is live, and logs that."""
    from pathlib import Path

    from app.registry import CHAMPION, Registry

    registry = Registry(Home(Path(home)))
    registry.promote(registry.resolve(f"{model}/{version}"), CHAMPION, who=who, why=why)


def _dashboard_url() -> str:
    from cluster.connection import dashboard_of

    return dashboard_of(ray.get_runtime_context().gcs_address)
