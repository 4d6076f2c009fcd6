"""Features of prompts: the fast ones equal the slow, and each is what its name says."""

import numpy as np
import pytest
import torch

from circuitgen.errors import InputError
from circuitgen.models import LoadedModel, load_model
from circuitgen.predictors.features import describe_prompts, edit_distance, stored_features
from circuitgen.predictors.words import look_up
from circuitgen.prompts import Encoder, build_prompts, load_condition, pair_with_base
from circuitgen.results import RESULTS_VARIABLE
from circuitgen.study import Study


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("constructed-ioi")


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ([1, 2, 3], [1, 2, 3], 0.0),
        ([1, 2, 3], [1, 9, 3], 1 / 3),
        ([1, 2, 3], [2, 3], 1 / 3),
        ([], [5, 6], 1.0),
        ([], [], 0.0),
        (list(b"kitten"), list(b"sitting"), 3 / 7),
    ],
)
def test_edit_distance(one: list[int], other: list[int], distance: float) -> None:
    assert edit_distance(one, other) == pytest.approx(distance)
    assert edit_distance(other, one) == pytest.approx(distance)


def test_features_equal_those_read_off_the_whole_model(model: LoadedModel) -> None:
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    prompts = build_prompts(load_condition("extra-s"), encoder, 6, split="test")
    partners = pair_with_base(prompts, load_condition("base"))
    table = describe_prompts(model, encoder, prompts.prompts, partners)
    for row, prompt in zip(table.to_dict(orient="records"), prompts.prompts, strict=True):
        with torch.no_grad():
            log_probs = model.bridge(torch.tensor([prompt.tokens]))[0].log_softmax(-1)
        following = torch.tensor(prompt.tokens[1:])
        surprise = -log_probs[:-1].gather(1, following[:, None]).mean()
        last = log_probs[-1]
        assert row["log_perplexity"] == pytest.approx(float(surprise), rel=1e-4)
        assert row["entropy"] == pytest.approx(float(-(last.exp() * last).sum()), abs=1e-3)
        assert row["mentions_io"] == prompt.text.split().count(prompt.io)
        assert row["mentions_s"] == 3
        assert row["distance_s1_s2"] == prompt.positions["S2"] - prompt.positions["S1"]
        assert 0 < row["edit_distance"] < 1
        assert 0 < row["embedding_distance"] < 1
    assert set(table["baba"]) == {0.0, 1.0}


def test_a_base_prompt_is_no_distance_from_itself(model: LoadedModel) -> None:
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    base = build_prompts(load_condition("base"), encoder, 4, split="test")
    table = describe_prompts(model, encoder, base.prompts, base.prompts)
    assert table["edit_distance"].eq(0).all()
    assert table["embedding_distance"].max() < 1e-6
    alone = describe_prompts(model, encoder, base.prompts, [None] * 4)
    assert alone[["edit_distance", "embedding_distance"]].isna().all(axis=None)


def test_words_are_looked_up() -> None:
    mary, nurse = look_up("Mary"), look_up("nurse")
    assert (mary.gender, mary.origin) == ("female", "english")
    assert 4 < mary.zipf < 6
    assert (nurse.gender, nurse.origin) == ("unknown", "none")
    assert look_up("Krishna").origin == "south-asian"
    assert look_up("Qxzzyqq").zipf == 0


def test_tables_are_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path))
    first = stored_features(Study("constructed-ioi"), "base", n_prompts=4)
    (path,) = tmp_path.glob("features-*.parquet")
    assert list(first["prompt"]) == [0, 1, 2, 3]
    before = path.stat().st_mtime_ns
    again = stored_features(Study("constructed-ioi"), "base", n_prompts=4)
    assert path.stat().st_mtime_ns == before
    assert np.array_equal(first["entropy"], again["entropy"])
    with pytest.raises(InputError, match="float16"):
        stored_features(Study("constructed-ioi"), "base", n_prompts=4, precision="float16")
