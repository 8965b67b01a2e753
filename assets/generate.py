"""Write the bundled sample, or one of its corpora at any size; python assets/generate.py --help."""

from __future__ import annotations

import argparse
from pathlib import Path

from generator.corpora import ALL, write_large, write_sample

# The seed of the committed files.
SEED = 2020


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the synthetic sample corpora below OUTPUT/sample, or one corpus, larger, to OUTPUT.",
        epilog="Example: python assets/generate.py --corpus diabetes --notes 80 --characters 9000 --output large",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"{SEED}, the default, gives the committed files")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--corpus", choices=sorted(ALL), help="write this one alone, as BRAT, to OUTPUT")
    parser.add_argument("--notes", type=int, default=100, help="of --corpus; a tenth each goes to dev/ and test/")
    parser.add_argument("--characters", type=int, default=0, help="least length of a note of --corpus")
    arguments = parser.parse_args()
    if arguments.corpus is None:
        count = write_sample(arguments.output, arguments.seed)
        print(f"{count} notes written to {arguments.output / 'sample'}")
        return
    if arguments.notes < 6:
        parser.error("--notes must be at least 6: dev/ and test/ get 2 each")
    corpus = ALL[arguments.corpus]
    count = write_large(arguments.output, corpus, arguments.notes, arguments.characters, arguments.seed)
    print(f"{count} notes written to {arguments.output}")


if __name__ == "__main__":
    main()
