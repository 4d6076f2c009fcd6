"""The verdict of a condition: by its intervals, never by the points.

In this order:

| verdict     | when                                                                |
|-------------|---------------------------------------------------------------------|
| undecided   | the model's own logit difference, or the share of prompts where it  |
|             | puts IO above S, has no bounded interval (too few prompts)          |
| model fails | it is not shown that the model does the task: the interval of its   |
|             | mean logit difference is not above 0, or that share's not above 0.5 |
| under       | the whole interval of recovery is below 0.8                         |
| over        | the whole interval of recovery is above 1.2                         |
| transfers   | the whole interval of recovery lies within 0.8 to 1.2               |
| undecided   | otherwise                                                           |

*Model fails* asks for evidence that there is something to transfer, so a model
at chance fails however many prompts there are: a recovery divides by what the
model does. Both questions are asked because a mean above 0 can come from a few
prompts, and a share above a half from differences too small to matter. *Over*
is a warning, not a success: see S2-hacking in the methods.

The band 0.8 to 1.2 is a convention of this paper, fixed before measuring.
"""

from typing import Final

import numpy as np

from circuitgen.analysis.bootstrap import Interval

__all__ = ["BAND", "CHANCE", "VERDICTS", "judge"]

BAND: Final = (0.8, 1.2)
CHANCE: Final = 0.5
VERDICTS: Final = ("transfers", "under", "over", "undecided", "model fails")


def judge(recovery: Interval, logit_diff_model: Interval, io_beats_s_model: Interval) -> str:
    """Return one of `VERDICTS` for a condition.

    Args:
        recovery: Ratio of means of LD_circuit - LD_null over LD_model - LD_null.
        logit_diff_model: Mean logit difference of the whole model, in logits.
        io_beats_s_model: Share of prompts where the whole model puts IO above S.
    """
    task = (logit_diff_model.low, logit_diff_model.high, io_beats_s_model.low)
    if not np.isfinite(task).all():
        return "undecided"
    if logit_diff_model.low <= 0 or io_beats_s_model.low <= CHANCE:
        return "model fails"
    if recovery.high < BAND[0]:
        return "under"
    if recovery.low > BAND[1]:
        return "over"
    if recovery.low >= BAND[0] and recovery.high <= BAND[1]:
        return "transfers"
    return "undecided"
