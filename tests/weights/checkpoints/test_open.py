"""Files as they come: read lazily where they are checkpoints, refused by their name where not."""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import pickle
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from coser_cli.errors import Exit, WeightsError
from coser_cli.weights.checkpoints.open import Origin, open_checkpoint
from tests.weights.published import CALLBACK, importable, save_lightning

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3.0), "i": torch.arange(4)}


def lightning(path, extra=CALLBACK, **fields):
    return Origin(path, "lightning-ckpt", safe_globals=(extra,), **fields)


def same(found, expected=STATE):
    assert found.keys() == expected.keys()
    assert len(found) == len(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


# -- what is read


def test_a_lightning_checkpoint(tmp_path):
    same(open_checkpoint(lightning(save_lightning(tmp_path / "x.ckpt", STATE))))


@pytest.mark.parametrize("payload", [{"state_dict": STATE, "step": 3}, STATE])
def test_tensors_lie_under_state_dict_or_at_the_top(tmp_path, payload):
    torch.save(payload, tmp_path / "x.bin")
    same(open_checkpoint(Origin(tmp_path / "x.bin", "torch-bin")))


def test_parameters_are_read_as_tensors(tmp_path):
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "x.bin")
    found = open_checkpoint(Origin(tmp_path / "x.bin", "torch-bin"))
    assert not found["a"].requires_grad


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "x.safetensors")
    found = open_checkpoint(Origin(tmp_path / "x.safetensors", "safetensors"))
    same(found)
    with pytest.raises(KeyError):
        found["nobody"]


def test_safetensors_are_read_as_such_where_a_pickle_is_expected(tmp_path):
    save_file(STATE, tmp_path / "x.ckpt")
    same(open_checkpoint(lightning(tmp_path / "x.ckpt")))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_tensors_are_mapped_not_read(tmp_path):
    big = {"a": torch.zeros(1 << 24)}
    save_file(big, tmp_path / "x.safetensors")
    for origin in (
        lightning(save_lightning(tmp_path / "x.ckpt", big)),
        Origin(tmp_path / "x.safetensors", "safetensors"),
    ):
        before = resident("RssAnon")
        found = open_checkpoint(origin)
        assert found["a"][-1] == 0
        assert resident("RssAnon") - before < 16 << 20, origin.format


def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def test_a_folder_of_diffusers_has_its_parts_before_the_names(tmp_path):
    for part, stem in (("unet", "diffusion_pytorch_model.fp16"), ("text_encoder", "model")):
        (tmp_path / part).mkdir()
        save_file(STATE, tmp_path / part / f"{stem}.safetensors")
    same(
        open_checkpoint(Origin(tmp_path, "diffusers")),
        {f"{part}.{name}": t for part in ("unet", "text_encoder") for name, t in STATE.items()},
    )


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="not a model in diffusers' format"):
        open_checkpoint(Origin(tmp_path, "diffusers"))


# -- what would run code


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def trap(tmp_path):
    """A command that leaves a file behind, and that file."""
    return f"touch {tmp_path / 'ran'}", tmp_path / "ran"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "builtins.eval"),
        (exec, "builtins.exec"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_calls_is_refused_and_named(tmp_path, trap, function, name, protocol):
    command, ran = trap
    code = command if function is os.system else f"__import__('os').system({command!r})"
    torch.save(
        {"state_dict": STATE, "x": Runs(function, code)},
        tmp_path / "x.ckpt",
        pickle_protocol=protocol,
    )
    with pytest.raises(WeightsError, match=f"'{name}'") as caught:
        open_checkpoint(lightning(tmp_path / "x.ckpt"))
    assert caught.value.exit_code == Exit.WEIGHTS
    assert "nothing from the file was run" in caught.value.hint
    assert not ran.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_that_calls_is_refused_and_named(tmp_path, trap, protocol):
    command, ran = trap
    data = pickle.dumps({"x": Runs(os.system, command)}, protocol)
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(lightning(tmp_path / "x.ckpt"))
    if protocol:
        assert f"'{os.system.__module__}.system'" in caught.value.message
    assert not ran.exists()


@pytest.mark.parametrize(
    "name",
    [
        f"{CALLBACK}Extra",
        f"{CALLBACK}.inner",
        "pytorch_lightning.callbacks.model_checkpoint.Other",
        "pytorch_lightning.callbacks.ModelCheckpoint",
    ],
)
def test_a_name_that_is_only_like_an_allowed_one_is_refused(tmp_path, name):
    with importable(name) as cls:
        torch.save({"state_dict": STATE, "callbacks": {cls: 1}}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match=f"'{name}'"):
        open_checkpoint(lightning(tmp_path / "x.ckpt"))


def test_a_module_and_name_split_elsewhere_stand_for_the_same_empty_class(tmp_path):
    """`a.b` + `c.D` is not `a.b.c` + `D`, though both read `a.b.c.D`; nothing is looked up."""
    save_lightning(tmp_path / "x.ckpt", STATE)
    module, _, name = CALLBACK.rpartition(".")
    outer, _, inner = module.rpartition(".")
    old, new = f"c{module}\n{name}\n".encode(), f"c{outer}\n{inner}.{name}\n".encode()
    rewrite(tmp_path / "x.ckpt", tmp_path / "y.ckpt", lambda data: data.replace(old, new))
    same(open_checkpoint(lightning(tmp_path / "y.ckpt")))


def rewrite(source, target, change):
    """A torch file with its pickle changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(
                entry.filename, change(data) if entry.filename.endswith("data.pkl") else data
            )


OWN = "package.module.Callback"


def with_own_class(path):
    """A checkpoint that names a class of somebody's own."""
    with importable(OWN) as cls:
        torch.save({"state_dict": STATE, "callbacks": {cls: {"best": 1}}}, path)
    return path


def test_a_foreign_name_is_refused_with_the_line_that_allows_it(tmp_path):
    path = with_own_class(tmp_path / "x.ckpt")
    origin = Origin(path, "lightning-ckpt", safe_globals=("a.B",), file_id="coser")
    with pytest.raises(WeightsError, match=f"'{OWN}'") as caught:
        open_checkpoint(origin)
    assert f'add safe_globals = ["a.B", "{OWN}"] to [file.coser]' in caught.value.hint
    assert "--manifest" in caught.value.hint
    same(open_checkpoint(replace(origin, safe_globals=("a.B", OWN))))


@pytest.mark.parametrize("name", [f"{os.system.__module__}.system", "builtins.eval"])
def test_what_an_allowed_name_stands_for_never_runs(tmp_path, trap, name):
    command, ran = trap
    call = Runs(eval, f"__import__('os').system({command!r})")
    torch.save({"state_dict": STATE, "x": call}, tmp_path / "x.ckpt")
    if "eval" in name:
        same(open_checkpoint(lightning(tmp_path / "x.ckpt", extra=name)))
    else:
        torch.save({"state_dict": STATE, "x": Runs(os.system, command)}, tmp_path / "x.ckpt")
        with pytest.raises(WeightsError, match="system"):
            open_checkpoint(lightning(tmp_path / "x.ckpt", extra=name))
    assert not ran.exists()


def usual():
    """What training leaves beside weights, of every kind."""
    return {
        "scalar": np.float64(0.5),
        "flag": np.bool_(True),
        "array": np.arange(3),
        "type": np.float32,
        "dtype": np.dtype("int64"),
        "state": np.random.RandomState(0).get_state(),
        "options": argparse.Namespace(lr=1e-4),
        "default": collections.defaultdict(dict, {0: {"exp_avg": torch.zeros(3)}}),
        "ordered": collections.OrderedDict(a=1),
        "path": Path("somewhere"),
        "time": datetime.timedelta(seconds=3),
        "device": torch.device("cpu"),
        "generator": torch.get_rng_state(),
        "set": frozenset({1}),
    }


@pytest.mark.parametrize("name", usual())
def test_what_training_leaves_beside_weights_does_no_harm(tmp_path, name):
    torch.save({"state_dict": STATE, name: usual()[name]}, tmp_path / "x.ckpt")
    same(open_checkpoint(Origin(tmp_path / "x.ckpt", "lightning-ckpt")))


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
def test_hyperparameters_of_lightning_do_no_harm(tmp_path, package):
    with importable(f"{package}.utilities.parsing.AttributeDict", base=dict) as cls:
        saved = {"state_dict": STATE, "hyper_parameters": cls(lr=1e-4)}
        torch.save(saved, tmp_path / "x.ckpt")
    same(open_checkpoint(Origin(tmp_path / "x.ckpt", "lightning-ckpt")))


def test_an_allowed_class_is_replaced_by_an_inert_one(tmp_path):
    """Even when the real one can be imported, made and given a state: none of it runs."""
    made = []
    with importable(CALLBACK) as cls:
        cls.__init__ = lambda self: None
        cls.__setstate__ = lambda self, state: made.append(state)
        value = cls()
        value.secret = 1
        torch.save({"state_dict": STATE, "callbacks": value}, tmp_path / "x.ckpt")
        same(open_checkpoint(lightning(tmp_path / "x.ckpt")))
    assert made == []


def test_a_pickle_under_the_name_of_safetensors_is_refused(tmp_path):
    save_lightning(tmp_path / "x.safetensors", STATE)
    with pytest.raises(WeightsError, match="not a safetensors file but a pickle"):
        open_checkpoint(Origin(tmp_path / "x.safetensors", "safetensors"))


def test_too_old_a_torch_reads_no_pickles(tmp_path, monkeypatch):
    save_lightning(tmp_path / "x.ckpt", STATE)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    with pytest.raises(WeightsError, match=r"torch 2\.9\.1 cannot read one safely"):
        open_checkpoint(lightning(tmp_path / "x.ckpt"))


# -- what is no checkpoint


def legacy(path):
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def compressed(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", b"x" * 1000)
    return path.read_bytes()


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"hello")
    return path.read_bytes()


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    return path.read_bytes()


def saved(path):
    return save_lightning(path, STATE).read_bytes()


def tensors(path):
    save_file(STATE, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: b"", "is empty"),
        (lambda path: b"<!DOCTYPE html><html>Quota exceeded</html>", "is an HTML page"),
        (lambda path: b"\n  <html>", "is an HTML page"),
        (lambda path: b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (lambda path: b'{"error": "gone"}', "a text in JSON"),
        (lambda path: b"\0" * 1000, "nothing but zeros"),
        (lambda path: b"hello, world", "neither safetensors nor a checkpoint"),
        (lambda path: saved(path)[:-100], "is truncated or damaged"),
        (lambda path: saved(path)[: len(saved(path)) // 2], "is truncated or damaged"),
        (lambda path: tensors(path)[:-1], "is truncated: it has"),
        (lambda path: tensors(path) + b"1", "is damaged: it has"),
        (lambda path: tensors(path)[:40], "truncated or damaged header"),
        (legacy, "old format"),
        (compressed, "a compressed zip archive"),
        (other_zip, "not a checkpoint of torch"),
        (script, "a TorchScript program"),
    ],
)
@pytest.mark.parametrize("form", ["lightning-ckpt", "safetensors"])
def test_each_wrong_file_has_its_own_message(tmp_path, make, said, form):
    path = tmp_path / "x.file"
    path.write_bytes(make(path))
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(Origin(path, form))
    expected = said
    if form == "safetensors" and make in (legacy, other_zip):
        expected = "but a pickle"
    assert expected in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("payload", [[1, 2], {"state_dict": {}}, {"a": {"b": torch.ones(1)}}])
def test_a_pickle_without_named_tensors_is_refused(tmp_path, payload):
    torch.save(payload, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match="holds"):
        open_checkpoint(lightning(tmp_path / "x.ckpt"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        open_checkpoint(lightning(tmp_path / "x.ckpt"))
    with pytest.raises(WeightsError, match="unknown format"):
        open_checkpoint(Origin(tmp_path, "onnx"))
