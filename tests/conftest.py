"""What all tests share."""

import gc
import os
import tempfile

# The toy networks are too small to share among threads; before torch is imported, and for the
# processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Commands must not be served by a server that the user has.
os.environ["COSER_RUNTIME_DIR"] = os.path.join(tempfile.gettempdir(), f"coser-none-{os.getpid()}")

import pytest
from hypothesis import settings

from tests.file_host import host  # noqa: F401 (a fixture)

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

IMPORTED = 100_000
"""Objects that an import of a large library leaves."""


@pytest.fixture(scope="module", autouse=True)
def _imports_are_no_garbage():
    """The engine collects garbage between stages, which takes long where much is imported: what
    stays for good is not looked at."""
    if len(gc.get_objects()) > IMPORTED:
        gc.collect()
        gc.freeze()
