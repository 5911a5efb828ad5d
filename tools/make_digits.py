"""Make src/ostinato/datasets/data/digits.npz from the copy of the digits that scikit-learn carries.

Run in the root of the repository, where scikit-learn is installed: python tools/make_digits.py
"""

import gzip
import hashlib
import importlib.resources
from pathlib import Path

import numpy as np

from ostinato.files.atomic import atomic_writer

TARGET = Path(__file__).parents[1] / "src" / "ostinato" / "datasets" / "data" / "digits.npz"
CSV_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


def main() -> None:
    packed = importlib.resources.files("sklearn.datasets").joinpath("data/digits.csv.gz").read_bytes()
    csv = gzip.decompress(packed)
    digest = hashlib.sha256(csv).hexdigest()
    if digest != CSV_SHA256:
        raise ValueError(f"make_digits: digits.csv has SHA-256 {digest}; expected {CSV_SHA256}.")
    table = np.loadtxt(csv.decode("ascii").splitlines(), delimiter=",").astype(np.uint8)
    with atomic_writer(TARGET) as file:
        np.savez_compressed(file, images=table[:, :64].reshape(-1, 8, 8), labels=table[:, 64])
    print(f"{TARGET}: {len(table)} samples, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
