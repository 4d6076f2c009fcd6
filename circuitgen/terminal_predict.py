"""What a person at the terminal sees of `circuitgen predict`."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from circuitgen.analysis.tables import number
from circuitgen.errors import InputError
from circuitgen.predictors.predict import predict_prompts
from circuitgen.results import write_table

__all__ = ["show_prediction"]


def show_prediction(prompts: Path, model: str, out: Path | None) -> None:
    """Print, for each prompt, the probability that the base circuit still does the work.

    Args:
        prompts: CSV file with the columns prompt, io and s.
        model: One that the paper has measured.
        out: Table to write besides, .csv or .parquet.

    Raises:
        InputError: If the file or the model cannot be used, or every prompt is outside
            the range that was fitted on.
    """
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{out.name} ends in neither .parquet nor .csv; choose one of these.")
    found = predict_prompts(prompts, model)
    judged, refused = (
        found.table[found.table["refused"] == ""],
        found.table[found.table["refused"] != ""],
    )
    if judged.empty:
        raise InputError(
            f"None of the {len(refused)} prompts is like those that were fitted on; the first: "
            f"{refused['refused'].iloc[0]}."
        )
    table = Table("prompt", "IO", "works", "of such, held out", show_edge=False)
    for _, row in found.table.iterrows():
        if row["refused"]:
            table.add_row(escape(row["prompt"]), escape(row["io"]), "–", escape(row["refused"]))
            continue
        share = f"{number(row['held_out_share'])} [{number(row['held_out_share_low'])}, "
        share += f"{number(row['held_out_share_high'])}]"
        table.add_row(escape(row["prompt"]), escape(row["io"]), number(row["works"]), escape(share))
    Console().print(table)
    distance = (found.curve["stated"] - found.curve["share"]).abs()
    error = float((distance * found.curve["n"]).sum() / found.curve["n"].sum())
    print(
        f"works: probability that in {model} the circuit's activation is within 0.8 to 1.2. On "
        f"whole conditions that a fit had not seen, stated and observed shares differ by "
        f"{number(error)} on average; the last column is what was observed there, with its "
        f"95 % interval, on prompts with about the same probability."
    )
    if out is not None:
        write_table(found.table, out)
        print(f"Wrote {out}.")
