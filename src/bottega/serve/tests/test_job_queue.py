"""The bounds of the queue, and that a cancel frees its place within one step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from bottega.errors import FileError, RequestError
from bottega.room import Progress, Report
from bottega.serve import OUR_FAULT, Cancelled, Done, Failed, Full, JobQueue, Queued, Running

PATIENCE_SECONDS = 20.0


@dataclass
class Steps:
    """Work of some steps, each of which waits for permission, so that a test decides how far it is."""

    total: int = 3
    allowed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    taken: int = 0

    def __call__(self, report: Report) -> str:
        for step in range(1, self.total + 1):
            self.allowed.acquire(timeout=PATIENCE_SECONDS)
            self.taken += 1
            report(
                Progress(step=step, total=self.total, stage="denoise", preview=lambda: np.zeros((2, 2, 3), np.uint8))
            )
        return "made"

    def allow(self, steps: int) -> None:
        self.allowed.release(steps)


Work = Callable[[Report], str]


def _run(order: Work, report: Report) -> str:
    return order(report)


@pytest.fixture
def steps() -> Iterator[Callable[..., Steps]]:
    """Makes works, and lets all of them go on when the test is over."""
    made: list[Steps] = []

    def make(total: int = 3) -> Steps:
        made.append(Steps(total=total))
        return made[-1]

    yield make
    for work in made:
        work.allow(work.total)


@pytest.fixture
def queue(steps: Callable[..., Steps]) -> Iterator[JobQueue[Work, str]]:
    queue = JobQueue[Work, str](_run, capacity=2, preview_seconds=0.0, history=3)
    yield queue
    queue.close(timeout_seconds=0.0)


def _accepted(answer: str | Full) -> str:
    assert isinstance(answer, str)
    return answer


def _wait_for(queue: JobQueue[Work, str], reached: Callable[[], bool]) -> None:
    changed = threading.Event()
    unsubscribe = queue.subscribe(changed.set)
    while not reached():
        assert changed.wait(PATIENCE_SECONDS)
        changed.clear()
    unsubscribe()


def _running_at(queue: JobQueue[Work, str], job_id: str, step: int) -> Callable[[], bool]:
    def reached() -> bool:
        job = queue.job(job_id)
        return job is not None and isinstance(job.state, Running) and job.state.step >= step

    return reached


def test_a_job_goes_from_queued_through_running_to_done(
    queue: JobQueue[Work, str], steps: Callable[..., Steps]
) -> None:
    first, second = steps(), steps()
    first_id, second_id = _accepted(queue.submit(first)), _accepted(queue.submit(second))
    _wait_for(queue, _running_at(queue, first_id, 0))
    waiting = queue.job(second_id)
    assert waiting is not None
    assert waiting.state == Queued(ahead=0)
    first.allow(3)
    second.allow(3)
    finished = queue.wait(first_id, PATIENCE_SECONDS)
    assert finished is not None
    assert isinstance(finished.state, Done)
    assert finished.state.value == "made"
    last = queue.wait(second_id, PATIENCE_SECONDS)
    assert last is not None
    assert last.finished


def test_one_job_too_many_is_told_when_to_come_back(queue: JobQueue[Work, str], steps: Callable[..., Steps]) -> None:
    for _ in range(2):
        _accepted(queue.submit(steps()))
    answer = queue.submit(steps())
    assert isinstance(answer, Full)
    assert answer.retry_after_seconds >= 1
    assert queue.unfinished() == 2


def test_cancelling_a_running_job_frees_its_place_within_one_step(
    queue: JobQueue[Work, str], steps: Callable[..., Steps]
) -> None:
    work = steps(total=1000)
    job_id = _accepted(queue.submit(work))
    work.allow(5)
    _wait_for(queue, _running_at(queue, job_id, 5))
    assert queue.cancel(job_id)
    work.allow(1)
    finished = queue.wait(job_id, PATIENCE_SECONDS)
    assert finished is not None
    assert finished.state == Cancelled()
    assert work.taken == 6
    assert queue.unfinished() == 0


def test_cancelling_a_waiting_job_frees_its_place_at_once_and_moves_the_others_up(
    queue: JobQueue[Work, str], steps: Callable[..., Steps]
) -> None:
    wide = JobQueue[Work, str](_run, capacity=3)
    ids = [_accepted(wide.submit(steps())) for _ in range(3)]
    _wait_for(wide, _running_at(wide, ids[0], 0))
    assert wide.cancel(ids[1])
    last = wide.job(ids[2])
    assert last is not None
    assert last.state == Queued(ahead=0)
    assert wide.unfinished() == 2
    assert not wide.cancel(ids[1])
    wide.cancel(ids[0])
    assert not wide.cancel("unknown")


def test_errors_of_the_user_are_told_and_bugs_are_not(queue: JobQueue[Work, str], steps: Callable[..., Steps]) -> None:
    def refuse(report: Report) -> str:
        raise FileError("the picture is empty; choose another")

    def break_down(report: Report) -> str:
        return str({}["a secret detail"])

    refused = queue.wait(_accepted(queue.submit(refuse)), PATIENCE_SECONDS)
    broken = queue.wait(_accepted(queue.submit(break_down)), PATIENCE_SECONDS)
    assert refused is not None
    assert refused.state == Failed(sentence="the picture is empty; choose another")
    assert broken is not None
    assert broken.state == Failed(sentence=OUR_FAULT)
    after = steps(total=1)
    after.allow(1)
    survivor = queue.wait(_accepted(queue.submit(after)), PATIENCE_SECONDS)
    assert survivor is not None
    assert isinstance(survivor.state, Done)


def test_the_history_is_bounded(queue: JobQueue[Work, str], steps: Callable[..., Steps]) -> None:
    for _ in range(5):
        work = steps(total=1)
        work.allow(1)
        queue.wait(_accepted(queue.submit(work)), PATIENCE_SECONDS)
    assert len(queue.jobs()) == 3


def test_previews_are_made_only_for_listeners_and_not_more_often_than_asked() -> None:
    made: list[int] = []

    def work(report: Report) -> str:
        for step in range(1, 6):

            def preview(step: int = step) -> np.ndarray:
                made.append(step)
                return np.zeros((1, 1, 3), np.uint8)

            report(Progress(step=step, total=5, stage="denoise", preview=preview))
        return "made"

    queue = JobQueue[Work, str](_run, capacity=1, preview_seconds=3600)
    queue.wait(_accepted(queue.submit(work)), PATIENCE_SECONDS)
    assert made == []
    unsubscribe = queue.subscribe(lambda: None)
    queue.wait(_accepted(queue.submit(work)), PATIENCE_SECONDS)
    assert made == [1]
    unsubscribe()
    assert queue.listeners() == 0
    queue.close()


def test_jobs_after_a_version_are_only_the_changed_ones(
    queue: JobQueue[Work, str], steps: Callable[..., Steps]
) -> None:
    work = steps(total=1)
    work.allow(1)
    queue.wait(_accepted(queue.submit(work)), PATIENCE_SECONDS)
    seen = max(job.version for job in queue.jobs())
    later = steps(total=1)
    later_id = _accepted(queue.submit(later))
    assert [job.id for job in queue.jobs(after_version=seen)] == [later_id]


def test_a_closed_queue_ends_its_work_and_takes_no_more(steps: Callable[..., Steps]) -> None:
    queue = JobQueue[Work, str](_run, capacity=2)
    work, after = steps(total=1000), steps(total=1000)
    for each in (work, after):
        each.allow(1000)
    running, waiting = _accepted(queue.submit(work)), _accepted(queue.submit(after))
    queue.close(PATIENCE_SECONDS)
    for job_id in (running, waiting):
        job = queue.job(job_id)
        assert job is not None
        assert job.finished
    with pytest.raises(RequestError, match="closing"):
        queue.submit(steps())


@pytest.mark.parametrize("bounds", [{"capacity": 0}, {"capacity": 1, "workers": 0}, {"capacity": 1, "history": 0}])
def test_bounds_below_one_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="at least 1"):
        JobQueue[Work, str](_run, **bounds)
