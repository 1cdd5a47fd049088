"""What all tests share."""

import os

# The toy networks are too small to share among threads; before torch is imported, and for the
# processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

from tests.file_host import host  # noqa: F401 (a fixture)

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
