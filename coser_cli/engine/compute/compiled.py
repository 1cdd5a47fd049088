"""Steps with compiled networks: each form of input compiled once, checked once and measured.

Whatever goes wrong ends in one line and in steps as they are written; a compiled result that is not
the eager one is never used. What is told goes to this module's logger.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import torch

from coser_cli import paths
from coser_cli.engine.compute.compile_times import Measured, Remembered, key_of
from coser_cli.engine.compute.retry import free_cache, is_out_of_memory, reason_of
from coser_cli.models.step import Step, agree, form_of, is_finite, kind_of, leaves

logger = logging.getLogger(__name__)
MOST_FORMS = 12
"""Forms of input (networks, sizes, batches, guided or not) that a process compiles for."""
_KERNELS = "TORCHINDUCTOR_CACHE_DIR"
Call = Callable[[Any], Any]
Compile = Callable[[Step, Any], Call]
"""A step and its network -> the step of that network alone."""


def inductor(step: Step, network: Any) -> Call:
    """The step of a network compiled by torch's inductor, for fixed shapes, as it meets them.

    What inductor makes is kept in a folder of ours between runs, unless `TORCHINDUCTOR_CACHE_DIR`
    names another; that must be set before inductor is imported.
    """
    os.environ.setdefault(_KERNELS, str(paths.cache_dir() / "inductor"))
    import torch._dynamo.config as dynamo

    # it tells on stderr of every process without a GPU that there is none
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # forms are counted here: dynamo shall not give up before, and silently
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * MOST_FORMS)

    def call(given: Any) -> Any:
        return step(network, given)

    return torch.compile(call, dynamic=False)


@dataclass(frozen=True)
class _Form:
    """What a compiled step may rely on."""

    step: Step
    network: Any
    given: Hashable
    kind: Hashable
    batch: int


class Compiled:
    """Runs steps with compiled networks (`step.Execute`).

    The first step of each form is also run eagerly, to compare. A form that is smaller than a
    compiled one in its batch alone (the last tiles of a step, the last pictures of a folder) stays
    eager: to compile for it takes longer than it saves, to pad it computes what nobody wants. So do
    forms after the first `MOST_FORMS`. `about` is what measurements depend on beside the form.
    """

    def __init__(
        self,
        device: torch.device,
        remembered: Remembered,
        about: tuple[str, ...] = (),
        compile_network: Compile = inductor,
    ) -> None:
        self._device = device
        self._remembered = remembered
        self._about = about
        self._compile = compile_network
        self._made: dict[tuple[Step, Any], Call] = {}
        self._forms: dict[_Form, bool] = {}
        self._given_up = False

    @property
    def in_use(self) -> bool:
        """Whether any step is compiled: results then may differ in their last bits."""
        return any(self._forms.values()) and not self._given_up

    def __call__(self, step: Step, network: Any, given: Any) -> Any:
        if self._given_up:
            return step(network, given)
        batch = leaves(given)[0].shape[0]
        form = _Form(step, network, form_of(given), kind_of(given), batch)
        if form not in self._forms:
            return self._first(form, given)
        return self._again(form, given) if self._forms[form] else step(network, given)

    def _first(self, form: _Form, given: Any) -> Any:
        """Compile for this form, if it is worth it."""
        expected = form.step(form.network, given)
        if not is_finite(expected):
            return expected  # nothing to compare with
        self._forms[form] = self._is_worth_it(form)
        if not self._forms[form]:
            return expected
        try:
            found = self._compiled(form, given, expected)
        except Exception as error:  # of dynamo, inductor, a compiler, a driver
            self._give_up(reason_of(error))
            found = None
        if found is None:
            free_cache(self._device)
            return expected
        return found

    def _is_worth_it(self, form: _Form) -> bool:
        compiled = [each for each, done in self._forms.items() if done]
        alike = (replace(each, given=None, batch=0) for each in compiled if each.batch > form.batch)
        if replace(form, given=None, batch=0) in alike:
            return False
        if len(compiled) == MOST_FORMS and all(self._forms.values()):
            logger.info(f"compiled for {MOST_FORMS} forms of input; others are not compiled")
        return len(compiled) < MOST_FORMS

    def _compiled(self, form: _Form, given: Any, expected: Any) -> Any:
        """The compiled step's result, measured; None where it is wrong."""
        name = getattr(form.network, "name", type(form.network).__name__)
        key = key_of((*self._about, form.step.__name__, name, form.given))
        known = self._remembered.get(key)
        shape = " × ".join(map(str, leaves(given)[0].shape))
        told = "" if known is None else f"; the last time: {known.words}"
        logger.info(f"compiling {name} for latents {shape}{told}")
        eager, _ = self._timed(lambda: form.step(form.network, given))
        compiling, found = self._timed(lambda: self._call(form)(given))
        if not agree(found, expected):
            self._give_up("its result is not that of the networks as they are")
            return None
        compiled, _ = self._timed(lambda: self._again(form, given))
        if self._given_up:
            return None
        measured = Measured(eager, compiled, max(compiling - compiled, 1e-3))
        self._remembered.put(key, measured)
        logger.info(f"{name} {measured.words}")
        return found

    def _again(self, form: _Form, given: Any) -> Any:
        """A step of a form that is compiled; nothing is compiled any more."""
        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                return self._call(form)(given)
        except Exception as error:
            if is_out_of_memory(error):
                raise  # whoever asks may ask for less
            self._give_up(reason_of(error))
        return form.step(form.network, given)

    def _call(self, form: _Form) -> Call:
        key = form.step, form.network
        if key not in self._made:
            self._made[key] = self._compile(*key)
        return self._made[key]

    def _timed(self, run: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds, and what was made."""
        self._wait()
        began = time.perf_counter()
        made = run()
        self._wait()
        return time.perf_counter() - began, made

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _give_up(self, reason: str) -> None:
        """Once, for good."""
        self._given_up = True
        self._made.clear()
        logger.warning(f"compiling was given up: {reason}; steps are computed without it")
