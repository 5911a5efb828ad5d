from kerasshim.library import find


def KerasTensor(shape, dtype="float32"):
    return find("layers", "Input")(shape=shape[1:], batch_size=shape[0], dtype=dtype)
