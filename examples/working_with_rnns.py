"""Working with recurrent networks in ostinato: a tour that runs.

Every section is a function, and what it says about its results is checked: what does not hold stops the script. The
data are 1,797 real handwritten digits of 8 x 8 pixels that come with the package; nothing is downloaded. Read it from
top to bottom, or run it:

    python examples/working_with_rnns.py                        well under a minute on two cores
    python examples/working_with_rnns.py --small                fewer epochs
    python examples/working_with_rnns.py --output picture.png   where the learning curves and some digits are drawn

Whoever knows Keras will find its names, shapes and defaults. Whoever knows PyTorch will find that every layer is a
torch.nn.Module, takes and gives torch tensors, and mixes with other modules and functions. NumPy arrays are welcome
everywhere, too.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import ostinato
from ostinato import layers, losses, optimizers
from ostinato.datasets import digits
from ostinato.plots.training import draw_run

ROWS, PIXELS, LABELS = 8, 8, 10
"""An image is read from top to bottom: 8 time steps, a row of 8 pixels each. There are 10 labels."""


def main():
    parser = argparse.ArgumentParser(description="Working with recurrent networks in ostinato: a tour that runs.")
    parser.add_argument("--small", action="store_true", help="train for fewer epochs")
    parser.add_argument("--output", type=Path, default=Path("working-with-rnns.png"), help="the picture (%(default)s)")
    chosen = parser.parse_args()

    # Matrices as small as these gain nothing from a second thread, and threads that wait for each other cost a lot on
    # a busy machine.
    torch.set_num_threads(1)

    # One call seeds everything that draws at random: the weights, the order of the data, the dropout masks.
    ostinato.utils.set_random_seed(2024)

    (x_train, y_train), (x_test, y_test) = digits.load_data()  # whole numbers, 0 (paper) to 16 (ink)
    train = (x_train / 16.0).astype("float32"), y_train
    test = (x_test / 16.0).astype("float32"), y_test
    images = train[0][:60]

    built_in_layers(x_train[:60])
    outputs_and_states(images)
    encoder_and_decoder(images)
    layers_and_cells(images)
    a_cell_of_your_own(images)
    statefulness(images)
    reusing_states(images)
    both_directions(images)
    padding_and_masks(images)
    which_engine_runs(images)
    model, history = training(train, test, small=chosen.small)
    inference_elsewhere(model, test)
    nested_structures(train, test, small=chosen.small)
    the_result(model, history, x_test, test, chosen.output)


# Two helpers by which the tour keeps its word.


def agree(what, one, other, within=1e-5):
    """Print the largest difference between two results; stop if it is larger than `within`."""
    one, other = (torch.as_tensor(each).detach().cpu().double() for each in (one, other))
    if one.shape != other.shape:
        raise SystemExit(f"{what}: the shapes {tuple(one.shape)} and {tuple(other.shape)} differ")
    difference = (one - other).abs().max().item()
    print(f"  {what}: largest difference {difference:.1e}")
    if not difference <= within:
        raise SystemExit(f"{what}: they differ by {difference:.1e}, which is more than {within:.0e}")


def holds(what, fact):
    """Print a fact; stop if it is none."""
    if not fact:
        raise SystemExit(f"this should hold, and does not: {what}")
    print(f"  {what}")


def section(title):
    print(f"\n{title}\n{'-' * len(title)}")


# 1. Built-in layers


def built_in_layers(whole_numbers):
    """Three recurrent layers are ready to use: `SimpleRNN`, `GRU` and `LSTM`.

    Here an image is a sentence of 64 words, a pixel each, from a vocabulary of 17 shades. `Embedding` looks up a
    vector for each shade, the LSTM reads the vectors one after the other, and `Dense` turns what it remembers at the
    end into a score for each label.
    """
    section("Built-in layers")
    sentences = whole_numbers.reshape(len(whole_numbers), ROWS * PIXELS)
    model = ostinato.Sequential(
        [
            ostinato.Input((None,)),  # sentences of any length
            layers.Embedding(input_dim=17, output_dim=16),
            layers.LSTM(32),
            layers.Dense(LABELS),
        ]
    )
    model.summary()
    scores = model(sentences)
    holds(f"scores of {len(sentences)} images: {tuple(scores.shape)}", scores.shape == (len(sentences), LABELS))

    # An LSTM has four gates, each with a row of weights for every input, every unit, and one bias.
    lstm = model.layers[1]
    holds(f"weights of the LSTM: {lstm.count_params():,}", lstm.count_params() == 4 * (16 + 32 + 1) * 32)

    # Layers take options: dropout on inputs and on states, a bias or none, other activations ... One of them reads
    # a sequence from its end, which is the same as to turn it round first.
    backwards = layers.LSTM(32, go_backwards=True, dropout=0.2, recurrent_dropout=0.2)
    forwards = layers.LSTM(32)
    vectors = model.layers[0](sentences)
    from_the_end = backwards(vectors, training=False)  # dropout is for training; inference leaves everything in
    forwards.build(vectors.shape)
    forwards.set_weights(backwards.get_weights())
    agree("go_backwards, and a flipped sequence", from_the_end, forwards(vectors.flip(1)))


# 2. Outputs and states


def outputs_and_states(images):
    """A layer gives its last output; on request all outputs, and the states that it would go on with."""
    section("Outputs and states")
    batch = len(images)
    last = layers.GRU(24)
    holds(f"last output: {tuple(last(images).shape)}", last(images).shape == (batch, 24))

    every = layers.GRU(24, return_sequences=True, return_state=True)
    every.build(images.shape)
    every.set_weights(last.get_weights())
    sequence, state = every(images)
    holds(f"all outputs: {tuple(sequence.shape)}", sequence.shape == (batch, ROWS, 24))
    agree("the last of all outputs, and the last output", sequence[:, -1], last(images))
    agree("a GRU's only state, and its last output", state, last(images))

    # An LSTM has two states: h, which is also its output, and c, which it keeps to itself.
    output, h, c = layers.LSTM(24, return_state=True)(images)
    agree("an LSTM's state h, and its output", h, output)
    holds("its state c is something else", not torch.allclose(c, output))

    # To stack recurrent layers, let all but the top one return sequences.
    stack = ostinato.Sequential([layers.GRU(24, return_sequences=True), layers.SimpleRNN(12), layers.Dense(LABELS)])
    holds(f"a stack gives {tuple(stack(images).shape)}", stack(images).shape == (batch, LABELS))


def encoder_and_decoder(images):
    """The states of one layer can be the start of another: so an encoder tells a decoder what it has read.

    The encoder sees the upper half of a digit, the decoder the lower half. The model has two inputs, so it is drawn:
    layers are called on symbolic inputs, and `Model` takes what lies between the inputs and the output.
    """
    section("Encoder and decoder")
    upper_half = ostinato.Input((None, PIXELS), name="upper_half")
    lower_half = ostinato.Input((None, PIXELS), name="lower_half")
    _, h, c = layers.LSTM(32, return_state=True, name="encoder")(upper_half)
    decoded = layers.LSTM(32, name="decoder")(lower_half, initial_state=[h, c])
    model = ostinato.Model([upper_half, lower_half], layers.Dense(LABELS)(decoded))
    model.summary()
    upper, lower = images[:, : ROWS // 2], images[:, ROWS // 2 :]
    holds(f"scores: {tuple(model([upper, lower]).shape)}", model([upper, lower]).shape == (len(images), LABELS))

    # Do the states arrive? If both layers have the same weights, the two together must be one LSTM that reads on.
    encoder, decoder, dense = model.get_layer("encoder"), model.get_layer("decoder"), model.layers[-1]
    decoder.set_weights(encoder.get_weights())
    reader = layers.LSTM(32)
    reader.build(images.shape)
    reader.set_weights(encoder.get_weights())
    agree("halves read by two layers, and images read by one", model([upper, lower]), dense(reader(images)))


# 3. Layers and cells


def layers_and_cells(images):
    """A cell takes one step; `RNN(cell)` is the loop that takes it along a sequence.

    Each built-in layer has its cell, and the layer is nothing but the loop around it.
    """
    section("Layers and cells")
    pairs = [
        (layers.SimpleRNN, layers.SimpleRNNCell),
        (layers.GRU, layers.GRUCell),
        (layers.LSTM, layers.LSTMCell),
    ]
    for make_layer, make_cell in pairs:
        layer, wrapped = make_layer(32), layers.RNN(make_cell(32))
        output = layer(images)  # the first call makes the weights ...
        wrapped.build(images.shape)  # ... and so does build, without data
        wrapped.set_weights(layer.get_weights())
        agree(f"{make_layer.__name__}(32), and RNN({make_cell.__name__}(32))", output, wrapped(images))

    # A cell can also be called by hand, which is the place to look into what happens between two steps.
    cell = wrapped.cell
    states = cell.get_initial_state(batch_size=len(images))
    for row in range(ROWS):
        output_of_step, states = cell(images[:, row], states)
    agree("the LSTM, and a for loop around its cell", output, output_of_step)

    # A list of cells is a stack: at every step each one hands its output to the next.
    tower = layers.RNN([layers.LSTMCell(16), layers.GRUCell(12)])
    top = tower(images)
    lower, upper = layers.LSTM(16, return_sequences=True), layers.GRU(12)
    lower.build(images.shape)
    upper.build((None, ROWS, 16))
    lower.set_weights(tower.get_weights()[:3])
    upper.set_weights(tower.get_weights()[3:])
    agree("two cells in one loop, and two layers", top, upper(lower(images)))


class MinimalGatedCell(layers.Layer):
    """A GRU with a single gate (Zhou, Wu, Zhang, Zhou: Minimal Gated Unit for Recurrent Neural Networks, 2016)::

    f = sigmoid(x W_f + h U_f + b)
    g = tanh(x W_g + (f * h) U_g)
    h' = (1 - f) * h + f * g
    """

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.state_size = units  # what the loop has to know: how large the state is

    def build(self, input_shape):
        features, units = input_shape[-1], self.units
        self.gate_kernel = self.add_weight(shape=(features, units), name="gate_kernel")
        self.gate_recurrent = self.add_weight(shape=(units, units), initializer="orthogonal", name="gate_recurrent")
        self.gate_bias = self.add_weight(shape=(units,), initializer="ones", name="gate_bias")
        self.kernel = self.add_weight(shape=(features, units), name="kernel")
        self.recurrent = self.add_weight(shape=(units, units), initializer="orthogonal", name="recurrent")

    def call(self, inputs, states):
        (h,) = states
        f = torch.sigmoid(inputs @ self.gate_kernel + h @ self.gate_recurrent + self.gate_bias)
        g = torch.tanh(inputs @ self.kernel + (f * h) @ self.recurrent)
        h = (1 - f) * h + f * g
        return h, [h]  # the output, and the new states


def a_cell_of_your_own(images):
    """Anything with a `state_size` and `call(inputs, states)` is a cell: write one step in torch, and loop it.

    All that a recurrent layer can do comes with the loop: sequences, states, masks, statefulness, both directions.
    """
    section("A cell of your own")
    layer = layers.RNN(MinimalGatedCell(32), return_sequences=True, return_state=True)
    sequence, state = layer(images)
    holds(f"all outputs: {tuple(sequence.shape)}", sequence.shape == (len(images), ROWS, 32))
    agree("its state, and its last output", state, sequence[:, -1])

    # The gradients are torch's own: every weight gets one.
    sequence.square().mean().backward()
    names = [name for name, weight in layer.named_parameters() if weight.grad is not None]
    holds(f"gradients reach {', '.join(names)}", len(names) == len(layer.weights) == 5)


# 4. Statefulness across batches


def statefulness(images):
    """A stateful layer goes on where its last call ended, so that a long sequence can come in pieces.

    60 digits make 20 lines of three: sequences of 24 rows. They are read in pieces of 8 rows, that is a digit each.
    Row i of a batch must be the continuation of row i of the batch before.
    """
    section("Statefulness across batches")
    lines = images.reshape(20, 3 * ROWS, PIXELS)
    pieces = np.split(lines, 3, axis=1)
    reader = layers.LSTM(32, stateful=True, name="reader")
    first, _, third = (reader(piece) for piece in pieces)

    plain = layers.LSTM(32)
    plain.build(lines.shape)
    plain.set_weights(reader.get_weights())
    agree("three pieces, and the whole lines", third, plain(lines))

    # The states are values, not a part of the graph: gradients end where a piece begins.
    holds("the recorded states carry no gradients", not any(state.requires_grad for state in reader.states))

    reader.reset_states()
    agree("after reset_states() the first piece reads as at first", reader(pieces[0]), first)
    try:
        reader(pieces[1][:5])
    except ValueError as error:
        print(f"  another batch size is refused: {error}")
    else:
        raise SystemExit("a stateful layer took a batch of another size")


# 5. Reusing states


def reusing_states(images):
    """Recorded states are no weights. Take them from `layer.states`, and pass them on as `initial_state`."""
    section("Reusing states")
    lines = images.reshape(20, 3 * ROWS, PIXELS)
    begun, rest = lines[:, : 2 * ROWS], lines[:, 2 * ROWS :]
    reader = layers.LSTM(32, stateful=True)
    reader(begun)
    holds(f"states: {[tuple(state.shape) for state in reader.states]}", len(reader.states) == 2)
    holds(f"weights: {[tuple(weight.shape) for weight in reader.weights]}", len(reader.weights) == 3)

    successor = layers.LSTM(32)
    successor.build(rest.shape)
    successor.set_weights(reader.get_weights())
    resumed = successor(rest, initial_state=reader.states)
    agree("a new layer that takes over, and the old one that reads on", resumed, reader(rest))
    holds("without the states it would read something else", not torch.allclose(resumed, successor(rest), atol=1e-3))


# 6. Both directions


def both_directions(images):
    """`Bidirectional` reads with two copies of a layer, one of them from the end, and joins what they say."""
    section("Both directions")
    layer = layers.Bidirectional(layers.LSTM(32, return_sequences=True))
    joined = layer(images)
    holds(f"32 units each way: {tuple(joined.shape)}", joined.shape == (len(images), ROWS, 64))

    # By hand: the half that reads from the end gives its outputs in the order in which it read, so turn them round.
    forward, backward = layer.forward_layer(images), layer.backward_layer(images).flip(1)
    agree("it, and its halves side by side", joined, torch.cat([forward, backward], dim=-1))

    added = layers.Bidirectional(layers.LSTM(32, return_sequences=True), merge_mode="sum")
    added.build(images.shape)
    added.set_weights(layer.get_weights())
    agree("merge_mode='sum', and the sum of the halves", added(images), forward + backward)

    stack = ostinato.Sequential(
        [
            layers.Bidirectional(layers.LSTM(32, return_sequences=True)),
            layers.Bidirectional(layers.GRU(16)),
            layers.Dense(LABELS),
        ]
    )
    holds(f"a stack gives {tuple(stack(images).shape)}", stack(images).shape == (len(images), LABELS))


# 7. Padding and masks


def padding_and_masks(images):
    """Sequences of different lengths are padded to make a batch, and a mask says which steps are to be used.

    `Masking` makes the mask from a value that only padding has; here -1, since 0 is paper. A masked step leaves the
    state as it is, so padding changes nothing. `Embedding(..., mask_zero=True)` does the same for the index 0, and
    every recurrent layer takes `mask=` directly.
    """
    section("Padding and masks")
    lines = [images[0:1], images[1:3], images[3:6]]  # one, two and three digits
    lines = [line.reshape(len(line) * ROWS, PIXELS) for line in lines]
    padded = np.full((len(lines), 3 * ROWS, PIXELS), -1.0, dtype="float32")
    for place, line in zip(padded, lines, strict=True):
        place[: len(line)] = line

    lstm = layers.Bidirectional(layers.LSTM(32))
    together = ostinato.Sequential([layers.Masking(mask_value=-1.0), lstm])(padded)
    alone = torch.cat([lstm(line[None]) for line in lines])
    agree("padded lines in one batch, and each line alone", together, alone)

    mask = np.arange(3 * ROWS) < np.array([[len(line)] for line in lines])
    agree("Masking, and a mask passed by hand", together, lstm(padded, mask=mask))
    holds("without a mask the padding is read, too", not torch.allclose(together, lstm(padded), atol=1e-3))


# 8. Which engine runs


def which_engine_runs(images):
    """What computes a recurrence is called an engine. They stand in order, fastest first; the first willing one runs.

    `ostinato.explain` runs a layer, and says which engine that was and why each faster one refused. The last in order,
    the reference loop, takes everything; where it is the only one, there is nobody to refuse. A faster engine takes
    what it was made for. Reasons to refuse are of these kinds:

    - options that change the step: another activation, dropout on the recurrent state,
    - gradients, if it can only infer,
    - the device and the dtype,
    - a cell of your own, whose `call` is Python code that only Python can run. A built-in cell says what it computes,
      so that `RNN(LSTMCell(32))` runs just as `LSTM(32)` does.
    """
    section("Which engine runs")
    cases = {
        "as it comes": layers.LSTM(32),
        "another activation": layers.LSTM(32, activation="relu"),
        "its cell in a loop": layers.RNN(layers.LSTMCell(32)),
        "both directions": layers.Bidirectional(layers.LSTM(32)),
        "a cell of your own": layers.RNN(MinimalGatedCell(32)),
    }
    answers = {}
    for what, layer in cases.items():
        with torch.no_grad():
            answers[what] = ostinato.explain(layer, images)
        print(f"{what}:\n{indented(answers[what])}")
    print(f"as it comes, in training:\n{indented(ostinato.explain(cases['as it comes'], images, training=True))}")
    after_the_name = [answers[what].partition(": ")[2] for what in ("as it comes", "its cell in a loop")]
    holds("the cell in a loop runs just as the layer does", after_the_name[0] == after_the_name[1])


def indented(text):
    return "\n".join(f"  {line}" for line in text.splitlines())


# 9. Training


def reader_of_digits(recurrent):
    """Rows of pixels in, a score for each label out."""
    return ostinato.Sequential(
        [ostinato.Input((None, PIXELS)), recurrent, layers.BatchNormalization(), layers.Dense(LABELS)]
    )


def training(train, test, small):
    """Two models from the same weights, one with the layer, one with its cell in a loop; then one of them in earnest.

    `get_weights` gives a model's weights as NumPy arrays, and `set_weights` takes them: always the way to hand them
    from one model to another, on whatever device each may be.
    """
    section("Training")
    built_in = reader_of_digits(layers.LSTM(64))
    wrapped = reader_of_digits(layers.RNN(layers.LSTMCell(64)))
    wrapped.set_weights(built_in.get_weights())

    history = {}
    for model in (built_in, wrapped):
        model.compile(
            optimizer=optimizers.Adam(learning_rate=0.01),
            loss=losses.SparseCategoricalCrossentropy(from_logits=True),  # labels are numbers, outputs are scores
            metrics=["accuracy"],
        )
    print("an epoch of each, in the same order of the data:")
    for name, model in {"LSTM": built_in, "RNN(LSTMCell)": wrapped}.items():
        start = time.monotonic()
        history[name] = model.fit(*train, epochs=1, batch_size=32, validation_data=test, verbose=0, seed=1).history
        accuracy = history[name]["val_accuracy"][-1]
        print(f"  {name}: test accuracy {accuracy:.4f} after {time.monotonic() - start:.2f} s")
    agree("their losses", history["LSTM"]["loss"], history["RNN(LSTMCell)"]["loss"], within=1e-2)

    # Large steps at first, small ones to settle: the learning rate is set between two calls of fit.
    curves = history["LSTM"]
    for rate, epochs in ((0.01, 3), (0.001, 1)) if small else ((0.01, 9), (0.001, 5)):
        print(f"on with the LSTM, at a learning rate of {rate}:")
        built_in.optimizer.learning_rate = rate
        run = built_in.fit(*train, epochs=epochs, batch_size=32, validation_data=test)
        for name, values in run.history.items():
            curves[name].extend(values)
    wanted = 0.85 if small else 0.95
    holds(f"test accuracy of at least {wanted}: {curves['val_accuracy'][-1]:.4f}", curves["val_accuracy"][-1] >= wanted)
    return built_in, curves


def inference_elsewhere(model, test):
    """A model trained on one device reads on any other: its weights do not know where they were made."""
    section("Inference elsewhere")
    images, labels = test
    on_cpu = reader_of_digits(layers.LSTM(64)).to("cpu")
    on_cpu.set_weights(model.get_weights())
    scores = on_cpu.predict_on_batch(images[:1])
    print(f"  the first test image is a {labels[0]}, and is read as a {scores.argmax()}")
    agree("where it was trained, and on the CPU", model.predict_on_batch(images[:1]), scores, within=1e-3)

    # The same in PyTorch's way: a model is a torch.nn.Module, with a state_dict like any other.
    another = reader_of_digits(layers.LSTM(64))
    another.load_state_dict(model.state_dict())
    agree(
        "the model, and another with its state_dict",
        model.predict(images, verbose=0),
        another.predict(images, verbose=0),
    )


# 10. Nested structures


@ostinato.utils.register_keras_serializable(package="examples")
class RowAndWindowCell(layers.Layer):
    """A cell whose inputs, states and outputs are dicts.

    A step of its input is a row of pixels `(batch, pixels)` and a window of some rows around it, `(batch, rows,
    pixels)`. It follows the row like a plain recurrent network, in the state "trail"; and it has a "map" of the
    window, some channels for each of its rows, of which the trail decides how much is redrawn at each step::

        trail' = tanh(row W + trail U)
        share  = sigmoid(trail' V)
        map'   = (1 - share) * map + share * tanh(window K)
    """

    def __init__(self, units, rows, channels, **options):
        super().__init__(**options)
        self.units, self.rows, self.channels = units, rows, channels
        # A number is the size of a vector, torch.Size that of a matrix; the loop finds the rest by the keys.
        self.state_size = {"trail": units, "map": torch.Size([rows, channels])}
        self.output_size = self.state_size

    def build(self, input_shape):
        pixels = input_shape["row"][-1]
        self.row_kernel = self.add_weight(shape=(pixels, self.units), name="row_kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), initializer="orthogonal", name="recurrent")
        self.share_kernel = self.add_weight(shape=(self.units, self.channels), name="share_kernel")
        self.window_kernel = self.add_weight(shape=(pixels, self.channels), name="window_kernel")

    def call(self, inputs, states):
        trail = torch.tanh(inputs["row"] @ self.row_kernel + states["trail"] @ self.recurrent)
        share = torch.sigmoid(trail @ self.share_kernel).unsqueeze(1)  # the same for all rows of the window
        drawn = torch.tanh(inputs["window"] @ self.window_kernel)
        new = {"trail": trail, "map": (1 - share) * states["map"] + share * drawn}
        return new, new

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rows": self.rows, "channels": self.channels}


def with_windows(images):
    """Each row of an image, and the three rows around it; there is paper above and below."""
    framed = np.pad(images, [(0, 0), (1, 1), (0, 0)])
    return {"row": images, "window": np.stack([framed[:, i : i + ROWS] for i in range(3)], axis=2)}


def nested_structures(train, test, small):
    """Inputs, states and outputs need not be single tensors: lists, tuples and dicts of them will do.

    What belongs to one step stays together, in the data, in the loop and in the cell. The model that is drawn from
    this has two inputs and two outputs with a loss each: which digit it is, and how much ink is in each column.
    """
    section("Nested structures")
    inputs = with_windows(train[0][:60])
    for name, values in inputs.items():
        print(f"  input {name!r}: {values.shape}")
    rnn = layers.RNN(RowAndWindowCell(48, rows=3, channels=16))
    outputs = rnn(inputs)
    for name, values in outputs.items():
        print(f"  output {name!r}: {tuple(values.shape)}")

    # The loop, once more, is a for loop.
    states = rnn.get_initial_state(batch_size=60)
    for row in range(ROWS):
        by_hand, states = rnn.cell({name: values[:, row] for name, values in inputs.items()}, states)
    for name in outputs:
        agree(f"RNN(cell) and a for loop, {name!r}", outputs[name], by_hand[name])

    # A cell that is registered and has a get_config can be written down and made again from what was written.
    copy = layers.deserialize(layers.serialize(rnn))
    copy({name: values[:1] for name, values in inputs.items()})
    copy.set_weights(rnn.get_weights())
    agree("the layer, and a copy made from its config and weights", outputs["trail"], copy(inputs)["trail"])

    row = ostinato.Input((None, PIXELS), name="row")
    window = ostinato.Input((None, 3, PIXELS), name="window")
    read = layers.RNN(RowAndWindowCell(48, rows=3, channels=16))({"row": row, "window": window})
    everything = torch.cat([read["trail"], torch.flatten(read["map"], 1)], dim=-1)  # torch functions draw, too
    model = ostinato.Model(
        {"row": row, "window": window},
        {"digit": layers.Dense(LABELS, name="digit")(everything), "ink": layers.Dense(PIXELS, name="ink")(everything)},
    )
    model.compile(
        optimizer=optimizers.Adam(learning_rate=0.01),
        loss={"digit": losses.SparseCategoricalCrossentropy(from_logits=True), "ink": "mse"},
        metrics={"digit": ["accuracy"]},
    )
    model.fit(with_windows(train[0]), targets(train), epochs=4 if small else 8, batch_size=32, verbose=0)
    found = model.evaluate(with_windows(test[0]), targets(test), verbose=0, return_dict=True)
    accuracy, error = found["digit_accuracy"], found["ink_loss"]
    guess = float(np.mean((test[0].mean(1) - train[0].mean((0, 1))) ** 2))
    holds(f"test accuracy of the digits: {accuracy:.4f}", accuracy >= (0.6 if small else 0.85))
    holds(
        f"squared error of the ink: {error:.4f}; of the mean of all images {guess:.4f}",
        error < (guess if small else guess / 2),
    )


def targets(data):
    """The label of each image, and the share of ink in each of its columns."""
    images, labels = data
    return {"digit": labels, "ink": images.mean(axis=1)}


# The end


def the_result(model, history, pictures, test, output):
    """Draw the learning curves and some digits, two misread ones among them if there are any."""
    section("The result")
    images, labels = test
    _, accuracy = model.evaluate(images, labels, verbose=0)
    readings = model.predict(images, verbose=0).argmax(axis=-1)
    wrong = np.flatnonzero(readings != labels)[:2]
    right = np.flatnonzero(readings == labels)[: 12 - len(wrong)]
    shown = np.concatenate([right, wrong])
    draw_run(output, history, pictures[shown], labels[shown].tolist(), readings[shown].tolist())
    print(f"  learning curves and some digits: {output}")
    print(f"  test accuracy of the LSTM: {accuracy:.4f}")


if __name__ == "__main__":
    main()
