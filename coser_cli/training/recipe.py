"""A recipe: TOML tables, one for each stage, read into dataclasses with their types checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from coser_cli.config import VARIANTS, ModelConfig, OneStep
from coser_cli.errors import UsageError
from coser_cli.training.degradation import DegradationConfig, read_degradation
from coser_cli.training.losses import PictureWeights
from coser_cli.training.one_step import PlainDecoding
from coser_cli.weights.store import MODEL_FILE, read_model_config

TABLES = (
    "data", "pool", "srresnet", "cognition", "restoration", "condition", "one_step", "export",
)  # fmt: skip
Config = TypeVar("Config")


@dataclass(frozen=True)
class DataOptions:
    """`degradation`: a TOML file beside the recipe. One in `held_out` pictures is not trained on,
    but shown in samples and measured; 0 for none."""

    degradation: str = ""
    held_out: int = 32


@dataclass(frozen=True)
class SRResNetOptions:
    """`crop` in HR pixels. `restart`: nothing is taken of the weights to start from."""

    crop: int = 112
    restart: bool = False
    weights: PictureWeights = field(default_factory=PictureWeights)


@dataclass(frozen=True)
class CognitionOptions:
    """`restart`: of the weights to start from only CLIP is taken. `train_clip`: it learns, too,
    where it is no CLIP yet. `train_srresnet`: it learns by L_CE, as published."""

    crop: int = 512
    restart: bool = False
    train_clip: bool = False
    train_srresnet: bool = True


@dataclass(frozen=True)
class RestorationOptions:
    """`restart`: of the weights to start from only the base is taken. `snr_cap`: min-SNR's γ, 0 for
    the published loss."""

    crop: int = 512
    restart: bool = False
    references: str = "same_class"
    prompt_share: float = 0.5
    snr_cap: float = 0.0


@dataclass(frozen=True)
class ConditionOptions(RestorationOptions):
    """A further condition, by its name; only its attentions learn."""

    name: str = "edges"


@dataclass(frozen=True)
class OneStepOptions:
    """`train`: parts that learn, "aia" for the new attentions of the U-Net alone. `embedding`: E
    stands behind the prompt. `timestep` (and `noised`, see `OneStep`) makes a model of many steps
    one of one step; below 0 the model's own stays. `teacher_start`: it begins with Real-ESRGAN's
    weights (`training/teacher_start.py`), and needs a pool. `phase`: tables of the phases, in their
    order; each has keys of the loop's and `weights`, and starts from the EMA of the one before."""

    crop: int = 128
    train: tuple[str, ...] = ("vae", "unet", "controlnet")
    embedding: bool = True
    timestep: int = -1
    noised: bool = False
    references: str = ""
    teacher_start: bool = False
    plain: PlainDecoding = field(default_factory=PlainDecoding)
    weights: PictureWeights = field(default_factory=PictureWeights)
    phase: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What a recipe says: the model, the weights to start from ("" for none), and the tables."""

    path: Path
    model: ModelConfig
    start: str
    tables: Mapping[str, Any]

    def table(self, name: str) -> Mapping[str, Any]:
        """A stage's table. Raises UsageError if there is none."""
        if name not in self.tables:
            raise UsageError(f"{self.path}: the recipe has no table [{name}]")
        table: Mapping[str, Any] = self.tables[name]
        return table

    def has(self, name: str) -> bool:
        """Whether there is such a table."""
        return name in self.tables

    def degradation(self) -> DegradationConfig:
        """How LR pictures are made."""
        options = parse(self.tables.get("data", {}), "data", DataOptions)[0]
        if not options.degradation:
            return DegradationConfig()
        return read_degradation(self.path.parent / options.degradation)


def read_recipe(path: Path) -> Recipe:
    """A recipe's file. `model` is one of the package's own, or the folder of a `model.json` (from
    the recipe's folder, unless absolute); `start` likewise, or an installed model.

    Raises:
        UsageError: it cannot be read, names no model, or has a table that is not known.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", "give a recipe such as recipes/mini.toml") from error
    name, start = str(tables.pop("model", "")), str(tables.pop("start", ""))
    unknown = sorted(tables.keys() - set(TABLES))
    if unknown:
        raise UsageError(f"{path}: unknown table {unknown[0]}", f"known: {', '.join(TABLES)}")
    if name not in VARIANTS and not (path.parent / name / MODEL_FILE).is_file():
        known = ", ".join(VARIANTS)
        raise UsageError(f"{path}: model is none of {known}, nor a folder with {MODEL_FILE}")
    model = VARIANTS[name] if name in VARIANTS else read_model_config(path.parent / name)
    if start and (path.parent / start).is_dir():
        start = str(path.parent / start)
    return Recipe(path, _in_one_step(_with_condition(model, tables), tables), start, tables)


def _with_condition(model: ModelConfig, tables: Mapping[str, Any]) -> ModelConfig:
    """The model with the condition that the recipe trains."""
    if "condition" not in tables:
        return model
    name = tables["condition"].get("name", ConditionOptions().name)
    if name in model.unet.conditions:
        return model
    return replace(model, unet=replace(model.unet, conditions=(*model.unet.conditions, name)))


def _in_one_step(model: ModelConfig, tables: Mapping[str, Any]) -> ModelConfig:
    """The model as one of one step, where the recipe makes it one; its own decoder makes the
    result, as in training."""
    table = tables.get("one_step", {})
    timestep = table.get("timestep", -1)
    if type(timestep) is not int or timestep < 0:
        return model
    if timestep >= model.schedule.num_train_timesteps:
        last = model.schedule.num_train_timesteps - 1
        raise UsageError(f"the recipe's table [one_step]: timestep {timestep} is above {last}")
    step = OneStep(timestep, bool(table.get("noised", False)))
    return replace(model, one_step=step, cfw=None)


def parse(table: Mapping[str, Any], name: str, *classes: type[Any]) -> list[Any]:
    """The table as one instance of each class; each key belongs to the classes that have it.

    Raises:
        UsageError: a key is unknown, or its value of another type.
    """
    known = {each.name: each for cls in classes for each in fields(cls)}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"the recipe's table [{name}] has the unknown key {key}")
        _require_type(name, key, value, known[key])
    return [
        cls(**{each.name: _value(name, each, table) for each in fields(cls) if each.name in table})
        for cls in classes
    ]


def _default(each: Any) -> Any:
    return each.default if each.default is not MISSING else each.default_factory()


def _require_type(table: str, key: str, value: Any, each: Any) -> None:
    default = _default(each)
    kind = type(default)
    good = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    good = good or (kind is float and type(value) is int)
    good = good or (kind is tuple and isinstance(value, list))
    good = good or (hasattr(default, "__dataclass_fields__") and isinstance(value, dict))
    if not good:
        raise UsageError(
            f"the recipe's table [{table}]: {key} is {value!r}, but must be such as {default!r}"
        )


def _value(table: str, each: Any, values: Mapping[str, Any]) -> Any:
    value, default = values[each.name], _default(each)
    if isinstance(value, dict):
        return parse(value, f"{table}.{each.name}", type(default))[0]
    return _frozen(value)


def _frozen(value: Any) -> Any:
    """Lists in lists as tuples; tables stay as they are."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
