"""The work of a run with the toy model, without records."""

from coser_cli.batch.request import Request, Work
from coser_cli.settings import Settings
from tests.toy import TOY


def toy_work(settings=None, **request):
    """`Settings(scale=2)`, or others; `request` are further fields of the request."""
    settings = settings or Settings(scale=2.0)
    return Work(Request(settings, **request), settings.resolve(TOY))


class InMemory:
    """What a stand-in for the upscaler answers a batch: every picture is done whole."""

    low_memory = False
    limit = 1

    @property
    def runtime(self):
        return self

    def why_tiled(self, size, settings, spec):
        return ""

    def batch_limit(self, size, settings):
        return self.limit
