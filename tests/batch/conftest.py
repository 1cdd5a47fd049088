from tests.toy_upscaler import make_toy, upscaler  # noqa: F401 (fixtures)
