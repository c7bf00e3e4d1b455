"""What came of a run, in sentences that claim no more than was measured: for its page and for its report."""

from __future__ import annotations

from collections.abc import Iterator

from droidft.config import Family, Method
from droidft.runs.summary import Summary
from droidft.server.schemas.runs import RunState, RunSummary, RunVerdict, Tone
from droidft.support.words import count, duration, loss, percent

SMALL = 0.01
"""Differences below this share of the first loss may well be noise."""
FEW_ROWS = 50
"""With fewer validation rows than this, small differences say little."""
UNDER_WAY = {RunState.QUEUED, RunState.RUNNING, RunState.STOPPING, RunState.STALLED}


def verdict(run: RunSummary, summary: Summary) -> RunVerdict:
    """The sentence, and what else has to be said: cost, what happened after the best, how far to trust it."""
    if Method(run.method).family is Family.REWARDS:
        tone, title = _of_rewards(run, summary)
        notes = [
            *_cost(run),
            *_after_the_best_reward(run, summary),
            *_ending(summary),
            *_trust_in_rewards(run, summary),
        ]
    else:
        tone, title = _of_losses(run, summary)
        notes = [*_cost(run), *_after_the_best_loss(run, summary), *_ending(summary), *_trust_in_losses(run, summary)]
    return RunVerdict(tone=tone, title=title, notes=notes)


def _of_losses(run: RunSummary, summary: Summary) -> tuple[Tone, str]:
    first, best, step = run.first_loss, run.best_loss, run.best_step
    if _without_validation(summary):
        return "neutral", "There is no validation set, so whether the model learned or memorised cannot be told."
    if best is None or step is None:
        return "neutral", f"No validation loss has been measured{_yet(run)}."
    if first is None:
        return "neutral", (
            f"The best validation loss was {loss(best)}, at step {step:,}; "
            "there is none from before training to compare it with."
        )
    if step > 0 and best < first:
        share = 1 - best / first
        title = f"Validation loss fell from {loss(first)} to {loss(best)} at step {step:,} ({_fall(share)})."
        return "neutral" if share < SMALL else "good", title
    later = [each for each in summary.evaluations if each.step > 0]
    if not later:
        return "neutral", f"Validation loss before training was {loss(first)}; it has not been measured since."
    lowest = min(later, key=lambda each: each.loss)
    return "warn", (
        f"Validation loss did not improve: {loss(first)} before training, "
        f"at best {loss(lowest.loss)} after it (step {lowest.step:,})."
    )


def _of_rewards(run: RunSummary, summary: Summary) -> tuple[Tone, str]:
    first, best, step = run.first_loss, run.best_loss, run.best_step
    if _without_validation(summary):
        return "neutral", "There are no validation prompts: only rewards of prompts it trained on are known."
    if best is None or step is None:
        return "neutral", f"No mean reward of validation prompts has been measured{_yet(run)}."
    if first is None:
        return "neutral", (
            f"The best mean reward was {_reward(best)}, at step {step:,}; there is none from before training."
        )
    if step > 0 and best < first:
        return "good", f"Mean reward rose from {_reward(first)} to {_reward(best)} at step {step:,}."
    if not any(each.step > 0 for each in summary.evaluations):
        return "neutral", f"Mean reward before training was {_reward(first)}; it has not been measured since."
    return "warn", f"Mean reward did not rise: {_reward(first)} before training is the best so far."


def _without_validation(summary: Summary) -> bool:
    """Whether the run has `validation: none`."""
    return summary.data is not None and not summary.data.val_rows


def _yet(run: RunSummary) -> str:
    return " yet" if run.state in UNDER_WAY else ""


def _cost(run: RunSummary) -> Iterator[str]:
    """Of a run that has ended: the figures of one that is under way move faster than this."""
    if run.seconds is None or run.state in UNDER_WAY:
        return
    trained = ""
    if run.trainable is not None and run.total is not None:
        share = percent(run.trainable / run.total)
        trained = f", training {run.trainable:,} of {run.total:,} parameters ({share})"
    yield f"It took {duration(run.seconds)} and {count(run.step, 'step')}{trained}."


def _after_the_best_loss(run: RunSummary, summary: Summary) -> Iterator[str]:
    last = summary.newest_evaluation
    if last is None or run.best_loss is None or not run.best_step or last.step <= run.best_step:
        return
    if last.loss > run.best_loss * (1 + SMALL):
        yield (
            f"By step {last.step:,} it had risen again to {loss(last.loss)}; "
            f"the best weights are those of step {run.best_step:,}."
        )


def _after_the_best_reward(run: RunSummary, summary: Summary) -> Iterator[str]:
    last = summary.newest_evaluation
    if last is None or run.best_loss is None or not run.best_step or last.step <= run.best_step:
        return
    if last.loss > run.best_loss:
        yield (
            f"By step {last.step:,} it was at {_reward(last.loss)}; "
            f"the best weights are those of step {run.best_step:,}."
        )


def _ending(summary: Summary) -> Iterator[str]:
    if summary.early_stop is not None:
        tries = count(summary.early_stop.evaluations_without_improvement, "evaluation")
        yield f"Stopped early after {tries} without improvement."


def _trust_in_losses(run: RunSummary, summary: Summary) -> Iterator[str]:
    if summary.data is None or run.best_loss is None or run.first_loss is None:
        return
    rows = f"Measured on {count(summary.data.val_rows, 'validation row')}"
    if abs(run.first_loss - run.best_loss) < SMALL * run.first_loss and run.best_step != 0:
        yield f"{rows}; a difference this small may be noise."
    elif summary.data.val_rows < FEW_ROWS:
        yield f"{rows} only, so small differences between runs say little."
    else:
        yield f"{rows}. It says how well such rows are predicted, not how good answers are: look at those in Compare."


def _trust_in_rewards(run: RunSummary, summary: Summary) -> Iterator[str]:
    if summary.data is not None and run.best_loss is not None and run.first_loss is not None:
        yield (
            "Measured on a few validation prompts, so small differences say little; and a reward says how well the "
            "rewards were served, not how good the answers are: read them."
        )


def _reward(measured: float) -> str:
    """A mean reward, given as the loss that an evaluation reports for it: minus the mean."""
    return f"{0.0 - measured:.3g}".replace("-", "−")


def _fall(share: float) -> str:
    """`−98.9%`; a small one keeps more digits."""
    digits = 1 if share >= 0.1 else 2 if share >= 0.01 else 3
    return f"−{100 * share:.{digits}f}%"
