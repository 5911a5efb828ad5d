"""The package's own exceptions, all of them."""


class DownloadError(OSError):
    """A download did not give the expected file, and nothing of it was kept.

    Source:
        `ostinato.files.fetch.fetch`.

    Example:
        >>> issubclass(DownloadError, OSError)
        True
    """
