"""Ways of leaving prompts out, so that what is predicted was not seen.

| way       | a fold tests                  | and is fitted on                            |
|-----------|-------------------------------|---------------------------------------------|
| prompt    | single prompts, at random     | all others: flatters, shown for comparison  |
| template  | all prompts of some templates | prompts of other templates                  |
| name      | prompts with a pair of names  | prompts with neither name, as IO or as S    |
| condition | whole conditions, all levels  | all other conditions                        |
|           | of a dial together            |                                             |
| family    | a whole family                | the other families                          |

For names, the names are dealt into parts; a fold tests the prompts whose two names
are of one pair of parts and trains on prompts that have no name of either, so that
every prompt is tested once, by a model that knows neither of its names.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold

from circuitgen.errors import InputError

__all__ = ["N_FOLDS", "WAYS_WITHIN", "group_of", "split_prompts"]

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

N_FOLDS: Final = 5
_NAME_PARTS: Final = 4

WAYS_WITHIN: Final = {
    "prompt": "text",
    "template": "template",
    "name": "io",
    "condition": "held",
    "family": "family",
}
"""Each way of leaving out within one model, and the column of what is left out."""


def group_of(frame: pd.DataFrame, way: str) -> NDArray[Any]:
    """Labels that a way keeps together.

    Raises:
        InputError: If there is no such way.
    """
    if way not in WAYS_WITHIN:
        raise InputError(
            f"There is no way {way!r} to leave out; choose one of {', '.join(WAYS_WITHIN)}."
        )
    return frame[WAYS_WITHIN[way]].astype(str).to_numpy()


def split_prompts(
    frame: pd.DataFrame, way: str, *, n_folds: int = N_FOLDS, seed: int = 0
) -> Iterator[Fold]:
    """Yield the positions of training and test prompts of each fold.

    Raises:
        InputError: If there is no such way, or fewer than two groups to leave out.
    """
    groups = group_of(frame, way)
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise InputError(f"All prompts are of one {way}, so none can be left out.")
    if way == "name":
        yield from _split_names(frame, seed)
        return
    if way == "prompt":
        yield from KFold(n_folds, shuffle=True, random_state=seed).split(groups)
        return
    parts = n_groups if way == "family" else min(n_folds, n_groups)
    yield from GroupKFold(parts, shuffle=True, random_state=seed).split(groups, groups=groups)


def _split_names(frame: pd.DataFrame, seed: int) -> Iterator[Fold]:
    pairs = frame[["io", "s"]].astype(str).to_numpy()
    names = np.unique(pairs)
    dealt = np.random.default_rng(seed).permutation(len(names)) % _NAME_PARTS
    parts = np.sort(dealt[np.searchsorted(names, pairs)], axis=1)
    for pair in combinations_with_replacement(range(_NAME_PARTS), 2):
        test = np.flatnonzero((parts == pair).all(1))
        train = np.flatnonzero(~np.isin(parts, pair).any(1))
        if len(test) and len(train):
            yield train, test
