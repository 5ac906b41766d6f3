"""The sections of a grid file: their keys, types and bounds, and the words for what is wrong.

Pydantic finds the faults; here they become sentences that name the place, the bad value, what is
allowed and the nearest allowed word.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from scanner.registry import Entry
from scanner.trial import PUBLISHED_TEST, Split, Training
from scanner.yaml_text import Source, Value, Where, report

T = TypeVar("T")
SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _not_bool(value: Value) -> Value:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "a number")
    return value


def _plain_zero(value: float) -> float:
    return value + 0.0  # -0.0 would give another id than 0.0


def _whole_above_one(value: float) -> float:
    if value > 1 and value != int(value):
        raise PydanticCustomError("gpus", "a fraction up to 1 or a whole number")
    return value


def _test(value: Value) -> Value:
    if value == "published":
        return PUBLISHED_TEST
    if isinstance(value, int | float) and value == PUBLISHED_TEST:
        return -1.0
    return value


def _fraction_or_count(value: float) -> float:
    if value != PUBLISHED_TEST and not 0 < value < 1 and (value < 2 or value != int(value)):
        allowed = "a fraction between 0 and 1, a number of events from 2, or the word published"
        raise PydanticCustomError("test", allowed)
    return value


def _pack(value: Value) -> Value:
    if value == "auto" or (type(value) is int and value > 0):
        return value
    raise PydanticCustomError("pack", "'auto' or a whole number from 1")


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise PydanticCustomError("bounds", "two numbers [low, high], low below high")
    return value


Flag = Annotated[bool, Strict()]
Real = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False),
                 AfterValidator(_plain_zero)]
Whole = Annotated[int, BeforeValidator(_not_bool)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
Beta = Annotated[Real, Field(ge=0, le=1)]
SafeName = Annotated[str, Field(pattern=SAFE_NAME)]
SPOKEN_FLAGS = {"yes": "true", "on": "true", "true": "true",
                "no": "false", "off": "false", "false": "false"}
SETTING_TYPES: dict[type, Any] = {bool: Flag, int: Whole, float: Real, str: str}


class Section(BaseModel):
    """A mapping of the grid file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingSection(Section):
    """The keys of `scanner.trial.Training` with their bounds."""

    optimizer: Literal["adam"] = "adam"
    learning_rate: Positive = Training.learning_rate
    batch_size: Count = Training.batch_size
    max_epochs: Count = Training.max_epochs
    patience: Count = Training.patience
    hlf_weight: NotNegative = Training.hlf_weight
    chamfer: Literal["l2", "l1", "l2sq"] = "l2"
    masked: Flag = Training.masked
    loss: Literal["paper", "modified_elbo"] = "paper"
    precision: Literal["fp32", "tf32"] = "fp32"


class SplitSection(Section):
    """The keys of `scanner.trial.Split` with their bounds."""

    test: Annotated[Real, BeforeValidator(_test), AfterValidator(_fraction_or_count)] = Split.test
    validation: Annotated[Real, Field(gt=0, lt=1)] = Split.validation
    seed: Seed = Split.seed


class Resources(Section):
    """What one trial takes of a machine.

    Attributes:
        cpus_per_trial: CPU cores.
        gpus_per_trial: GPUs: 0, a share of one, or a whole number.
        pack: Most trials that one process trains together; `auto` leaves it to the launcher.
        checkpoint_s: Seconds between the checkpoints of a training.
    """

    cpus_per_trial: Count = 1
    gpus_per_trial: Annotated[Real, Field(ge=0), AfterValidator(_whole_above_one)] = 0.0
    pack: Annotated[int | Literal["auto"], PlainValidator(_pack)] = "auto"
    checkpoint_s: Positive = 180.0

    @property
    def device(self) -> str:
        """Where trials train: `cuda` if they take a share of a GPU, else `cpu`."""
        return "cuda" if self.gpus_per_trial > 0 else "cpu"


class LogRange(Section):
    """An interval that is searched evenly in the logarithm."""

    log: Annotated[tuple[Positive, Positive], AfterValidator(_rising)]


class Space(Section):
    """Settings that a search varies, each with its interval."""

    learning_rate: LogRange | None = None
    hlf_weight: LogRange | None = None


def _not_empty(space: Space) -> Space:
    if not space.model_fields_set:
        raise PydanticCustomError("space", "at least one of learning_rate, hlf_weight")
    return space


class Search(Section):
    """An Optuna search inside every point of the grid.

    Attributes:
        sampler: `tpe` or `random`.
        trials: Trainings per point, the grid's own settings among them.
        batch: Suggestions made at a time: fewer learn more from each other, more train faster.
        objective: What is minimised; never a score, because no signal may be looked at.
        space: The settings that are searched.
    """

    sampler: Literal["tpe", "random"] = "tpe"
    trials: Count
    batch: Count = 4
    objective: Literal["validation_loss"] = "validation_loss"
    space: Annotated[Space, AfterValidator(_not_empty)]


def check_search(source: Source, raw: Value, hlf: Iterable[bool]) -> Search | None:
    """The search of a grid whose axis `hlf` has these values, or None where there is none."""
    where = ("search", "space", "hlf_weight")
    search: Search | None = None if raw is None else check(source, where[:1], Search, raw)
    if search and search.space.learning_rate is None and True not in (hlf := tuple(hlf)) and hlf:
        report(source, where, "search.space: hlf_weight has no effect, because the grid's hlf is "
               "never true; search learning_rate, or give hlf: [true]")
    return search


def settings_of(entry: Entry) -> type[BaseModel]:
    """A section with one key per setting of a registered name."""
    fields: dict[str, Any] = {}
    for key, default in entry.settings.items():
        words = default if isinstance(default, tuple) else None
        kind = Literal[words] if words else SETTING_TYPES[type(default)]
        fields[key] = (kind, words[0] if words else default)
    return create_model("Settings", __base__=Section, **fields)


def nearest(word: object, allowed: Iterable[str]) -> str:
    """The end of a sentence about a wrong word: what was meant, perhaps, and what is allowed."""
    words = [str(item) for item in allowed]
    lower = {item.lower(): item for item in words}
    close = get_close_matches(str(word or "").lower(), list(lower), n=1, cutoff=0.6)
    meant = f"; did you mean {lower[close[0]]!r}?" if close else ""
    return f"{meant} ({', '.join(words) or 'there is none'})"


def check(source: Source, where: Where, kind: Any, value: Value) -> Any:  # noqa: ANN401
    """The value as `kind` (a type or a section), or None after reporting every fault in it."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        for fault in error.errors():
            path, unknown = (*where, *fault["loc"]), fault["type"] == "extra_forbidden"
            text = _explain(path, fault, _fields(kind, fault["loc"]) if unknown else [])
            report(source, path, text, key=unknown or fault["type"] == "missing")
    return None


def check_keys(source: Source, where: Where, value: dict[str, Value], *,
               allowed: Iterable[str], required: Iterable[str] = ()) -> None:
    """Report the unknown and the missing keys of a mapping."""
    for key in value:
        if key not in allowed:
            text = f"{title((*where, key))}: unknown key{nearest(key, allowed)}"
            report(source, (*where, key), text, key=True)
    for key in required:
        if key not in value:
            report(source, (*where, key), f"{title((*where, key))}: this key is missing", key=True)


def shown(value: object) -> str:
    """A value of a grid file as a message names it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def title(where: Where) -> str:
    """The keys that lead to a place, joined by dots; `grid` is left out."""
    words = [part for part in where if isinstance(part, str)]
    return ".".join(words[1:] if words[0] == "grid" and len(words) > 1 else words)


def _fields(kind: Any, loc: Where) -> list[str]:  # noqa: ANN401
    for part in loc[:-1]:
        annotation = kind.model_fields[part].annotation
        kind = next(k for k in (*get_args(annotation), annotation) if hasattr(k, "model_fields"))
    return list(getattr(kind, "model_fields", ()))


def _explain(path: Where, fault: ErrorDetails, fields: list[str]) -> str:
    kind, value, place = fault["type"], fault["input"], title(path)
    if kind == "extra_forbidden":
        return f"{place}: unknown key{nearest(path[-1], fields)}"
    if kind == "missing" and isinstance(path[-1], str):
        return f"{place}: this key is missing"
    if kind == "literal_error":
        return f"{place}: {shown(value)} is not allowed{nearest(value, _literals(fault))}"
    return f"{place}: must be {_must(fault)}, not {shown(value)}{_hint(kind, value)}"


def _literals(fault: ErrorDetails) -> list[str]:
    return [word.strip("'") for word in fault["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def _must(fault: ErrorDetails) -> str:
    kind, bound = fault["type"], fault.get("ctx", {})
    if kind.startswith("int_"):
        return "a whole number"
    if kind.startswith("float_"):
        return "a number"
    return {
        "bool_type": "true or false",
        "string_type": "text",
        "string_pattern_mismatch": "a name of letters, digits, '.', '_' and '-' (100 at most)",
        "finite_number": "a finite number",
        "model_type": "a mapping (key: value)",
        "tuple_type": "two numbers [low, high]",
        "missing": "two numbers [low, high]",
        "too_long": "two numbers [low, high]",
        "greater_than": f"above {bound.get('gt')}",
        "greater_than_equal": f"at least {bound.get('ge')}",
        "less_than": f"below {bound.get('lt')}",
        "less_than_equal": f"at most {bound.get('le')}",
    }.get(kind, fault["msg"])


def _hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"; write it in quotes: \"{shown(value)}\""
    meant = SPOKEN_FLAGS.get(str(value).lower()) if isinstance(value, str) else None
    return f"; write plain {meant}" if kind == "bool_type" and meant else ""
