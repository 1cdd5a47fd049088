"""Networks from configuration and weights: strict, on the meta device, each when first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coser_cli.config import ClipTextConfig, ModelConfig
from coser_cli.errors import WeightsError
from coser_cli.models.residency import ONCE, STAGES, Held, Placement, peak
from coser_cli.models.srresnet import Enlarger, SRResNet
from coser_cli.models.step import Execute, eagerly
from coser_cli.size import PartSize

if TYPE_CHECKING:
    from coser_cli.models.autoencoder import Autoencoder
    from coser_cli.models.cfw import CFWDecoder
    from coser_cli.models.clip import ClipText
    from coser_cli.models.cognitive_encoder import CognitiveEncoder
    from coser_cli.models.controlnet import ControlNet
    from coser_cli.models.text import SentenceText
    from coser_cli.models.unet import UNet

Load = Callable[[str], Any]
PARTS = ("srresnet", "vae", "cfw", "text", "cognitive_encoder", "unet", "controlnet")
"""Folder names of a model's parts."""


class CoSeR:
    """All networks of a model, each made by `load(part)` when first used, so that a run without
    diffusion never builds the U-Net.

    Using a network brings it to the device; `enter` lets those leave that a stage does not use, as
    `placement` says. `sizes` are those of the parts, where known; `reload(dtype)` returns the same
    model in another dtype, `reload(dtype, offload=...)` also with another placement. `execute` runs
    the steps of the U-Net and of the ControlNet.
    """

    def __init__(
        self,
        config: ModelConfig,
        load: Load,
        placement: Placement | None = None,
        sizes: Mapping[str, PartSize] | None = None,
        reload: Callable[..., CoSeR] | None = None,
    ) -> None:
        self.config = config
        self.placement = placement or Placement()
        self.sizes = sizes or {}
        self.reload = reload
        self.execute: Execute = eagerly
        self._load = load
        self._held: dict[str, Held] = {}

    @property
    def srresnet(self) -> Enlarger:
        """Pre-restorer: the SRResNet, or a network of the user in its place."""
        network: Enlarger = self._network("srresnet")
        return network

    @property
    def autoencoder(self) -> Autoencoder:
        """Pixels ↔ latents."""
        network: Autoencoder = self._network("vae")
        return network

    @property
    def cfw(self) -> CFWDecoder | None:
        """Decoder that feeds on the low-resolution picture, if the model has one."""
        network: CFWDecoder | None = self._network("cfw") if self.config.cfw is not None else None
        return network

    @property
    def text(self) -> ClipText | SentenceText:
        """Text encoder."""
        network: ClipText | SentenceText = self._network("text")
        return network

    @property
    def cognition(self) -> CognitiveEncoder:
        """Cognitive encoder."""
        network: CognitiveEncoder = self._network("cognitive_encoder")
        return network

    @property
    def unet(self) -> UNet:
        """Denoiser."""
        network: UNet = self._network("unet")
        return network

    @property
    def controlnet(self) -> ControlNet:
        """Maps of the low-resolution and the reference image."""
        network: ControlNet = self._network("controlnet")
        return network

    @property
    def here(self) -> frozenset[str]:
        """Names of the parts that are on the device now."""
        return frozenset(part for part, held in self._held.items() if not held.waiting)

    def enter(self, stage: str, *, tight: bool = False) -> None:
        """A stage (a key of `STAGES`) begins: networks that it does not use may leave the device.

        `tight`: with `offload` none, the parts used once leave before sampling; else all stay.
        """
        leaving = self.here - STAGES[stage]
        if self.placement.forgets:
            self.forget(leaving)
        elif self.placement.moves or (tight and stage == "sample"):
            for part in leaving if self.placement.moves else leaving & ONCE:
                if not self.placement.streams(part):
                    self._held[part].leave()

    def forget(self, parts: Iterable[str] | None = None) -> None:
        """Drop networks (all by default); they are read again when used."""
        for part in list(self._held if parts is None else parts):
            del self._held[part]

    def pending(self, stages: Iterable[str]) -> int:
        """Bytes of weights, as far as `sizes` are known, that `stages` will bring to the device at
        once, beside those that are there.
        """
        return peak(self.sizes, self.placement.offload, list(stages), self.here)

    def _network(self, part: str) -> Any:
        if part not in self._held:
            network, placement = self._load(part), self.placement
            waiting = placement.moves and not placement.streams(part)
            waiting = waiting and isinstance(network, nn.Module)
            self._held[part] = Held(network, placement.device, waiting)
        held = self._held[part]
        held.come()
        return held.network


def make_network(config: ModelConfig, part: str) -> nn.Module:
    """A freshly initialised network of the model: `part` is the name of its folder."""
    if part == "srresnet":
        return SRResNet(config.srresnet)
    if part == "vae":
        from coser_cli.models.autoencoder import Autoencoder

        return Autoencoder(config.autoencoder)
    if part == "cfw" and config.cfw is not None:
        from coser_cli.models.cfw import CFWDecoder

        return CFWDecoder(config.cfw)
    if part == "unet":
        from coser_cli.models.unet import UNet

        return UNet(config.unet)
    if part == "controlnet":
        from coser_cli.models.controlnet import ControlNet

        return ControlNet(config.controlnet)
    if part == "cognitive_encoder":
        from coser_cli.models.cognitive_encoder import CognitiveEncoder, CognitiveEncoderConfig

        return CognitiveEncoder(CognitiveEncoderConfig(config.clip_vision, config.qformer))
    if part == "text" and isinstance(config.text, ClipTextConfig):
        from coser_cli.models.clip import ClipText

        return ClipText(config.text)
    raise ValueError(f"a model has no network {part!r}")


class _NoRandom(TorchFunctionMode):
    """Skips the initialisation of parameters that are replaced at once: `torch.nn.init`, and
    `torch.randn`, which becomes `torch.empty`, times a number. On the meta device any of these may
    import torch's compiler, which takes seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.Tensor.mul and isinstance(args[1], float):
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def skeleton(make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` makes, on the meta device: names and shapes, no numbers."""
    with torch.device("meta"), _NoRandom():
        return make()


def build(make: Callable[[], nn.Module], state: Mapping[str, Tensor], source: str) -> nn.Module:
    """The network that `make` makes, holding the tensors of `state` themselves; for inference.

    Made on the meta device, so nothing is initialised needlessly. Raises WeightsError that names
    `source` and every key that is missing, unknown or of another shape.
    """
    network = skeleton(make)
    wanted = network.state_dict()
    faults = [f"missing: {name}" for name in wanted.keys() - state.keys()]
    faults += [f"not known: {name}" for name in state.keys() - wanted.keys()]
    faults += [
        f"{name} has the shape {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted.keys() & state.keys()
        if state[name].shape != wanted[name].shape
    ]
    if faults:
        raise WeightsError(
            f"{source}: the weights do not fit the network ({'; '.join(sorted(faults))})"
        )
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
