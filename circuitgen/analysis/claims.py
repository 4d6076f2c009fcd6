"""What the paper claims of a model: one sentence for each question, as far as its interval goes.

The sentences stand in the discussion beside their evidence. Each is chosen by intervals
and verdicts alone, so that a book about another model claims what was found there.
"""

from circuitgen.analysis.transfer import Relation

__all__ = [
    "claim_choices",
    "claim_estimate",
    "claim_faithful",
    "claim_overlap",
    "claim_predicted",
    "claim_steers",
    "claim_transfer",
]

_GUESSING = 0.5
_IN_THE_MAIN = 0.5
"""Rank correlation above which two orders are said to agree in the main."""

_NEARLY_ALL = 0.9
"""Share of prompts from which on a circuit is said to work on nearly every one."""


def claim_faithful(verdict: str, low: float, high: float) -> str:
    """Whether the circuit does the model's work on base, on average and prompt by prompt.

    Args:
        verdict: Of base's held-out prompts, see `judge`.
        low: End of the interval of the share of these prompts with activation within
            0.8 to 1.2.
        high: Its other end.
    """
    if verdict == "model fails":
        return "The model does not do the task, so there is no work for a circuit to do."
    if verdict != "transfers":
        return "That the circuit does the model's work on held-out base prompts is not shown."
    average = "On average the circuit does the model's work on held-out base prompts"
    if high < _NEARLY_ALL:
        return f"{average}; on many a single prompt it does not."
    if low > _NEARLY_ALL:
        return f"{average}, and on nearly every single one."
    return f"{average}."


def claim_transfer(n_transfers: int, n_under: int) -> str:
    """Whether the base circuit does the same work under other conditions.

    Args:
        n_transfers: Conditions with the verdict *transfers*.
        n_under: Conditions with the verdict *under*.
    """
    if n_transfers and n_under:
        return "Whether the base circuit does the same work depends on how the task is written."
    if n_transfers:
        return (
            "The base circuit does the same work under some other ways of writing the task, and "
            "under none is it shown to do less than four fifths of it."
        )
    if n_under:
        return (
            "The base circuit is shown to do the same work under no other way of writing the task."
        )
    return "Whether the base circuit does the same work elsewhere is not decided by these prompts."


def claim_overlap(relation: Relation | None) -> str:
    """Whether shared nodes say that one circuit does another's work.

    Args:
        relation: Of overlap and transfer over pairs of conditions; None where there are too few.
    """
    if relation is None:
        return "There are too few circuits to say whether shared nodes mean shared work."
    if relation.low > 0:
        return "On average, circuits that share more nodes do more of each other's work."
    if relation.high < 0:
        return "On average, circuits that share more nodes do less of each other's work."
    return "That circuits which share more nodes do more of each other's work is not shown."


def claim_predicted(auroc_low: float, gain_low: float) -> str:
    """Whether failure is told beforehand on conditions that no fit has seen.

    Args:
        auroc_low: Lower end of the interval of AUROC on held-out conditions; one half
            is guessing.
        gain_low: The same of what it gains over the model's own logit difference alone.
    """
    if not auroc_low > _GUESSING:  # not a number where nothing could be fitted
        return "That failure on a new kind of prompt can be told beforehand is not shown."
    told = "Failure on a new kind of prompt can be told beforehand better than by guessing"
    if gain_low > 0:
        return f"{told}, and better than by the model's own logit difference."
    return f"{told}; better than by the model's own logit difference is not shown."


def claim_estimate(rho_low: float) -> str:
    """Whether attribution estimates what patching an edge exactly does.

    Args:
        rho_low: Lower end of the interval of their correlation.
    """
    if rho_low > _IN_THE_MAIN:
        return (
            "Attribution by integrated gradients orders edges as exact patching does, in the main."
        )
    if rho_low > 0:
        return "Attribution by integrated gradients tells something of what exact patching does."
    return (
        "That attribution by integrated gradients orders edges as exact patching does is not shown."
    )


def claim_steers(n_steer: int, n_not_steer: int) -> str:
    """Whether a direction that classifies is one that the model uses.

    Args:
        n_steer: Directions shown to classify that are shown to steer.
        n_not_steer: Directions shown to classify that are shown not to steer.
    """
    if n_not_steer:
        return "A direction from which the task's variable is read need not be one that steers."
    if n_steer:
        return "No direction from which the task's variable is read is shown not to steer."
    return "Whether directions from which the task's variable is read also steer is not decided."


def claim_choices(n_kept: int, n_decided: int) -> str:
    """Whether verdicts hang on how a circuit is scored.

    Args:
        n_kept: Conditions with one decided verdict under every combination of choices.
        n_decided: Conditions with a decided verdict under our own choices.
    """
    if not n_decided:
        return "No verdict is decided under our own choices, so none can be lost under others."
    if n_kept == n_decided:
        return "Every decided verdict holds under every combination of choices that was tried."
    if n_kept:
        return "Some decided verdicts hold under every combination of choices, and others do not."
    return "No decided verdict holds under every combination of choices that was tried."
