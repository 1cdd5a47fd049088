"""The same denoisers without what the engine spares itself, to tell what each of that is worth.

`Shortcuts` are the engine's; with all of them off, a step is computed as a plain reading of the
paper has it (CoSeR sec. 3; spec sec. 10): a ControlNet call per hint, a U-Net call per guidance
branch, everything anew in every call. The numbers that come out are the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial, reduce
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from coser_cli.engine.restoration import Restorer, Times
from coser_cli.models.aia import AiABlock, OneHotAttention
from coser_cli.models.attention import match_batch
from coser_cli.models.build import build, make_network
from coser_cli.models.one_hot import plain_one_hot_attention
from coser_cli.models.transformer import PreparedContext
from coser_cli.models.unet import Controls, Time, UNetEncoder
from coser_cli.sampling.types import Denoise

if TYPE_CHECKING:
    from coser_cli.engine.cognition import Cognition
    from coser_cli.models.build import CoSeR
    from coser_cli.models.controlnet import ControlNet
    from coser_cli.models.unet import UNet

Prepare = Callable[[], PreparedContext]
Branches = Callable[[Tensor, int, int, Controls | None], Tensor]
"""(latents, timestep, how many guidance branches, controls) -> their predictions."""


def _shortcut(words: str) -> Any:
    return field(default=True, metadata={"words": words})


@dataclass(frozen=True)
class Shortcuts:
    """What the engine spares itself; each can be switched off."""

    joint_hints: bool = _shortcut("both hints in one ControlNet call")
    joint_branches: bool = _shortcut("both guidance branches in one U-Net call")
    shared_controls: bool = _shortcut("reference attention and LR keys shared by the branches")
    prepared_contexts: bool = _shortcut("keys of the cross-attentions once per picture")
    prepared_times: bool = _shortcut("what the timesteps add computed once per walk")
    lean_one_hot: bool = _shortcut("one-hot attention without the similarity matrix")
    channels_last: bool = _shortcut("channels last")
    fused_attention: bool = _shortcut("fused softmax attention")
    reduced_precision: bool = _shortcut("the smaller number type")

    @classmethod
    def none(cls) -> Self:
        """All of them off."""
        return cls(**{each.name: False for each in fields(cls)})

    @classmethod
    def names(cls) -> dict[str, str]:
        """Every shortcut, and what it is in words."""
        return {each.name: each.metadata["words"] for each in fields(cls)}

    def without(self, name: str) -> Self:
        """The same with one switched off."""
        return replace(self, **{name: False})


class Denoisers:
    """The denoisers of both passes of a model, with some shortcuts only.

    Networks that must be other than the model's own (another number type, another order in memory,
    another one-hot attention) are made anew, of the same tensors where these can stay as they are.
    """

    def __init__(self, model: CoSeR, shortcuts: Shortcuts) -> None:
        self.shortcuts = shortcuts
        self.unet: UNet = _plainer(model, "unet", model.unet, shortcuts)
        self.controlnet: ControlNet = _plainer(model, "controlnet", model.controlnet, shortcuts)
        self.dtype = next(self.unet.parameters()).dtype

    def imagining(self, cognition: Cognition, timesteps: Sequence[int]) -> Denoise:
        """Of the reference pass; see `engine.reference.Imaginer`."""
        predict = self._branches(cognition, timesteps)

        def denoise(latents: Tensor, timestep: int, branches: int) -> Tensor:
            with self._attention():
                return predict(latents.to(self.dtype), timestep, branches, None)

        return denoise

    def restoring(
        self, cognition: Cognition, timesteps: Sequence[int], low_res: Tensor, reference: Tensor
    ) -> Denoise:
        """Of the restoration, with one reference; see `engine.restoration.Restorer`."""
        predict = self._branches(cognition, timesteps)
        hints = [low_res.to(self.dtype), reference.to(self.dtype)]
        hints = [torch.cat(hints)] if self.shortcuts.joint_hints else hints
        positive = cognition.to(self.dtype).positive
        prepare = self._once(partial(self.controlnet.prepare_context, [positive]))
        times = self._times(self.controlnet, timesteps, positive)

        def denoise(latents: Tensor, timestep: int, branches: int) -> Tensor:
            with self._attention():
                latents, time = latents.to(self.dtype), times[timestep]
                parts = [self.controlnet(latents, time, hint, prepare()) for hint in hints]
                maps = [torch.cat(same) for same in zip(*parts, strict=True)]
                pairs = [each.chunk(2) for each in maps]
                controls = Controls(tuple(m[0] for m in pairs), tuple(m[1] for m in pairs))
                return predict(latents, timestep, branches, controls)

        return denoise

    def _branches(self, cognition: Cognition, timesteps: Sequence[int]) -> Branches:
        """What predicts all guidance branches, branch-major."""
        cognition = cognition.to(self.dtype)
        both = cognition.positive, cognition.negative
        prepare = [self._once(partial(self.unet.prepare_context, [each])) for each in both]
        times = self._times(self.unet, timesteps, both[0])

        def predict(
            latents: Tensor, timestep: int, branches: int, controls: Controls | None
        ) -> Tensor:
            contexts = [each() for each in prepare[:branches]]
            if self.shortcuts.joint_branches:
                contexts = [reduce(PreparedContext.beside, contexts)]
            if controls is not None and not self.shortcuts.shared_controls:
                controls = _repeated(controls, contexts[0].branches)
            time = times[timestep]
            return torch.cat([self.unet(latents, time, each, controls) for each in contexts])

        return predict

    def _times(
        self, network: UNetEncoder, timesteps: Sequence[int], like: Tensor
    ) -> Mapping[int, Time]:
        """What a network is told of each timestep: prepared, or the timestep itself."""
        if self.shortcuts.prepared_times:
            return network.prepare_times(timesteps, like)
        return {timestep: timestep for timestep in timesteps}

    def _once(self, prepare: Prepare) -> Prepare:
        """`prepare` as it is, or, with that shortcut, what it gives the first time."""
        return cache(prepare) if self.shortcuts.prepared_contexts else prepare

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """Spell softmax attention out, unless it may be fused: q·kᵀ, softmax, the sum of values, in
        the number type of the rest."""
        if self.shortcuts.fused_attention:
            yield
            return
        reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced)


def step_of(
    model: CoSeR,
    cognition: Cognition,
    timesteps: Sequence[int],
    low_res: Tensor,
    reference: Tensor,
    shortcuts: Shortcuts,
) -> Denoise:
    """The denoiser of the restoration with these shortcuts, for a walk along `timesteps`; with all
    of them, the engine's own.
    """
    if shortcuts == Shortcuts():
        times = Times.of(model, timesteps, cognition.embedding)
        return Restorer(model, cognition, times, (low_res, reference))
    return Denoisers(model, shortcuts).restoring(cognition, timesteps, low_res, reference)


class PlainOneHotAttention(OneHotAttention):
    """One-hot attention by its definition, with the whole matrix of similarities."""

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        key, value = self.key_value(tokens if context is None else context)
        return self.merge(plain_one_hot_attention(self.query(tokens), key, value))


def _repeated(controls: Controls, branches: int) -> Controls:
    """Controls of their own for each branch."""
    assert controls.reference is not None
    low_res, reference = (
        tuple(match_batch(each, branches * each.shape[0]).contiguous() for each in maps)
        for maps in (controls.low_res, controls.reference)
    )
    return Controls(low_res, reference)


@torch.inference_mode()
def _plainer(model: CoSeR, part: str, network: Any, shortcuts: Shortcuts) -> Any:
    """The network itself, or one that is like it and lacks the shortcuts inside of networks."""
    dtype = model.placement.dtype if shortcuts.reduced_precision else torch.float32
    same_type = next(network.parameters()).dtype == dtype
    if same_type and shortcuts.channels_last and shortcuts.lean_one_hot:
        return network
    state = {
        name: tensor.to(dtype) if shortcuts.channels_last else tensor.to(dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    made = build(partial(make_network, model.config, part), state, part)
    if not shortcuts.channels_last:
        _keep_contiguous(made)
    if not shortcuts.lean_one_hot:
        _spell_one_hot_out(made)
    return made


def _keep_contiguous(network: nn.Module) -> None:
    """Have every convolution see maps channel by channel: what leaves a transformer is not."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))


def _spell_one_hot_out(network: nn.Module) -> None:
    for block in [module for module in network.modules() if isinstance(module, AiABlock)]:
        block.reference_attn = _plain(block.reference_attn)


def _plain(attention: OneHotAttention) -> PlainOneHotAttention:
    inner, dim = attention.to_q.weight.shape
    with torch.device("meta"):
        plain = PlainOneHotAttention(dim, attention.heads, inner // attention.heads)
    plain.load_state_dict(attention.state_dict(), assign=True)
    return plain.eval().requires_grad_(False)
