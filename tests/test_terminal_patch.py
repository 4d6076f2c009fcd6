"""Exact patching at the terminal, on the model whose circuit is known."""

from pathlib import Path

import pandas as pd
import pytest

from circuitgen.circuits import Head
from circuitgen.cli import main
from circuitgen.errors import InputError
from circuitgen.scoring import LOGITS, Receiver
from circuitgen.terminal_patch import parse_receiver

FEW = ["--model", "constructed-ioi", "--n-prompts", "8", "--n-reference", "8"]


def test_heads_that_matter_are_told_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "effects.parquet"
    assert main(["patch", *FEW, "--at", "S2,END", "--out", str(out)]) == 0
    table = pd.read_parquet(out)
    assert len(table) == 8 * 12 * 2
    assert set(table["position"]) == {"S2", "END"}
    mean = table.groupby(["head", "position"])["effect"].mean()
    assert mean["L2H1", "END"] > 1
    assert "L2H1 at END: " in capsys.readouterr().out
    assert not list(tmp_path.glob("*.partial"))


def test_edges_into_receivers_are_one_row_each(tmp_path: Path) -> None:
    out = tmp_path / "paths.csv"
    asked = [*FEW, "--to", "L2H1.q,logits", "--out", str(out)]
    assert main(["patch", *asked]) == 0
    table = pd.read_csv(out)
    # Only the heads of the two layers before it reach L2H1's query; all reach the logits.
    assert table.groupby("receiver").size().to_dict() == {"L2H1<q>": 8 * 6, "logits": 8 * 12}
    mean = table.groupby(["head", "receiver"])["effect"].mean()
    assert mean["L1H2", "L2H1<q>"] > 1


@pytest.mark.parametrize(
    ("text", "receiver"),
    [
        ("logits", LOGITS),
        ("L9H6.q", Receiver(Head(9, 6), "q")),
        ("L9H6<k>", Receiver(Head(9, 6), "k")),
        ("9.6.v", Receiver(Head(9, 6), "v")),
    ],
)
def test_receivers_are_read_as_people_write_them(text: str, receiver: Receiver) -> None:
    assert parse_receiver(text) == receiver


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--to", "L2H1"], "'L2H1' is no receiver; write logits, or a head with its input"),
        (["--to", "L2H1.o"], "Receiver L2H1 has no part 'o'; choose one of q, k, v."),
        (["--to", "L2H1.q", "--at", "S2,END"], "An edge is patched at one position or at all"),
        (["--at", "S9"], "S9"),
        (["--out", "missing/effects.csv"], "missing is no directory; make it first"),
        (["--ablation", "median"], "There is no ablation 'median'"),
    ],
)
def test_what_cannot_be_patched_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture, asked: list[str], told: str
) -> None:
    out = tmp_path / "effects.parquet"
    assert main(["patch", *FEW, "--out", str(out), *asked]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert len(said.strip().splitlines()) == 1
    assert not out.exists()


def test_receiver_of_no_form_is_named() -> None:
    with pytest.raises(InputError, match="'q' is no receiver"):
        parse_receiver("q")
