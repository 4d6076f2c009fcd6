"""Tables of directions are computed once; what cannot be asked is refused before anything is."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.representation.collect import ask_directions, name_variables
from circuitgen.representation.steer import Place
from circuitgen.representation.stored import DirectionStudy, choose_place
from circuitgen.results import Store
from circuitgen.study import Study


@pytest.fixture
def study(tmp_path: Path, constructed: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Study:
    # Loaded once for the session rather than by each study.
    monkeypatch.setattr("circuitgen.study.load_model", lambda _: constructed)
    store = Store(tmp_path / "results", others=())
    return Study("constructed-ioi", n_reference=8, store=store)


def small(study: Study) -> DirectionStudy:
    return DirectionStudy(study, "name", n_fit=4, n_random=1, n_places=2, n_couples=1)


def test_second_call_loads_no_model(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> list[pd.DataFrame]:
        again = Study(study.model, n_reference=8, store=study.store)
        found = ask_directions(small(again), ["passive", "no-repeat"], n_scan=4, n_prompts=4)
        return [found.scan, found.conditions, found.damage, found.left_out]

    first = ask()

    def refuse(name: str) -> LoadedModel:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr("circuitgen.study.load_model", refuse)
    for one, other in zip(ask(), first, strict=True):
        pd.testing.assert_frame_equal(one, other)
    conditions, left_out = first[1], first[3]
    assert list(dict.fromkeys(conditions["condition"])) == ["base", "passive"]
    assert left_out["condition"].to_list() == ["no-repeat"]
    assert set(first[2]["texts"]) == {"unrepeated names", "no names"}


def test_place_is_chosen_on_discovery_prompts_alone() -> None:
    scan = pd.DataFrame(
        {
            "split": ["discovery"] * 3 + ["test"],
            "position": ["S2", "END", "END", "S2"],
            "layer": [1, 1, 2, 1],
            "logit_diff_model": 5.0,
            "logit_diff_steered": [4.0, 5.0, 1.0, -9.0],
        }
    )
    assert choose_place(scan) == Place("END", 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: DirectionStudy(s, "size"), "There is no variable 'size'"),
        (lambda s: DirectionStudy(s, "name", n_couples=0), "n_couples is 0; it has to be at least"),
        (lambda s: DirectionStudy(s, "order", n_fit=3), "n_fit is 3; it has to be at least 4"),
        (
            lambda s: ask_directions(small(s), ["nowhere"], n_scan=4, n_prompts=4),
            "There is no condition 'nowhere'",
        ),
        (lambda _: name_variables("order,size"), "There is no variable 'size'; choose among"),
        (lambda _: name_variables(" , "), "No variable is named"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    study: Study, call: Callable[[Study], object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        call(study)
    assert not study.store.root.exists()
