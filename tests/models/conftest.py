"""Small models in Hugging Face layout, made once for a test session."""

from pathlib import Path

import pytest
from shapes import make_gemma_dir, make_gpt2_dir, make_llama_dir


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request) -> None:
    # The user's cache is neither read nor filled, but for the slow tests of real models.
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("CIRCUITGEN_CACHE", str(tmp_path / "own-cache"))


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gpt2_dir(tmp_path_factory.mktemp("shapes") / "gpt2-shaped")


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama_dir(tmp_path_factory.mktemp("shapes") / "llama-shaped")


@pytest.fixture(scope="session")
def gemma_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gemma_dir(tmp_path_factory.mktemp("shapes") / "gemma-shaped")
