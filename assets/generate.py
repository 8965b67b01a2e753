"""Write the bundled sample: python assets/generate.py --seed 2020 --output assets"""

from __future__ import annotations

import argparse
from pathlib import Path

from generator.corpora import write_sample

# The seed of the committed files.
SEED = 2020


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the synthetic sample corpora below OUTPUT/sample.")
    parser.add_argument("--seed", type=int, default=SEED, help=f"{SEED}, the default, gives the committed files")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    count = write_sample(arguments.output, arguments.seed)
    print(f"{count} notes written to {arguments.output / 'sample'}")


if __name__ == "__main__":
    main()
