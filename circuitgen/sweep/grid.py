"""The grid file of a sweep, in YAML: what is crossed with what.

    models: [smollm2-135m, gemma-3-270m]   # names, hub names or directories
    conditions: [base, adversarial]        # conditions, families, or all
    circuits: [auto]                       # auto: the one that belongs to the model
    ablations: [mean]
    seeds: [0]
    n_prompts: 256                         # prompts of each condition
    n_reference: 16                        # reference prompts behind each mean
    split: test
    positions: semantic
    slurm: {cores: 8, memory: 16GB}        # for --scheduler slurm only

`models` and `conditions` are required; the others have the values shown. A
grid is read whole: every problem is named at once, before anything runs.
"""

import difflib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from circuitgen.analysis.tables import count
from circuitgen.circuits import Circuit, list_circuits, load_circuit
from circuitgen.circuits.circuit import check_fits
from circuitgen.errors import InputError
from circuitgen.models import ModelDeclaration, declare_model
from circuitgen.models.registry import NAMES, local_directory
from circuitgen.prompts import list_conditions, load_condition
from circuitgen.prompts.build import check_size
from circuitgen.prompts.conditions import FAMILIES
from circuitgen.scoring.ablation import ABLATIONS, check_ablation
from circuitgen.scoring.intervene import check_positions_choice
from circuitgen.scoring.memory import parse_size
from circuitgen.sweep.tasks import AUTO, Task

__all__ = ["SLURM_OPTIONS", "Grid", "read_grid"]

ALL = "all"

SLURM_OPTIONS: Mapping[str, type] = {
    "account": str,
    "cores": int,
    "interface": str,
    "job_extra_directives": list,
    "job_script_prologue": list,
    "local_directory": str,
    "log_directory": str,
    "memory": str,
    "processes": int,
    "python": str,
    "queue": str,
    "walltime": str,
}
"""What the `slurm` section may hold: options of `dask_jobqueue.SLURMCluster`."""

_AXES = ("models", "conditions", "circuits", "ablations", "seeds")
_NUMBERS = ("n_prompts", "n_reference")
_WORDS = ("split", "positions")
_KEYS = (*_AXES, *_NUMBERS, *_WORDS, "slurm")
_REQUIRED = ("models", "conditions")
_NAMES = {int: "a whole number", str: "text", list: "a list"}


@dataclass(frozen=True)
class Grid:
    """A grid that was read and found without a fault.

    Attributes:
        models: Directories as whole paths, so that any process finds them; so are
            circuit files in `circuits`.
        conditions: Names of conditions; families are written out.
        slurm: Options of a SLURM job, by the names of `SLURM_OPTIONS`.
    """

    models: tuple[str, ...]
    conditions: tuple[str, ...]
    circuits: tuple[str, ...] = (AUTO,)
    ablations: tuple[str, ...] = ("mean",)
    seeds: tuple[int, ...] = (0,)
    n_prompts: int = 256
    n_reference: int = 16
    split: str = "test"
    positions: str = "semantic"
    slurm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Every combination, all of one model before the next: a worker loads each once."""
        rest = self.n_prompts, self.n_reference, self.split, self.positions
        axes = self.models, self.seeds, self.circuits, self.ablations, self.conditions
        return tuple(
            Task(model, circuit, condition, ablation, seed, *rest)
            for model, seed, circuit, ablation, condition in itertools.product(*axes)
        )

    def __str__(self) -> str:
        sizes = (count(len(getattr(self, axis)), axis.removesuffix("s")) for axis in _AXES)
        return f"{' × '.join(sizes)}, {count(self.n_prompts, 'prompt')} each"


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        InputError: Naming every problem of the file at once.
    """
    raw = _parse(path)
    problems: list[str] = []
    unknown = [str(key) for key in raw if key not in _KEYS]
    if unknown:
        problems.append(f"unknown key {', '.join(unknown)} (known are {', '.join(_KEYS)})")
    problems += [f"the key {key} is missing" for key in _REQUIRED if key not in raw]
    sound: dict[str, Any] = {}
    for key in (key for key in _KEYS if key in raw):
        wrong = _check_form(key, raw[key])
        problems += wrong
        if not wrong:
            sound[key] = raw[key]
        elif key in _AXES and isinstance(raw[key], list):
            sound[key] = [one for one in raw[key] if type(one) is _entry_type(key)]
    problems += _check_content(sound)
    if problems:
        listed = "; ".join(f"({number}) {one}" for number, one in enumerate(problems, start=1))
        raise InputError(
            f"{path} has {count(len(problems), 'problem')}, and nothing was run: "
            f"{listed.replace('.;', ';').removesuffix('.')}."
        )
    return _to_grid(raw)


def _parse(path: Path) -> dict[Any, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no grid file {path}; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The grid file {path} cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(raw, dict):
        raise InputError(
            f"{path} must be a mapping with the keys {', '.join(_REQUIRED)}, and others if wanted."
        )
    return raw


def _check_form(key: str, value: Any) -> list[str]:
    """Problems of a value's type, before anything is looked up."""
    if key in _AXES:
        kind = _entry_type(key)
        if not isinstance(value, list) or not value:
            return [f"{key} must be a list of at least one entry, not {value!r}"]
        wrong = [one for one in value if type(one) is not kind]
        twice = sorted(
            {one for one in value if type(one) is kind and value.count(one) > 1}, key=str
        )
        return [f"{key} holds {one!r}, which is not {_NAMES[kind]}" for one in wrong] + [
            f"{key} holds {one!r} twice" for one in twice
        ]
    if key == "slurm":
        return _check_slurm(value)
    kind = int if key in _NUMBERS else str
    return [] if type(value) is kind else [f"{key} must be {_NAMES[kind]}, not {value!r}"]


def _entry_type(axis: str) -> type:
    return int if axis == "seeds" else str


def _check_slurm(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f"slurm must be a mapping of options, not {value!r}"]
    problems = [
        f"slurm has the unknown option {key} (known are {', '.join(SLURM_OPTIONS)})"
        for key in value
        if key not in SLURM_OPTIONS
    ]
    for key, kind in SLURM_OPTIONS.items():
        if key in value and type(value[key]) is not kind:
            problems.append(f"slurm's {key} must be {_NAMES[kind]}, not {value[key]!r}")
    problems += [f"slurm lacks {key}" for key in ("cores", "memory") if key not in value]
    if not problems:
        problems += _try(parse_size, value["memory"])[1]
        if not 1 <= value.get("processes", 1) <= value["cores"]:
            problems.append("slurm must have at least one process a job, and a core for each")
    return problems


def _check_content(sound: Mapping[str, Any]) -> list[str]:
    """Look up everything that the file names, of what has the right form."""
    required: dict[str, Any] = dict.fromkeys(_REQUIRED, ())
    grid = Grid(**required | {key: _as_field(value) for key, value in sound.items()})
    problems: list[str] = []
    declared: dict[str, ModelDeclaration] = {}
    for model in grid.models:
        found, wrong = _try(declare_model, model)
        problems += wrong
        declared |= {} if found is None else {model: found}
    for name in grid.conditions:
        if name != ALL and name not in FAMILIES:
            problems += _try(load_condition, name)[1]
    for name in grid.circuits:
        if name != AUTO:
            circuit, wrong = _try(load_circuit, name)
            problems += wrong
            problems += [] if circuit is None else _check_heads(circuit, declared)
    for ablation in grid.ablations:
        problems += _try(check_ablation, ablation, grid.n_reference)[1]
        if ablation not in ABLATIONS:  # what may be meant says how many prompts it needs
            meant = difflib.get_close_matches(ablation, ABLATIONS, n=1) or ["mean"]
            problems += _try(check_ablation, meant[0], grid.n_reference)[1]
    problems += [f"seed {seed} is below 0" for seed in grid.seeds if seed < 0]
    problems += _try(check_size, grid.n_prompts, grid.split)[1]
    problems += _try(check_positions_choice, grid.positions)[1]
    return list(dict.fromkeys(problems))


def _check_heads(circuit: Circuit, declared: Mapping[str, ModelDeclaration]) -> list[str]:
    return [
        f"with the model {name}: {problem}"
        for name, model in declared.items()
        for problem in _try(check_fits, circuit, model.n_layers, model.n_heads)[1]
    ]


def _try(work: Callable[..., Any], *arguments: Any) -> tuple[Any, list[str]]:
    try:
        return work(*arguments), []
    except InputError as error:
        return None, [str(error)]


def _to_grid(raw: Mapping[str, Any]) -> Grid:
    fields = {key: _as_field(value) for key, value in raw.items()}
    fields["models"] = tuple(map(_whole_model, raw["models"]))
    fields["circuits"] = tuple(map(_whole_circuit, raw.get("circuits", [AUTO])))
    fields["conditions"] = tuple(
        dict.fromkeys(name for asked in raw["conditions"] for name in _write_out(asked))
    )
    return Grid(**fields)


def _as_field(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _write_out(name: str) -> list[str]:
    if name == ALL or name in FAMILIES:
        return [one.name for one in list_conditions(None if name == ALL else name)]
    return [name]


def _whole_model(model: str) -> str:
    directory = None if model in NAMES else local_directory(model)
    return model if directory is None else str(directory.resolve())


def _whole_circuit(circuit: str) -> str:
    return circuit if circuit in (AUTO, *list_circuits()) else str(Path(circuit).resolve())
