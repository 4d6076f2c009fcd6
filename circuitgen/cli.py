"""The command line: ``circuitgen COMMAND``.

Exit status: 0 done, 1 the work failed (a cell, a check), 2 the input cannot be
used (one sentence on stderr, nothing written), 130 interrupted.
"""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from circuitgen.errors import InputError, Interrupted

__all__ = ["app", "main"]

app = typer.Typer(
    name="circuitgen",
    help="Does a circuit do the same work on other prompts? Run, check and build the paper.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)

_INTERRUPTED = (
    "Interrupted; tables and chapters that were finished are kept, and what was half done is not: "
    "the same command begins that anew."
)


@app.command()
def run(
    chapter: Annotated[str, typer.Argument(help="A chapter: its path, its name, or 01.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME VALUE", help="May be given many times."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Folder under runs/ for the result.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the executed notebook.")] = None,
) -> None:
    """Execute a chapter: in place with its own parameters, else into runs/."""
    from circuitgen.paper.display import show_run  # heavy imports only where they are needed

    show_run(chapter, _parse_parameters(parameters or []), out=out, label=label)


@app.command()
def check() -> None:
    """Say what in the book is not as it must be: exit 1 if anything is."""
    from circuitgen.paper.display import show_check

    raise typer.Exit(show_check())


@app.command()
def paper(
    execute: Annotated[
        bool, typer.Option("--execute/--no-execute", help="Execute the chapters first.")
    ] = True,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write the plain preview even where Quarto is.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Another book, with this model: name, hub name, directory.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME VALUE", help="Another book: of every chapter."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the other book.")] = None,
) -> None:
    """Execute every chapter, check the book and make its pages; or another book, see below.

    With --model, -p or --out the paper stays as it is: every chapter is executed with
    these parameters into a folder of its own, by default below runs/.
    """
    from circuitgen.paper.display import show_build, show_other_build

    values = _parse_parameters(parameters or [])
    if model is not None:
        if "model" in values:
            raise InputError("The model is given twice: --model is the same as -p model.")
        values = {"model": model, **values}
    if values or out is not None:
        raise typer.Exit(show_other_build(values, out, execute=execute, preview=preview))
    raise typer.Exit(show_build(execute=execute, preview=preview))


@app.command()
def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="An executed book: default, its folder, or a label under runs/."
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Table to write: .csv, .parquet or .md; a page stands beside it."),
    ] = None,
) -> None:
    """Put two executed books side by side, condition by condition."""
    from circuitgen.terminal_paper import show_comparison

    show_comparison(first, second, out)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and what mends it: exit 1 if no paper can be built."""
    from circuitgen.terminal_paper import show_doctor

    raise typer.Exit(show_doctor())


@app.command()
def models() -> None:
    """List the models: which are here, and how to get the rest."""
    from circuitgen.terminal import show_models

    show_models()


@app.command()
def conditions(
    name: Annotated[
        str | None, typer.Argument(help="One condition or family; all of them if left out.")
    ] = (None),
    examples: Annotated[int, typer.Option(help="Prompts to print, positions marked.")] = 0,
    model: Annotated[str, typer.Option(help="Whose tokenizer writes the examples.")] = (
        "smollm2-135m"
    ),
) -> None:
    """List the conditions: ways of writing the task."""
    from circuitgen.terminal import show_conditions

    show_conditions(name, examples, model)


@app.command()
def circuits() -> None:
    """List the stored circuits."""
    from circuitgen.terminal import show_circuits

    show_circuits()


@app.command()
def score(
    out: Annotated[Path, typer.Option(help="Table to write: .parquet or .csv.")],
    model: Annotated[str, typer.Option(help="Name, hub name or directory.")] = "smollm2-135m",
    circuit: Annotated[
        str,
        typer.Option(help="Name or file; auto: the stored one of the model, else one found now."),
    ] = "auto",
    condition: Annotated[str, typer.Option(help="See `circuitgen conditions`.")] = "base",
    n_prompts: Annotated[int, typer.Option(help="Prompts to score.")] = 256,
    ablation: Annotated[
        str,
        typer.Option(
            help="mean, zero, resample, counterfactual, counterfactual-s1 or mean-condition."
        ),
    ] = "mean",
    positions: Annotated[
        str, typer.Option(help="semantic: heads count where their role says; or all.")
    ] = "semantic",
    n_reference: Annotated[
        int, typer.Option(help="Reference prompts behind each mean; the chapters have 16.")
    ] = 16,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    split: Annotated[str, typer.Option(help="test, discovery or all.")] = "test",
) -> None:
    """Score a circuit on a condition, one row per prompt."""
    from circuitgen.terminal import show_score

    show_score(
        model, circuit, condition, n_prompts, ablation, positions, n_reference, seed, split, out
    )


@app.command()
def patch(
    out: Annotated[Path, typer.Option(help="Table to write: .parquet or .csv.")],
    model: Annotated[str, typer.Option(help="Name, hub name or directory.")] = "smollm2-135m",
    to: Annotated[
        str,
        typer.Option(
            help="heads: ablate each head by itself; or edges into receivers: L9H6.q,L9H9.v,logits"
        ),
    ] = "heads",
    at: Annotated[
        str, typer.Option(help="Positions, such as S2,END; for edges one of them, or all.")
    ] = "END",
    condition: Annotated[str, typer.Option(help="See `circuitgen conditions`.")] = "base",
    n_prompts: Annotated[int, typer.Option(help="Prompts to patch.")] = 32,
    ablation: Annotated[str, typer.Option(help="What replaces an output; as for score.")] = "mean",
    n_reference: Annotated[int, typer.Option(help="Reference prompts behind each mean.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    split: Annotated[str, typer.Option(help="test, discovery or all.")] = "test",
) -> None:
    """Patch every head, or every edge into some heads, exactly; one row per prompt and patch."""
    from circuitgen.terminal_patch import show_patching

    show_patching(model, to, at, condition, n_prompts, ablation, n_reference, seed, split, out)


@app.command()
def discover(
    model: Annotated[str, typer.Option(help="Name, hub name or directory.")] = "smollm2-135m",
    level: Annotated[str, typer.Option(help="node: heads with roles; or edge.")] = "node",
    method: Annotated[
        str | None, typer.Option(help="How edges are scored; eap-ig-inputs if left out.")
    ] = None,
    n_prompts: Annotated[int, typer.Option(help="Prompts of the discovery split.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    target: Annotated[
        float | None, typer.Option(help="Recovery that nodes must reach; 0.9 if left out.")
    ] = None,
    n_edges: Annotated[
        int | None, typer.Option(help="Edges to choose; 1 % of them if left out.")
    ] = None,
    selection: Annotated[
        str, typer.Option(help="top: the best edges; greedy: grown from the logits.")
    ] = "top",
    signed: Annotated[
        bool, typer.Option("--signed", help="Choose edges by signed score, not by size.")
    ] = False,
    median: Annotated[
        bool, typer.Option("--median", help="Median over prompts, not the mean.")
    ] = False,
    neurons: Annotated[
        bool, typer.Option("--neurons", help="Also score each component of what nodes write.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write: of nodes .json, of edges .json or .pt.")
    ] = None,
) -> None:
    """Discover a model's circuit on base prompts, of nodes or of edges."""
    if level == "node":
        from circuitgen.terminal import show_discovery

        if method is not None or n_edges or signed or median or neurons or selection != "top":
            raise InputError(
                "--method, --n-edges, --selection, --signed, --median and --neurons are for edges; "
                "add --level edge."
            )
        show_discovery(model, n_prompts, seed, 0.9 if target is None else target, out)
    elif level == "edge":
        from circuitgen.terminal_edges import show_edge_discovery

        if target is not None:
            raise InputError("--target is for nodes; choose edges by --n-edges.")
        show_edge_discovery(
            model,
            "eap-ig-inputs" if method is None else method,
            n_prompts,
            seed,
            n_edges,
            selection,
            signed=signed,
            median=median,
            neurons=neurons,
            out=out,
        )
    else:
        raise InputError(f"There is no level {level!r}; choose node or edge.")


@app.command()
def evaluate(
    files: Annotated[
        list[Path], typer.Argument(help="MIB files (.json, .pt) or circuit files (.json).")
    ],
    model: Annotated[str, typer.Option(help="Name, hub name or directory.")] = "smollm2-135m",
    condition: Annotated[str, typer.Option(help="See `circuitgen conditions`.")] = "base",
    n_prompts: Annotated[int, typer.Option(help="Prompts to evaluate on.")] = 64,
    ablation: Annotated[str, typer.Option(help="counterfactual, mean or zero.")] = "counterfactual",
    seed: Annotated[int, typer.Option(help="Of the prompts and of random rankings.")] = 0,
    split: Annotated[str, typer.Option(help="test, discovery or all.")] = "test",
    n_random: Annotated[int, typer.Option(help="Random rankings to set beside them.")] = 0,
    signed: Annotated[
        bool, typer.Option("--signed", help="Choose edges by signed score, not by size.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Table to write: .parquet or .csv.")] = None,
) -> None:
    """Evaluate circuits of files: CPR and CMD of rankings, faithfulness of choices."""
    from circuitgen.terminal_edges import show_evaluation

    show_evaluation(
        files,
        model,
        condition,
        n_prompts,
        ablation,
        seed,
        split,
        n_random,
        signed=signed,
        out=out,
    )


@app.command()
def table(
    files: Annotated[list[Path], typer.Argument(help="Tables that `circuitgen evaluate` wrote.")],
    layout: Annotated[str, typer.Option("--format", help="markdown or csv.")] = "markdown",
    out: Annotated[Path | None, typer.Option(help="File to write: .md or .csv.")] = None,
) -> None:
    """Gather evaluated circuits into one table."""
    from circuitgen.terminal_edges import show_table

    show_table(files, layout, out)


@app.command()
def draw(
    file: Annotated[Path, typer.Argument(help="MIB file (.json, .pt).")],
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    n_edges: Annotated[int, typer.Option(help="Most edges to draw, strongest first.")] = 60,
) -> None:
    """Draw the strongest edges of a circuit file."""
    from circuitgen.terminal_circuits import show_drawing

    show_drawing(file, n_edges, out)


@app.command()
def overlap(
    files: Annotated[
        list[Path], typer.Argument(help="MIB files (.json, .pt) or circuit files (.json).")
    ],
    out: Annotated[Path | None, typer.Option(help="Table to write: .parquet or .csv.")] = None,
) -> None:
    """Say how far circuits of files are made of the same heads and edges."""
    from circuitgen.terminal_circuits import show_overlap

    show_overlap(files, out)


@app.command()
def predict(
    prompts: Annotated[Path, typer.Argument(help="CSV file with the columns prompt, io and s.")],
    model: Annotated[str, typer.Option(help="A model that the paper has measured.")] = (
        "smollm2-135m"
    ),
    out: Annotated[Path | None, typer.Option(help="Table to write: .csv or .parquet.")] = None,
) -> None:
    """Say for new prompts how probably the base circuit still does the work."""
    from circuitgen.terminal_predict import show_prediction

    show_prediction(prompts, model, out)


@app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(help="Grid file (YAML), as data/sweeps/example.yaml.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is to do and what it would cost.")
    ] = False,
    scheduler: Annotated[
        str, typer.Option(help="serial: this process; dask: local workers; slurm: jobs.")
    ] = "serial",
    workers: Annotated[
        int | None, typer.Option(help="Of dask, one a core if left out; jobs of slurm, 1.")
    ] = None,
    retries: Annotated[int, typer.Option(help="How often failed tasks are tried again.")] = 1,
    store: Annotated[
        Path | None, typer.Option(help="Folder for tables; runs/results if left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Table of all tasks to write: .parquet or .csv.")
    ] = None,
) -> None:
    """Score a grid of models × circuits × conditions × ablations × seeds; killed, it goes on."""
    from circuitgen.terminal_sweep import show_sweep

    raise typer.Exit(show_sweep(grid, dry_run, scheduler, workers, retries, store, out))


@app.command()
def finetune(
    texts: Annotated[str, typer.Option(help="A text set, or a file .txt with a text a line.")],
    model: Annotated[str, typer.Option(help="Where training starts.")] = "smollm2-135m",
    steps: Annotated[str, typer.Option(help="After how many steps to keep weights.")] = "15,40",
    batch_size: Annotated[int, typer.Option(help="Texts a step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, constant.")] = 5e-5,
    seed: Annotated[int, typer.Option(help="Of the texts and their order.")] = 0,
) -> None:
    """Fine-tune a model on texts, and keep checkpoints in the cache."""
    from circuitgen.terminal_series import show_fine_tuning
    from circuitgen.training.finetune import Recipe

    recipe = Recipe(model, texts, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    show_fine_tuning(recipe, steps)


@app.command()
def series(
    names: Annotated[
        list[str], typer.Argument(help="Checkpoints in order: directories, or names of models.")
    ],
    circuit: Annotated[
        str, typer.Option(help="Name or file; auto: the one of the first checkpoint.")
    ] = "auto",
    condition: Annotated[str, typer.Option(help="One or more, separated by commas.")] = "base",
    n_prompts: Annotated[int, typer.Option(help="Prompts of each condition.")] = 64,
    n_reference: Annotated[int, typer.Option(help="Reference prompts behind each mean.")] = 16,
    n_discovery: Annotated[
        int, typer.Option(help="Prompts to find a circuit on anew in each; 0: do not.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Table to write: .parquet or .csv.")] = None,
) -> None:
    """Score one circuit in a series of checkpoints, and say what has changed since the first."""
    from circuitgen.terminal_series import show_series

    show_series(names, circuit, condition, n_prompts, n_reference, n_discovery, seed, out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; nothing escapes as a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(_join_pairs(given), prog_name="circuitgen")
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        if status == 130:
            _say(_INTERRUPTED)
        return status
    except KeyboardInterrupt:
        _say(_INTERRUPTED)
        return 130
    except Interrupted as broken_off:
        _say(str(broken_off))
        return 130
    except InputError as error:
        _say(" ".join(str(error).split()))
        return 2
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _say(f"{error.filename or 'A file'} cannot be written: {error.strerror}.")
        return 2
    return 0


def _join_pairs(arguments: Sequence[str]) -> list[str]:
    """Turn ``-p NAME VALUE`` into ``-p NAME=VALUE``: typer has no repeatable pairs."""
    joined: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        joined.append(word)
        position += 1
        if word in ("-p", "--parameter") and position < len(arguments):
            pair = arguments[position]
            position += 1
            if "=" not in pair and position < len(arguments):
                pair = f"{pair}={arguments[position]}"
                position += 1
            joined.append(pair)
    return joined


def _parse_parameters(pairs: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"-p takes a NAME and a VALUE; {pair} has no value.")
        if name in values:
            raise InputError(f"The parameter {name} is given twice.")
        values[name] = value
    return values


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
