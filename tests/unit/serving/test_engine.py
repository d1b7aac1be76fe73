"""The engine with models made to measure: who runs when, with whom, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_engine_place import (
    EXIT,
    POISON,
    SLEEP,
    Asked,
    Counted,
    Doubling,
    X,
    all_answered,
    asked,
    engine_of,
    in_one_turn,
    on_loop,
    service,
    until,
)
from modeldeploy.serving import cpu
from modeldeploy.serving.engine.engine import Engine
from modeldeploy.serving.engine.pace import Pace
from modeldeploy.serving.problems import BadInput, ModelFailed, NotReady, Overloaded, Problem, TimedOut
from modeldeploy.serving.runtimes.base import Value
from modeldeploy.serving.spec import TensorSpec
from modeldeploy.serving.tensors.rules import Array

SLOW = 0.003


def test_a_quick_model_runs_on_the_loop_and_joins_what_comes_in_one_turn() -> None:
    model, meter = Doubling(), Counted()
    engine = engine_of(model, meter=meter)
    model.threads.clear()
    jobs = [asked(value) for value in range(5)]

    async def story() -> None:
        for job in jobs:
            engine.submit(job)
        assert not jobs[0].answers, "answered before the turn was over"
        await all_answered(*jobs)

    on_loop(engine, story())
    assert [job.y for job in jobs] == [[[2.0 * value] * 2] for value in range(5)]
    assert meter.runs == [(5, 5)] and set(model.threads) == {"MainThread"}


def test_jobs_that_always_come_alone_are_answered_at_once_until_one_has_company(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modeldeploy.serving.engine.engine._SAME_TURN", 0.1)
    meter = Counted()
    engine = engine_of(Doubling(), meter=meter)
    three = [asked(1), asked(2), asked(3)]

    async def story() -> None:
        for value in range(16):
            engine.submit(job := asked(value))
            assert not job.answers
            await all_answered(job)
        engine.submit(job := asked(16))
        assert job.y == [[32.0, 32.0]], "there was nobody to wait for"
        engine.submit(late := asked(17))
        engine.submit(other := asked(18))
        assert not late.answers, "it came in the turn of the one before it"
        await all_answered(late, other)
        for job in three:
            engine.submit(job)
        assert not three[0].answers
        await all_answered(*three)

    on_loop(engine, story())
    assert meter.runs == [(1, 1)] * 17 + [(2, 2), (3, 3)]


def test_a_slow_model_runs_at_once_in_a_thread_and_joins_what_comes_meanwhile() -> None:
    model, meter = Doubling(seconds=SLOW), Counted()
    engine = engine_of(model, meter=meter)
    model.threads.clear()
    first, rest = asked(1), [asked(value, value) for value in range(3)]

    async def story() -> None:
        engine.submit(first)
        await asyncio.sleep(0)
        for job in rest:
            engine.submit(job)
        await all_answered(first, *rest)

    on_loop(engine, story())
    assert meter.runs == [(1, 1), (6, 3)]
    assert [job.y for job in rest] == [[[2.0 * value] * 2] * 2 for value in range(3)]
    assert set(model.threads) == {"mdeploy-model"}
    assert model.closed


def test_code_of_the_project_never_runs_on_the_loop_however_quick() -> None:
    for spec in (service(framework="python"), replace(service(), before="hooks:clean")):
        model, job = Doubling(), asked(1)
        engine = engine_of(model, spec)
        model.threads.clear()

        async def story(engine: Engine = engine, job: Asked = job) -> None:
            engine.submit(job)
            await all_answered(job)

        on_loop(engine, story())
        assert set(model.threads) == {"mdeploy-model"}


def test_rows_are_joined_up_to_the_limit_and_a_larger_job_runs_alone() -> None:
    meter = Counted()
    engine = engine_of(Doubling(seconds=SLOW), meter=meter, MDEPLOY_BATCH_ROWS="4")
    large = asked(*range(9))
    small = [asked(value) for value in range(6)]

    async def story() -> None:
        engine.submit(asked(0))
        await asyncio.sleep(0)
        for job in (*small[:3], large, *small[3:]):
            engine.submit(job)
        await all_answered(large, *small)

    on_loop(engine, story())
    assert meter.runs == [(1, 1), (4, 4), (9, 1), (2, 2)]
    assert large.y[8] == [16.0, 16.0]


def test_a_large_job_is_not_overtaken_for_ever() -> None:
    order: list[Asked] = []
    engine = engine_of(Doubling(seconds=SLOW), MDEPLOY_BATCH_ROWS="4")
    large = asked(*range(9), order=order)

    async def story() -> None:
        engine.submit(asked(0))
        await asyncio.sleep(0)
        for value in range(4):
            engine.submit(asked(value, order=order))
        engine.submit(large)
        for _ in range(40):
            engine.submit(asked(1, order=order))
            await asyncio.sleep(0)
        await all_answered(large)

    on_loop(engine, story())
    assert order.index(large) <= 8


def test_without_joining_each_job_runs_alone() -> None:
    meter = Counted()
    engine = engine_of(Doubling(), meter=meter, MDEPLOY_BATCH_ROWS="0")
    jobs = [asked(value) for value in range(3)]

    in_one_turn(engine, jobs)
    assert meter.runs == [(1, 1)] * 3


def test_jobs_of_other_forms_do_not_go_together_but_all_go() -> None:
    meter = Counted()
    wide = service([TensorSpec("x", "float32", ("batch", None))])
    engine = engine_of(Doubling(seconds=SLOW), wide, meter)
    two, three = asked(1), Asked(np.ones((1, 3), dtype=np.float32))
    doubles, alone = Asked(np.ones((1, 2), dtype=np.float64)), asked(4, rows=0)
    last = asked(5)

    async def story() -> None:
        engine.submit(asked(0))
        await asyncio.sleep(0)
        for job in (two, three, doubles, alone, last):
            engine.submit(job)
        await all_answered(two, three, doubles, alone, last)

    on_loop(engine, story())
    assert meter.runs == [(1, 1), (2, 2), (1, 1), (1, 1), (0, 1)]
    assert three.y == [[2.0] * 3] and last.y == [[10.0, 10.0]]


def test_one_bad_row_fails_its_own_request_only(caplog: pytest.LogCaptureFixture) -> None:
    model, meter = Doubling(), Counted()
    engine = engine_of(model, meter=meter)
    jobs = [asked(value) for value in (1, 2, POISON, 4, 5, 6, 7)]

    in_one_turn(engine, jobs)
    bad = jobs.pop(2)
    assert isinstance(bad.problem, ModelFailed) and "secret" not in str(bad.problem.as_json())
    assert [job.y[0][0] for job in jobs] == [2.0, 4.0, 8.0, 10.0, 12.0, 14.0]
    assert meter.failures == 1
    assert caplog.text.count("ValueError: secret of the model") == 1


@pytest.mark.parametrize("seconds", [0.0, SLOW])
def test_a_model_that_exits_only_fails_its_request(seconds: float) -> None:
    engine = engine_of(Doubling(seconds=seconds))
    jobs = [asked(EXIT), asked(1)]

    async def story() -> None:
        for job in jobs:
            engine.submit(job)
        await all_answered(*jobs)
        engine.submit(again := asked(2))
        await all_answered(again)
        assert engine.ready

    on_loop(engine, story())
    assert isinstance(jobs[0].problem, ModelFailed)
    assert jobs[1].y == [[2.0, 2.0]]


class _Raising(Doubling):
    """Raises what it was told to once it is warm."""

    error: BaseException | None = None

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        if self.error is not None:
            raise self.error
        return super().run(arrays)


def test_whatever_a_model_raises_the_thread_lives_on() -> None:
    model = _Raising(seconds=SLOW)
    engine = engine_of(model)

    async def story() -> None:
        for model.error in (KeyboardInterrupt(), GeneratorExit(), MemoryError(), RecursionError(), None):
            engine.submit(job := asked(1))
            await all_answered(job)
            assert isinstance(job.answer, ModelFailed) == (model.error is not None)

    on_loop(engine, story())


def test_a_hooks_word_on_the_input_is_passed_on_and_no_failure() -> None:
    model, meter = _Raising(), Counted()
    engine = engine_of(model, meter=meter)
    model.error = BadInput("no such city", field="x")

    async def story() -> None:
        engine.submit(job := asked(1))
        await all_answered(job)
        assert job.problem is model.error

    on_loop(engine, story())
    assert meter.failures == 0


class _Deaf(Asked):
    """A job whose protocol cannot express the answer, nor the problem."""

    __slots__ = ()

    def finish(self, outputs: Mapping[str, Value]) -> None:
        super().finish(outputs)
        raise TypeError("cannot be written")

    def fail(self, problem: Problem) -> None:
        super().fail(problem)
        raise TypeError("cannot be written either")


def test_an_answer_that_cannot_be_written_keeps_nobody_from_his() -> None:
    engine = engine_of(Doubling())
    deaf, other = _Deaf(np.ones((1, 2), dtype=np.float32)), asked(1)

    async def story() -> None:
        engine.submit(deaf)
        engine.submit(other)
        await all_answered(other)

    on_loop(engine, story())
    assert len(deaf.answers) == 2 and other.y == [[2.0, 2.0]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    meter = Counted()
    engine = engine_of(Doubling(seconds=SLOW), meter=meter, MDEPLOY_QUEUE="2", MDEPLOY_BATCH_ROWS="0")
    jobs = [asked(value) for value in range(3)]

    async def story() -> None:
        engine.submit(jobs[0])
        await asyncio.sleep(0)
        engine.submit(jobs[1])
        engine.submit(jobs[2])
        engine.submit(one_more := asked(4))
        refused = one_more.problem
        assert isinstance(refused, Overloaded) and refused.status == 503
        assert refused.retry_after == 1 and "2 requests wait" in refused.error
        await all_answered(*jobs)

    on_loop(engine, story())
    assert meter.queues[-1] == 0


def test_retry_after_follows_from_how_long_the_model_takes() -> None:
    pace = Pace()
    for _ in range(50):
        pace.note(64, 4, 2.0, here=False)
    assert pace.seconds_for(100) == pytest.approx(50.0)


def test_a_job_that_waited_too_long_is_not_run() -> None:
    model = Doubling(seconds=SLOW)
    engine = engine_of(model)
    late, gone, fine = asked(1, seconds=0.01), asked(2), asked(3)

    async def story() -> None:
        engine.submit(hung := asked(SLEEP))
        gone.is_gone = True
        await asyncio.sleep(0)
        for job in (late, gone, fine):
            engine.submit(job)
        await all_answered(late)
        model.go.set()
        await all_answered(hung, gone, fine)

    on_loop(engine, story())
    assert isinstance(late.problem, TimedOut) and "0.01 s" in late.problem.error
    assert gone.problem and fine.y == [[6.0, 6.0]]
    assert model.sizes[-1] == 1


def test_a_model_that_hangs_is_answered_504_and_not_ready_until_it_returns() -> None:
    model = Doubling(seconds=SLOW)
    engine = engine_of(model)

    async def story() -> None:
        engine.submit(one := asked(SLEEP, seconds=0.2))
        await asyncio.sleep(0)
        engine.submit(waits := asked(1))
        assert engine.ready
        await all_answered(one)
        assert isinstance(one.problem, TimedOut) and not engine.ready
        engine.submit(more := asked(2))
        assert isinstance(more.problem, NotReady) and more.problem.status == 503
        model.go.set()
        await until(lambda: engine.ready)
        await all_answered(waits)
        assert waits.y == [[2.0, 2.0]] and len(one.answers) == 1

    on_loop(engine, story())


def test_a_run_is_stuck_only_when_all_its_jobs_are_past_their_deadline() -> None:
    model = Doubling(seconds=SLOW)
    engine = engine_of(model)

    async def story() -> None:
        engine.submit(asked(1))
        await asyncio.sleep(0)
        engine.submit(short := asked(SLEEP, seconds=0.03))
        engine.submit(long := asked(2))
        await all_answered(short)
        assert isinstance(short.problem, TimedOut) and engine.ready
        model.go.set()
        await all_answered(long)
        assert long.y == [[4.0, 4.0]] and len(short.answers) == 1

    on_loop(engine, story())


def test_a_stop_answers_who_waits_and_does_not_wait_for_a_model_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modeldeploy.serving.engine.engine._PATIENCE", 0.05)
    model = Doubling(seconds=SLOW)
    engine = engine_of(model)
    hung, waits = asked(SLEEP), asked(1)

    async def story() -> None:
        engine.submit(hung)
        await asyncio.sleep(0)
        engine.submit(waits)
        await asyncio.to_thread(engine.close)
        assert not engine.ready
        engine.submit(late := asked(2))
        assert isinstance(late.problem, NotReady)

    asyncio.run(story())
    assert isinstance(hung.problem, NotReady) and isinstance(waits.problem, NotReady)
    assert not model.closed, "the model is still in use"
    model.go.set()


def test_a_parallel_model_runs_small_jobs_beside_a_large_one() -> None:
    model = Doubling(parallel=True)
    engine = engine_of(model)

    async def story() -> None:
        large = Asked(np.full((1000, 2), SLEEP, dtype=np.float32))
        engine._pace.note(2000, 1, 1.0, here=False)
        engine.submit(large)
        await until(lambda: model.together)
        engine.submit(small := asked(1))
        await all_answered(small)
        assert not large.answers
        model.go.set()
        await all_answered(large)

    on_loop(engine, story())


def test_a_parallel_model_has_as_many_threads_as_its_own_threads_leave_processors_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "processors", lambda: 4)
    model = Doubling(seconds=SLOW, parallel=True)
    engine = engine_of(model, MDEPLOY_INTRA_OP_THREADS="2", MDEPLOY_BATCH_ROWS="0")
    jobs = [asked(value) for value in range(6)]

    in_one_turn(engine, jobs)
    assert model.most_together == 2


def test_other_threads_ask_through_the_loop_and_are_joined() -> None:
    meter = Counted()
    engine = engine_of(Doubling(seconds=SLOW), meter=meter)
    x = np.ones((1, 2), dtype=np.float32)

    async def story() -> None:
        engine.submit(asked(0))
        await asyncio.sleep(0)
        threads = [asyncio.to_thread(engine.run, {"x": x * value}) for value in (1, 2, 3)]
        outputs: list[Any] = await asyncio.gather(*threads)
        assert [output["y"][0, 0] for output in outputs] == [2.0, 4.0, 6.0]
        with pytest.raises(ModelFailed):
            await asyncio.to_thread(engine.run, {"x": x * POISON})

    on_loop(engine, story())
    assert sum(jobs for _, jobs in meter.runs) == 5


def test_without_a_loop_a_thread_runs_the_model_itself_one_at_a_time() -> None:
    model = Doubling(seconds=SLOW)
    engine = engine_of(model)
    model.most_together = 0
    x = {"x": np.ones((1, 2), dtype=np.float32)}
    threads = [threading.Thread(target=engine.run, args=(x,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.most_together == 1
    engine.close()


def test_a_size_that_turns_out_slow_leaves_the_loop_and_comes_back_when_it_is_quick_again() -> None:
    pace = Pace()
    assert not pace.quick(64)
    pace.note(64, 1, 0.0001, here=True)
    assert pace.quick(64) and pace.quick(100) and not pace.quick(64 * 16)
    pace.note(64, 1, 0.05, here=True)
    assert pace.quick(64), "one outlier says little"
    for _ in range(10):
        pace.note(64, 1, 0.002, here=True)
    assert not pace.quick(64)
    for _ in range(3):
        pace.note(64, 1, 0.0001, here=False)
    assert not pace.quick(64)
    for _ in range(40):
        pace.note(64, 1, 0.0001, here=False)
    assert pace.quick(64)


def test_an_engine_takes_its_inputs_as_the_service_names_them() -> None:
    assert engine_of(Doubling()).spec.inputs == (X,)
