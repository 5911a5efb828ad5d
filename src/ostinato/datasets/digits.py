"""The 1,797 handwritten digits embedded in the package."""

import importlib.resources
import io

import numpy as np
import numpy.typing as npt

__all__ = ["load_data"]

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_data() -> tuple[Split, Split]:
    """Load 1,797 real handwritten digits embedded in the package, as `(x_train, y_train), (x_test, y_test)`.

    The split is fixed and draws nothing at random: the samples are ordered by label, within a label as in the
    file, and every fifth one, beginning with the first, is a test sample. So each class gives a fifth of its
    samples, one more or less. The samples of both parts stand in the order of the file.

    The file does not say who wrote what, and its 13 writers are in both parts, as in any split at random: an
    accuracy says how well a model reads these writers' other digits, not those of new writers.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, uint8: images (1437, 8, 8) and (360, 8, 8) with pixels 0 to
        16, labels (1437,) and (360,), 0 to 9. Divide the images by 16.0 to train on them.

    Source:
        E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
        1998, DOI 10.24432/C50P49; CC BY 4.0. It is the set's test part, in the copy that scikit-learn
        carries; `data/digits.txt` says what was changed.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()
        >>> x_train.shape, x_test.shape, x_train.dtype.name
        ((1437, 8, 8), (360, 8, 8), 'uint8')
        >>> y_train[:10].tolist()
        [1, 3, 5, 6, 7, 8, 9, 0, 1, 2]
    """
    content = importlib.resources.files("ostinato.datasets").joinpath("data/digits.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.argsort(labels, kind="stable")[::5]] = True
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])
