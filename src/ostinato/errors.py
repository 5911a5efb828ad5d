"""The package's own exceptions, all of them, and the hint with which messages end."""

import difflib
from collections.abc import Iterable


class DownloadError(OSError):
    """A download did not give the expected file, and nothing of it was kept.

    Source:
        `ostinato.files.fetch.fetch`.

    Example:
        >>> issubclass(DownloadError, OSError)
        True
    """


class NotStatefulError(AttributeError, ValueError):
    """States were to be reset or set of a layer that records none; an AttributeError, as in Keras 2.

    >>> issubclass(NotStatefulError, AttributeError)
    True
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: ` Did you mean 'lstm'?`, or nothing.

    >>> nearest("sigmoyd", ["tanh", "sigmoid"])
    " Did you mean 'sigmoid'?"
    """
    by_folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(str(name).lower(), list(by_folded), n=1)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""
