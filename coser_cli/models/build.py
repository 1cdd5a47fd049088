"""Networks from configuration and weights: strict, on the meta device, each when first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coser_cli.errors import WeightsError
from coser_cli.models.config import ClipTextConfig, ModelConfig, SentenceTextConfig
from coser_cli.models.srresnet import SRResNet
from coser_cli.weights import store
from coser_cli.weights.store import available_models, resolve_model

if TYPE_CHECKING:
    from coser_cli.models.autoencoder import Autoencoder, CFWDecoder
    from coser_cli.models.clip import ClipText
    from coser_cli.models.cognition import CognitiveEncoder
    from coser_cli.models.controlnet import ControlNet
    from coser_cli.models.text import SentenceText
    from coser_cli.models.unet import UNet

__all__ = [
    "CoSeR",
    "available_models",
    "build",
    "load_model",
    "make_network",
    "resolve_model",
    "save_component",
    "save_text_states",
]

Load = Callable[[str], Any]


class CoSeR:
    """All networks of a model. Each is made by `load(part)` when first asked for, so that a run
    without diffusion never builds the U-Net.
    """

    def __init__(self, config: ModelConfig, load: Load) -> None:
        self.config = config
        self._load = load

    @cached_property
    def srresnet(self) -> SRResNet:
        """Pre-restorer."""
        network: SRResNet = self._load("srresnet")
        return network

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """Pixels ↔ latents."""
        network: Autoencoder = self._load("vae")
        return network

    @cached_property
    def cfw(self) -> CFWDecoder | None:
        """Decoder that feeds on the low-resolution picture, if the model has one."""
        network: CFWDecoder | None = self._load("cfw")
        return network

    @cached_property
    def text(self) -> ClipText | SentenceText:
        """Text encoder."""
        network: ClipText | SentenceText = self._load("text")
        return network

    @cached_property
    def cognition(self) -> CognitiveEncoder:
        """Cognitive encoder."""
        network: CognitiveEncoder = self._load("cognitive_encoder")
        return network

    @cached_property
    def unet(self) -> UNet:
        """Denoiser."""
        network: UNet = self._load("unet")
        return network

    @cached_property
    def controlnet(self) -> ControlNet:
        """Maps of the low-resolution and the reference image."""
        network: ControlNet = self._load("controlnet")
        return network


def load_model(
    model: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> CoSeR:
    """The model of that name ("auto": `sd21` if installed, else `mini`) or in that folder.

    Raises WeightsError if there is none; networks may raise it later, when first used.
    """
    folder = store.model_folder(model)
    config = store.read_model_config(folder)
    return CoSeR(config, partial(_load_part, folder, config, device, dtype))


def _load_part(
    folder: Path, config: ModelConfig, device: torch.device | str, dtype: torch.dtype, part: str
) -> Any:
    if part == "cfw" and not store.has_part(folder, part):
        return None
    if part == "text" and isinstance(config.text, SentenceTextConfig):
        return _load_text_states(folder, config.text, device, dtype)
    state = {
        name: tensor.to(dtype if tensor.is_floating_point() else None)
        for name, tensor in store.read_part(folder, part, device).items()
    }
    network = build(lambda: make_network(config, part), state, str(folder / part))
    # a quarter faster for the convolutional networks on a CPU, and what tensor cores want
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def make_network(config: ModelConfig, part: str) -> nn.Module:
    """A freshly initialised network of the model: `part` is the name of its folder."""
    if part == "srresnet":
        return SRResNet(config.srresnet)
    if part in ("vae", "cfw"):
        from coser_cli.models import autoencoder

        if part == "vae":
            return autoencoder.Autoencoder(config.autoencoder)
        return autoencoder.CFWDecoder(config.cfw)
    if part == "unet":
        from coser_cli.models.unet import UNet

        return UNet(config.unet)
    if part == "controlnet":
        from coser_cli.models.controlnet import ControlNet

        return ControlNet(config.controlnet)
    if part == "cognitive_encoder":
        from coser_cli.models.cognition import CognitiveEncoder, CognitiveEncoderConfig

        return CognitiveEncoder(CognitiveEncoderConfig(config.clip_vision, config.qformer))
    if part == "text" and isinstance(config.text, ClipTextConfig):
        from coser_cli.models.clip import ClipText

        return ClipText(config.text)
    raise ValueError(f"a model has no network {part!r}")


class _NoRandom(TorchFunctionMode):
    """Turns `torch.randn` into `torch.empty`: on the meta device the former imports torch's
    compiler (a second), and open_clip calls it for parameters that are replaced at once."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def skeleton(make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` makes, on the meta device: names and shapes, no numbers."""
    with torch.device("meta"), _NoRandom():
        return make()


def build(make: Callable[[], nn.Module], state: Mapping[str, Tensor], source: str) -> nn.Module:
    """The network that `make` makes, holding the tensors of `state` themselves; for inference.

    Made on the meta device: nothing is initialised in vain. Raises WeightsError that names
    `source` and every key that is missing, not known or of another shape.
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


def save_component(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a network with its `config` into a part's folder, floating tensors as `dtype`."""
    config: Any = network.config
    store.save_part(network.state_dict(), asdict(config), folder, dtype)


def save_text_states(text: SentenceText, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the states that a sentence text side holds into its part's folder."""
    config = asdict(text.config) | {"prompts": list(text.states)}
    states = torch.stack(list(text.states.values()))
    store.save_part({"states": states}, config, folder, dtype)


def _load_text_states(
    folder: Path, config: SentenceTextConfig, device: torch.device | str, dtype: torch.dtype
) -> SentenceText:
    from coser_cli.models.text import SentenceText

    prompts = store.read_part_config(folder, "text")["prompts"]
    states = store.read_part(folder, "text", device)["states"].to(dtype)
    return SentenceText(config, dict(zip(prompts, states, strict=True)))
