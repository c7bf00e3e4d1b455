"""Speed, tokens and time left, on steps whose seconds are known."""

from __future__ import annotations

from droidft.data import batches
from droidft.engine.training.meter import Meter
from tests import tiny


def test_each_window_has_its_own_speed_and_the_last_short_one_too() -> None:
    rows = tiny.Rows(8)
    batch = batches.make_batch(rows, range(4))
    meter = Meter(total_steps=5, steps_per_epoch=10, steps_per_eval=5)
    for seconds in (9.0, 1.0, 1.0, 3.0):
        meter.add(
            [batch, batch],
            loss_sum=2.0 * batch.supervised,
            weight=2 * batch.supervised,
            grad_norm=seconds,
            seconds=seconds,
        )
    report = meter.report(step=4, learning_rate=0.1)
    assert report.tokens == 8 * batch.tokens
    assert report.tokens_per_second == 8 * batch.tokens / 14
    assert report.supervised_tokens_per_second == 8 * batch.supervised / 14
    assert (report.loss, report.grad_norm, report.epoch) == (1.0, 9.0, 0.4)
    meter.evaluation_seconds = 7.0
    meter.add([batch], loss_sum=3.0 * batch.supervised, weight=batch.supervised, grad_norm=0.5, seconds=0.5)
    last = meter.report(step=5, learning_rate=0.1)
    assert last.tokens_per_second == batch.tokens / 0.5
    assert (last.loss, last.grad_norm, last.tokens) == (3.0, 0.5, 9 * batch.tokens)
    assert last.seconds_left == 7, "the evaluation at the end is still to come"


def test_time_left_forgets_the_first_step_and_counts_evaluations() -> None:
    batch = batches.make_batch(tiny.Rows(8), range(4))
    meter = Meter(total_steps=100, steps_per_epoch=10, steps_per_eval=30, evaluation_seconds=5.0)
    assert meter.seconds_left(0) is None
    for seconds in (60.0, 2.0, 2.0, 2.0):
        meter.add([batch], loss_sum=1.0, weight=1.0, grad_norm=1.0, seconds=seconds)
    # 96 steps of 2 s, evaluations at 30, 60, 90 and at the end.
    assert meter.seconds_left(4) == 96 * 2 + 4 * 5
