"""The tables of the appendix on representation, kept in the results store.

Directions are found on base prompts of the discovery split and asked about prompts of
the test split, whose templates and names are others (for `name`: whose templates are).
The place at which a condition is asked is the one where the difference of means moves
most logit difference on the discovery prompts themselves.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.prompts import load_condition
from circuitgen.representation.directions import CONTROLS, FITTED
from circuitgen.representation.measure import (
    Directions,
    fit_places,
    measure_damage,
    measure_effects,
    plain_texts,
    unrepeated_partners,
)
from circuitgen.representation.pairs import VARIABLES, Couple, Pairs, choose_couples, pair_up
from circuitgen.representation.steer import Place, places_of
from circuitgen.results import Request
from circuitgen.study import Study

__all__ = ["POSITIONS", "DirectionStudy", "choose_place", "keep_summary"]

POSITIONS: Final = ("S2", "END")

_VERSIONS: Final = {
    "direction-scan": 1,
    "direction-effects": 1,
    "direction-damage": 1,
    "direction-summary": 1,
}
"""Raised by hand when the meaning of a table changes."""


@dataclass(frozen=True)
class DirectionStudy:
    """Directions for one variable in one model.

    Attributes:
        variable: One of `circuitgen.representation.pairs.VARIABLES`.
        n_fit: Discovery prompts, each with its partner, behind a direction.
        n_random: Draws of each control.
        n_places: Layers looked at, at each of `POSITIONS`.
        n_couples: For `name`, how many couples of names have directions of their own.
    """

    study: Study
    variable: str
    n_fit: int = 48
    n_random: int = 2
    n_places: int = 8
    n_couples: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be measured before anything is.

        Raises:
            InputError: Naming the value and what is possible.
        """
        if self.variable not in VARIABLES:
            raise InputError(f"There is no variable {self.variable!r}; choose one of {VARIABLES}.")
        for name, least in (("n_fit", 4), ("n_random", 1), ("n_places", 1), ("n_couples", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it has to be at least {least}.")

    @property
    def places(self) -> list[Place]:
        """Every place that is looked at."""
        n_layers = self.study.declaration.n_layers
        return [
            place
            for position in POSITIONS
            for place in places_of(n_layers, position, self.n_places)
        ]

    def scan(self, *, n_prompts: int) -> pd.DataFrame:
        """The table of `measure_effects` at every place, on base prompts of both splits.

        On the discovery split, where ``split`` says so, with the difference of means alone:
        to choose a place by.
        """

        def compute() -> pd.DataFrame:
            chosen = {
                key: [one for one in found if one.kind == "difference of means"]
                for key, found in self._directions.items()
            }
            parts = [
                measure_effects(self._anatomy, pairs, directions, f"directions on {split}").assign(
                    split=split
                )
                for split, pairs, directions in (
                    ("discovery", self._fit_pairs(n_prompts), chosen),
                    ("test", self._pairs("base", n_prompts), self._directions),
                )
            ]
            return _narrow(pd.concat(parts, ignore_index=True))

        return self._table("direction-scan", compute, "base", n_prompts=n_prompts)

    def effects(self, place: Place, condition: str = "base", *, n_prompts: int) -> pd.DataFrame:
        """The table of `measure_effects` at one place, on a condition's test split.

        Raises:
            NotCovered: If the variable has no meaning there.
            InputError: As `build_prompts`.
        """

        def compute() -> pd.DataFrame:
            found = self._at(place)
            return _narrow(measure_effects(self._anatomy, self._pairs(condition, n_prompts), found))

        return self._table(
            "direction-effects", compute, condition, n_prompts=n_prompts, place=list(place)
        )

    def damage(self, place: Place, condition: str = "base", *, n_prompts: int) -> pd.DataFrame:
        """The table of `measure_damage` on texts in which no name is repeated.

        Returns:
            Its rows with ``texts``: *unrepeated names*, reference prompts of the
            condition's own, or *no names*, plain sentences, for base alone.
        """

        def compute() -> pd.DataFrame:
            pairs, found = self._pairs(condition, n_prompts), self._at(place)
            sets = {"unrepeated names": unrepeated_partners(pairs.prompts)}
            if condition == "base":
                sets["no names"] = plain_texts(self.study.encoder, [place])
            parts = []
            for name, texts in sets.items():
                turns = np.resize(np.arange(len(pairs.labels)), len(texts))
                groups = [pairs.groups[turn] for turn in turns]
                labels = pairs.labels[turns]
                if name == "no names":  # where nothing was mentioned, to either side in turns
                    labels = np.resize([1, -1], len(texts))
                table = measure_damage(self._anatomy, texts, groups, labels, found)
                parts.append(table.assign(texts=name))
            return _narrow(pd.concat(parts, ignore_index=True))

        return self._table(
            "direction-damage", compute, condition, n_prompts=n_prompts, place=list(place)
        )

    @cached_property
    def _anatomy(self) -> Anatomy:
        return read_anatomy(self.study.loaded.bridge)

    @cached_property
    def _couples(self) -> tuple[Couple, ...]:
        if self.variable != "name":
            return ()
        enough = 8 * self.n_couples
        return choose_couples(self.study.prompts("base", enough, "test"), self.n_couples)

    @cached_property
    def _directions(self) -> Directions:
        prompts = self.study.prompts("base", self.n_fit, "discovery")
        found: dict[tuple[Place, str], Sequence[Any]] = {}
        for couple in self._couples or (None,):
            pairs = pair_up(prompts, self.variable, [couple] if couple else [])
            found |= fit_places(
                self._anatomy,
                pairs,
                self.places,
                n_random=self.n_random,
                seed=self.study.seed,
            )
        return found

    def _at(self, place: Place) -> Directions:
        return {key: found for key, found in self._directions.items() if key[0] == place}

    def _pairs(self, condition: str, n_prompts: int, split: str = "test") -> Pairs:
        prompts = self.study.prompts(condition, n_prompts, split)
        return pair_up(prompts, self.variable, _deal(self._couples, n_prompts, self.study.seed))

    def _fit_pairs(self, n_prompts: int) -> Pairs:
        return self._pairs("base", n_prompts, "discovery")

    def _table(
        self, measurement: str, compute: Callable[[], pd.DataFrame], condition: str, **decided: Any
    ) -> pd.DataFrame:
        decides = {
            "model": self.study.declaration.identity,
            "condition": load_condition(condition).identity,
            "base": _digest(repr(load_condition("base").identity)),
            "seed": self.study.seed,
            "variable": self.variable,
            "n_fit": self.n_fit,
            "n_random": self.n_random,
            "n_places": self.n_places,
            "n_couples": self.n_couples if self.variable == "name" else 0,
            "kinds": [*FITTED, *CONTROLS],
        }
        request = Request(measurement, _VERSIONS[measurement], decides | decided)
        return self.study.store.table(request, compute)


def choose_place(scan: pd.DataFrame) -> Place:
    """Where the difference of means moves most on the prompts that it was found on."""
    table = scan[scan["split"] == "discovery"]
    moved = table["logit_diff_model"] - table["logit_diff_steered"]
    by_place = moved.groupby([table["position"], table["layer"]], sort=False).mean()
    position, layer = by_place.idxmax()
    return Place(str(position), int(layer))


def keep_summary(
    study: Study, name: str, frame: pd.DataFrame, summarise: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """A summary, kept by the content of what it sums up: its intervals take a while."""
    rows = pd.util.hash_pandas_object(frame).to_numpy().tobytes()
    decides = {"name": name, "frame": _digest(repr(list(frame)) + rows.hex())}
    request = Request("direction-summary", _VERSIONS["direction-summary"], decides)
    return study.store.table(request, summarise)


def _deal(couples: Sequence[Couple], n_prompts: int, seed: int) -> list[Couple]:
    """A couple for each prompt, equally often and by lot, so that none goes with a template."""
    if not couples:
        return []
    turns = np.random.default_rng([seed, n_prompts]).permutation(n_prompts) % len(couples)
    return [couples[turn] for turn in turns]


def _narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Single precision is enough for what is a mean over prompts in the end."""
    wide = table.select_dtypes("float64").columns
    return table.astype(dict.fromkeys(wide, "float32"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
