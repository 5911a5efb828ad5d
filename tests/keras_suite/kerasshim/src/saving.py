from kerasshim.library import find, forward


def load_model(*args, **kwargs):
    """Looked for when it is called: the test file that imports it has other tests too."""
    return find("saving", "load_model")(*args, **kwargs)


__getattr__ = forward("saving")
