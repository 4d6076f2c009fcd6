"""Small models that many tests share, each loaded once for a session.

`shape` is one of three random models in Hugging Face layout, with the slow
implementation of the same weights beside it; `constructed` is the model whose
circuit is known.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from scoring.slow import SlowModel
from shapes import make_gemma_dir, make_gpt2_dir, make_llama_dir

from circuitgen.models import LoadedModel, load_model
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.prompts import Encoder, PromptSet, build_prompts, load_condition

SHAPES: dict[str, Callable[[Path], Path]] = {
    "gpt2": make_gpt2_dir,
    "llama": make_llama_dir,
    "gemma": make_gemma_dir,
}
# Two pairs of templates with the same number of tokens: one pair with the same
# positions too, one with S2 elsewhere.
TEMPLATES = ("when-went", "after-met", "while-waiting", "yesterday-walked")


class Shape(NamedTuple):
    """A random model, fast and slow, and prompts for it."""

    model: LoadedModel
    anatomy: Anatomy
    slow: SlowModel
    prompts: PromptSet


@pytest.fixture(scope="session", params=SHAPES)
def shape(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shape:
    folder = SHAPES[request.param](tmp_path_factory.mktemp("shapes") / request.param)
    model = load_model(str(folder))
    prompts = few_templates(model, n_prompts=10)
    return Shape(model, read_anatomy(model.bridge), SlowModel(folder), prompts)


@pytest.fixture(scope="session")
def constructed() -> LoadedModel:
    return load_model("constructed-ioi")


@pytest.fixture(scope="session")
def constructed_prompts(constructed: LoadedModel) -> PromptSet:
    return build_prompts(load_condition("base"), encoder_of(constructed), 24, split="test")


def encoder_of(model: LoadedModel) -> Encoder:
    return Encoder(model.tokenizer, model.declaration.prepend_bos)


def few_templates(model: LoadedModel, n_prompts: int, seed: int = 0) -> PromptSet:
    base = load_condition("base")
    few = replace(base, templates=tuple(t for t in base.templates if t.id in TEMPLATES))
    return build_prompts(few, encoder_of(model), n_prompts, seed=seed)
