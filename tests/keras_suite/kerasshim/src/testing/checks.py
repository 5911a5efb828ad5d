"""`keras.src.testing.TestCase` for any Keras-like library on torch: assertions, and a `run_layer_test` of our own."""

import copy
import json
import shutil
import tempfile

import numpy as np
import torch
from absl.testing import parameterized

from kerasshim.library import find
from kerasshim.src.backend import convert_to_numpy, standardize_dtype


class TestCase(parameterized.TestCase):
    maxDiff = None

    def setUp(self):
        super().setUp()
        np.random.seed(0)
        torch.manual_seed(0)

    def get_temp_dir(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return folder

    def assertAllClose(self, actual, desired, atol=1e-6, rtol=1e-6, tpu_atol=None, tpu_rtol=None, msg=None):
        np.testing.assert_allclose(
            convert_to_numpy(actual), convert_to_numpy(desired), atol=atol, rtol=rtol, err_msg=msg or ""
        )

    def assertNotAllClose(self, x1, x2, atol=1e-6, rtol=1e-6, msg=None):
        if np.allclose(convert_to_numpy(x1), convert_to_numpy(x2), atol=atol, rtol=rtol):
            self.fail(msg or f"close at all elements: {x1}")

    def assertAllEqual(self, actual, desired, msg=None):
        np.testing.assert_array_equal(convert_to_numpy(actual), convert_to_numpy(desired), err_msg=msg or "")

    def assertLen(self, container, expected_len, msg=None):
        self.assertEqual(len(container), expected_len, msg)

    def assertDType(self, x, dtype, msg=None):
        self.assertEqual(standardize_dtype(x.dtype), standardize_dtype(dtype), msg)

    def run_class_serialization_test(self, instance, custom_objects=None):
        """Config -> layer -> config is the identity, in memory and through JSON."""
        config = instance.get_config()
        wire = json.loads(json.dumps(config))
        with custom_objects_in_scope(custom_objects):
            revived = type(instance).from_config(copy.deepcopy(config))
        self.assertEqual(json.loads(json.dumps(revived.get_config())), wire, "from_config(get_config())")

        serialize = find("saving", "serialize_keras_object")
        deserialize = find("saving", "deserialize_keras_object")
        with custom_objects_in_scope(custom_objects):
            revived = deserialize(json.loads(json.dumps(serialize(instance))))
        self.assertIs(type(revived), type(instance))
        self.assertEqual(json.loads(json.dumps(revived.get_config())), wire, "deserialize(serialize())")
        return revived

    def run_layer_test(
        self,
        layer_cls,
        init_kwargs,
        input_shape,
        input_dtype="float32",
        call_kwargs=None,
        expected_output_shape=None,
        expected_num_trainable_weights=None,
        expected_num_non_trainable_weights=None,
        expected_num_losses=None,
        custom_objects=None,
        # Facts about Keras itself, which are not asked of another library:
        supports_masking=None,
        expected_num_seed_generators=None,
        expected_num_non_trainable_variables=None,
        assert_built_after_instantiation=None,
        run_mixed_precision_check=None,
    ):
        """Keras's checks, as far as they mean something for another library.

        An eager call (shape, weights, losses, gradients), the config round trip, `build`, `compute_output_shape`, and
        a symbolic call through Input and Model whose values equal those of the eager call.
        """
        call_kwargs = call_kwargs or {}

        def check_weights(layer, when):
            for kind, expected in (
                ("trainable_weights", expected_num_trainable_weights),
                ("non_trainable_weights", expected_num_non_trainable_weights),
            ):
                if expected is not None:
                    self.assertLen(getattr(layer, kind), expected, f"number of {kind} after {when}")

        def check_shape(output, when):
            if expected_output_shape is not None:
                self.assertEqual(shapes(output), lists(expected_output_shape), f"output shape of {when}")

        data = (3 * np.random.default_rng(0).random(input_shape)).astype(input_dtype)

        layer = layer_cls(**init_kwargs)
        output = layer(data, **call_kwargs)
        check_shape(output, "the eager call")
        check_weights(layer, "the eager call")
        self.check_losses(layer, expected_num_losses)
        self.check_gradients(layer, output, expected_num_trainable_weights)

        self.run_class_serialization_test(layer_cls(**init_kwargs), custom_objects)

        layer = self.revive(layer_cls, init_kwargs, custom_objects)
        layer.build(input_shape)
        self.assertTrue(layer.built, "built after build()")
        check_weights(layer, "build()")

        layer = self.revive(layer_cls, init_kwargs, custom_objects)
        if expected_output_shape is not None:
            shape = layer.compute_output_shape(input_shape)
            self.assertEqual(lists(shape), lists(expected_output_shape), "compute_output_shape")

        symbolic = find("layers", "Input")(shape=input_shape[1:], batch_size=input_shape[0], dtype=input_dtype)
        symbolic_output = layer(symbolic, **call_kwargs)
        check_shape(symbolic_output, "the symbolic call")
        check_weights(layer, "the symbolic call")
        model = find("models", "Model")(symbolic, symbolic_output)
        check_shape(model(data), "the functional model")
        if not call_kwargs.get("training"):
            self.assertAllClose(model(data), layer(data, **call_kwargs), msg="functional model against its layer")

    def revive(self, layer_cls, init_kwargs, custom_objects):
        """A fresh layer that shares no cell with another one."""
        with custom_objects_in_scope(custom_objects):
            return layer_cls.from_config(layer_cls(**init_kwargs).get_config())

    def check_losses(self, layer, expected):
        if expected is not None:
            self.assertLen(layer.losses, expected, "number of losses")

    def check_gradients(self, layer, output, expected_num_trainable_weights):
        """In place of Keras's training step: each trainable weight is a torch parameter and gets a finite gradient."""
        parameters = [p for p in layer.parameters() if p.requires_grad]
        if expected_num_trainable_weights is not None:
            self.assertLen(parameters, expected_num_trainable_weights, "number of parameters with a gradient")
        if parameters:
            for gradient in torch.autograd.grad(sum(leaf.sum() for leaf in leaves(output)), parameters):
                self.assertTrue(torch.isfinite(gradient).all(), "finite gradients")


def custom_objects_in_scope(custom_objects):
    """Names every class of the test files.

    Keras also imports an unregistered class from the module that the config names. A library whose files are safe to
    open does not, on purpose; so it is never needed here.
    """
    every = subclasses(find("layers", "Layer"))
    of_tests = {cls.__name__: cls for cls in every if cls.__module__.startswith("kerasshim.src.layers.")}
    return find("utils", "custom_object_scope")(of_tests | (custom_objects or {}))


def subclasses(cls):
    for child in type.__subclasses__(cls):
        yield child
        yield from subclasses(child)


def leaves(nest):
    if isinstance(nest, dict):
        nest = list(nest.values())
    if isinstance(nest, (list, tuple)):
        return [leaf for part in nest for leaf in leaves(part)]
    return [nest]


def shapes(nest):
    if isinstance(nest, (list, tuple)):
        return [shapes(part) for part in nest]
    return list(nest.shape)


def lists(nest):
    return [lists(part) for part in nest] if isinstance(nest, (list, tuple)) else nest
