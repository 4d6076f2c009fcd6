"""Write the files of data/models: `python -m circuitgen.models tokenizer`, or a tiny model."""

import argparse
from pathlib import Path

from circuitgen.models.words import WORD_TOKENIZER_DIR, write_word_tokenizer


def main() -> None:
    """Write the word tokenizer, or train a tiny model, into data/models or another folder."""
    parser = argparse.ArgumentParser(prog="python -m circuitgen.models", description=main.__doc__)
    parser.add_argument("what", choices=["tokenizer", "tiny-ioi", "tiny-trigger"])
    parser.add_argument("--out", type=Path, help="folder to write into (default: data/models/…)")
    parser.add_argument("--seed", type=int, default=0, help="seed of a tiny model (default: 0)")
    arguments = parser.parse_args()
    if arguments.what == "tokenizer":
        size = write_word_tokenizer(arguments.out or WORD_TOKENIZER_DIR)
        print(f"wrote a tokenizer of {size} words")
    elif arguments.what == "tiny-trigger":
        from circuitgen.training.trigger import TRIGGER_DIR, train_tiny_trigger

        record = train_tiny_trigger(arguments.out or TRIGGER_DIR, seed=arguments.seed)
        print(f"trained tiny-trigger: {record['answers']}")
    else:
        from circuitgen.models.tiny import TINY_DIR, train_tiny_ioi

        report = train_tiny_ioi(arguments.out or TINY_DIR, seed=arguments.seed)
        print(f"trained tiny-ioi: accuracy {report['accuracy']:.4f}, loss {report['loss']:.4f}")


if __name__ == "__main__":
    main()
