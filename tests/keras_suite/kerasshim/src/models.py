from kerasshim.library import find, forward

Functional = find("models", "Model")  # Model(inputs, outputs) is the public way to make one
__getattr__ = forward("models")
