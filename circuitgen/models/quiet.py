"""Run a library's loading code without its progress bars, logs and warnings.

What matters to the user is said by this package in one sentence; a chapter must
not show a library's stderr. Everything is put back on leaving.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

__all__ = ["quiet_libraries"]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence transformers, huggingface_hub and Python's logging inside the `with` block.

    An exception passes through as it is; only what is printed to stderr is dropped.
    """
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    had_hub_bars = not are_progress_bars_disabled()
    disabled = logging.root.manager.disable
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # With -W error the environment variable's own warning would be an exception.
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        disable_progress_bars()
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
            transformers_logging.set_verbosity(verbosity)
            if had_bars:
                transformers_logging.enable_progress_bar()
            if had_hub_bars:
                enable_progress_bars()
