"""The names of `keras.ops` that cells and models written for Keras 3 use, as thin names for torch functions."""
