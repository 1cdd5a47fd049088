"""What all tests share."""

from hypothesis import settings

from tests.file_host import host  # noqa: F401 (a fixture)

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
