"""The picture of a model: its boxes, what they say, its arrows, and that nothing lies on anything else."""

import itertools
import random
import struct
import sys
from pathlib import Path

import matplotlib.pyplot
import pytest
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import ostinato
from ostinato import Input, Model, Sequential, layers
from ostinato.plots.layered import Edge, arrange
from ostinato.plots.model import plot_model

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EVERYTHING = {
    "show_shapes": True,
    "show_dtype": True,
    "show_layer_names": True,
    "show_layer_activations": True,
    "show_trainable": True,
}


def chain():
    return Sequential(
        [
            layers.Embedding(50, 8, input_shape=(None,), name="embed"),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both"),
            layers.GRU(3, name="gru"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(2, activation="softmax", name="top"),
        ],
        name="chain",
    )


def translator():
    source, target = Input((None,), name="source"), Input((None,), name="target")
    encoded = layers.Embedding(20, 8, name="source_words")(source)
    _, h, c = layers.LSTM(4, return_state=True, name="encoder")(encoded)
    words = layers.Embedding(20, 8, name="target_words")(target)
    decoded = layers.LSTM(4, name="decoder")(words, initial_state=[h, c])
    return Model([source, target], layers.Dense(2, name="top")(decoded), name="translator")


def twins():
    left, right = Input((None, 8), name="left"), Input((None, 8), name="right")
    shared = layers.LSTM(4, name="shared")
    a, b = shared(left), shared(right)
    near = layers.Dense(1, name="near")(torch.abs(a - b))
    return Model([left, right], [near, layers.Dense(3, name="kind")(torch.cat([a, b], -1))], name="twins")


def again():
    start = Input((4,), name="start")
    shared = layers.Dense(4, name="shared")
    x = layers.Dense(4, name="between")(shared(shared(start)))
    return Model(start, layers.Dense(1, name="end")(shared(x)), name="again")


def nested():
    a, b = Input((None,), name="a"), Input((None,), name="b")
    body = Sequential([layers.LSTM(4, input_shape=(None, 8), name="inner"), layers.Dense(2, name="last")], name="body")
    both = torch.cat([translator()([a, b]), body(layers.Embedding(20, 8, name="words")(a))], -1)
    return Model([a, b], torch.nn.Linear(4, 1)(both), name="nested")


class Own(Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.words, self.memory, self.top = layers.Embedding(9, 8), layers.GRU(4), torch.nn.Linear(4, 2)

    def call(self, inputs):
        return self.top(self.memory(self.words(inputs)))


def own():
    model = Own(name="own")
    model(torch.zeros(2, 3, dtype=torch.long), training=False)
    return model


def deep(count=30):
    start = x = Input((4,), name="start")
    for number in range(count):
        x = layers.Dense(4, name=f"dense_{number}")(x)
    return Model(start, x)


def long_names():
    x = Input((None, 8), name="an_input_with_a_name_" * 6)
    wide = layers.LSTM(4, name="$\\alpha$_" + "w" * 150)(x)
    return Model(x, layers.Dense(2, name="a-b " * 40)(wide))


def skips():
    start = x = Input((8,), name="start")
    seen = [x]
    for number in range(4):
        x = layers.Dense(8, name=f"block_{number}")(torch.cat(seen, -1) if seen[1:] else x)
        seen.append(x)
    return Model(start, x)


MODELS = [chain, translator, twins, again, nested, own, deep, long_names, skips]


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure) -> dict[str, FancyBboxPatch]:
    return {p.get_gid(): p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch) and p.get_gid()}


def arrows(figure, heads_only=True) -> list[tuple[str, str]]:
    patches = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    headed = [p for p in patches if not heads_only or "CurveFilledB" in type(p.get_arrowstyle()).__name__]
    return [tuple(p.get_gid().split("->")) for p in headed]


def corners(box) -> tuple[float, float, float, float]:
    return box.get_x(), box.get_y(), box.get_x() + box.get_width(), box.get_y() + box.get_height()


def test_a_chain_is_boxes_from_top_to_bottom():
    figure = plot_model(chain(), None)
    assert texts(figure) == ["Embedding", "Bidirectional", "GRU", "BatchNormalization", "Dense"]
    names = ["embed", "both", "gru", "norm", "top"]
    assert arrows(figure) == list(itertools.pairwise(names))
    found = boxes(figure)
    tops = [found[name].get_y() for name in names]
    assert tops == sorted(tops) and list(found) == names
    middles = [found[name].get_x() + found[name].get_width() / 2 for name in names]
    assert max(middles) - min(middles) < 1e-9


def test_what_a_box_says():
    figure = plot_model(chain(), None, **EVERYTHING)
    said = texts(figure)
    start = said.index("norm (BatchNormalization)")
    assert said[start + 1 :] == [
        "input: (None, 3)",
        "output: (None, 3)",
        "dtype: float32",
        "Trainable: 6 of 12 parameters",
        "top (Dense)",
        "activation: softmax",
        "input: (None, 3)",
        "output: (None, 2)",
        "dtype: float32",
        "Trainable: 8 parameters",
    ]
    assert "input: (None, None)" in said and "output: (None, None, 8)" in said


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("show_shapes", "output: (None, 2)"),
        ("show_dtype", "dtype: float32"),
        ("show_layer_names", "top (Dense)"),
        ("show_layer_activations", "activation: softmax"),
        ("show_trainable", "Trainable: 8 parameters"),
    ],
)
def test_each_option_says_one_thing(option, line):
    assert line in texts(plot_model(chain(), None, **{option: True}))
    others = {name: True for name in EVERYTHING if name != option}
    assert line not in texts(plot_model(chain(), None, **others))


def test_frozen_and_plain_modules():
    model = Sequential([Input((3,)), torch.nn.Linear(3, 2), layers.Dense(1, name="top"), torch.nn.ReLU()])
    model.layers[1].trainable = False
    assert texts(plot_model(model, None, show_trainable=True, show_layer_names=True)) == [
        "linear (Linear)",
        "Trainable: 8 parameters",
        "top (Dense)",
        "Non-trainable: 3 parameters",
        "relu (ReLU)",
    ]


def test_inputs_outputs_and_states():
    figure = plot_model(translator(), None, show_shapes=True, show_layer_names=True)
    assert sorted(arrows(figure)) == sorted(
        [
            ("source", "source_words"),
            ("source_words", "encoder"),
            ("target", "target_words"),
            ("target_words", "decoder"),
            ("encoder", "decoder"),  # two states, one arrow
            ("decoder", "top"),
        ]
    )
    assert "output: [(None, 4), (None, 4), (None, 4)]" in texts(figure)
    assert any(text.replace("\n", " ") == "input: [(None, None, 8), (None, 4), (None, 4)]" for text in texts(figure))


def test_a_shared_layer_has_one_box_and_torch_functions_are_boxes():
    figure = plot_model(twins(), None)
    found = arrows(figure)
    assert {("left", "shared"), ("right", "shared"), ("shared", "sub"), ("shared", "cat"), ("sub", "abs")} < set(found)
    assert len(found) == len(set(found)) == 7
    assert texts(figure).count("LSTM") == 1 and "torch.abs" in texts(figure) and "torch.cat" in texts(figure)


def test_a_layer_called_on_its_own_output():
    figure = plot_model(again(), None)
    assert sorted(arrows(figure)) == sorted(
        [("start", "shared"), ("shared", "shared"), ("shared", "between"), ("between", "shared"), ("shared", "end")]
    )


def test_a_nested_model_is_a_box_or_a_frame():
    closed = plot_model(nested(), None, show_layer_names=True)
    assert "translator (Model)" in texts(closed) and "encoder (LSTM)" not in texts(closed)
    assert {("a", "translator"), ("b", "translator"), ("words", "body")} < set(arrows(closed))
    opened = plot_model(nested(), None, show_layer_names=True, expand_nested=True)
    assert {"translator (Model)", "body (Sequential)", "encoder (LSTM)", "inner (LSTM)"} < set(texts(opened))
    assert {("encoder", "decoder"), ("inner", "last"), ("translator", "source"), ("body", "inner")} < set(
        arrows(opened)
    )
    assert ("a", "translator") in arrows(opened, heads_only=False)
    frames = [p for p in opened.axes[0].patches if isinstance(p, FancyBboxPatch) and not p.get_gid()]
    inside = [{"source", "encoder", "decoder", "target_words"}, {"inner", "last"}]
    for frame, names in zip(sorted(frames, key=lambda f: -f.get_height()), inside, strict=True):
        x0, y0, x1, y1 = corners(frame)
        within = {n for n, b in boxes(opened).items() if x0 <= b.get_x() <= x1 and y0 <= b.get_y() <= y1}
        assert names <= within and not {"a", "b", "words", "cat", "linear"} & within


def test_of_a_subclassed_model_the_layers_are_listed():
    figure = plot_model(own(), None)
    said = texts(figure)
    assert said == ["own (Own)", "subclassed: its code says what calls what", "Embedding", "GRU", "Linear"]
    assert arrows(figure) == []


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
@pytest.mark.parametrize("make", MODELS)
def test_nothing_overlaps_and_nothing_is_cut(make, rankdir):
    figure = plot_model(make(), None, rankdir=rankdir, expand_nested=True, **EVERYTHING)
    figure.draw_without_rendering()
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    found = [corners(box) for box in boxes(figure).values()]
    assert all(left < x0 and x1 < right and top < y0 and y1 < bottom for x0, y0, x1, y1 in found)
    for a, b in itertools.combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    inverse = figure.axes[0].transData.inverted()
    for text in figure.axes[0].texts:
        box = text.get_window_extent().transformed(inverse)
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        owners = [each for each in found if each[0] <= x <= each[2] and each[1] <= y <= each[3]]
        for x0, y0, x1, y1 in owners:
            assert (
                x0 <= box.x0 and box.x1 <= x1 and y0 - 0.02 <= min(box.y0, box.y1) and max(box.y0, box.y1) <= y1 + 0.02
            )


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
@pytest.mark.parametrize("make", [chain, translator, twins, skips])
def test_arrows_lead_from_the_edge_of_a_box_to_the_edge_of_another_and_through_none(make, rankdir):
    figure = plot_model(make(), None, rankdir=rankdir)
    patches = figure.axes[0].patches
    found = [(p.get_gid(), corners(p)) for p in patches if isinstance(p, FancyBboxPatch)]  # torch functions share names
    for patch in patches:
        if not isinstance(patch, FancyArrowPatch):
            continue
        path = patch._path_original.to_polygons(closed_only=False)[0]
        source, target = patch.get_gid().split("->")
        (begin,) = (box for name, box in found if name == source and on_edge(path[0], box))
        (end,) = (box for name, box in found if name == target and on_edge(path[-1], box))
        for x, y in path[1:-1]:
            assert not any(x0 + 0.01 < x < x1 - 0.01 and y0 + 0.01 < y < y1 - 0.01 for _, (x0, y0, x1, y1) in found)
        axis = 0 if rankdir in ("LR", "RL") else 1
        assert begin[axis] < end[axis] if rankdir in ("TB", "LR") else begin[axis] > end[axis]


def on_edge(point, box, slack=0.01) -> bool:
    (x, y), (x0, y0, x1, y1) = point, box
    inside = x0 - slack <= x <= x1 + slack and y0 - slack <= y <= y1 + slack
    return inside and min(abs(x - x0), abs(x - x1), abs(y - y0), abs(y - y1)) <= slack


@pytest.mark.parametrize("seed", range(30))
def test_any_boxes_are_arranged_without_overlap_and_downwards(seed):
    draw = random.Random(seed)
    count = draw.randint(1, 25)
    sizes = [(draw.uniform(0.2, 3), draw.uniform(0.1, 1)) for _ in range(count)]
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b and draw.random() < 1.5 / count]
    placed = arrange(sizes, [Edge(a, b) for a, b in pairs])
    rectangles = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(placed.middles, sizes, strict=True)
    ]
    for a, b in itertools.combinations(rectangles, 2):
        assert a[2] <= b[0] + 1e-9 or b[2] <= a[0] + 1e-9 or a[3] <= b[1] + 1e-9 or b[3] <= a[1] + 1e-9
    width, height = placed.size
    assert all(
        x0 >= -1e-9 and x1 <= width + 1e-9 and y0 >= -1e-9 and y1 <= height + 1e-9 for x0, y0, x1, y1 in rectangles
    )
    for (tail, head), route in zip(pairs, placed.routes, strict=True):
        assert on_edge(route[0], rectangles[tail]) and on_edge(route[-1], rectangles[head])
        heights = [y for _, y in route]
        assert heights == sorted(heights, reverse=tail > head)


def test_two_ways_side_by_side_do_not_cross():
    """a to d and b to c, where d stands left of c as they are numbered."""
    placed = arrange([(1.0, 0.5)] * 4, [Edge(0, 3), Edge(1, 2)])
    a, b, c, d = (x for x, _ in placed.middles)
    assert (a < b) == (d < c)


def test_the_file_is_a_png_of_the_figure(tmp_path: Path):
    before = matplotlib.pyplot.get_fignums()
    path = tmp_path / "model.png"
    figure = plot_model(twins(), path, dpi=120)
    data = path.read_bytes()
    assert data.startswith(SIGNATURE)
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == tuple(int(side * 120) for side in figure.get_size_inches())
    assert matplotlib.pyplot.get_fignums() == before and [item.name for item in tmp_path.iterdir()] == ["model.png"]


@pytest.mark.parametrize(("name", "begins"), [("m", SIGNATURE), ("m.svg", b"<?xml"), ("m.PDF", b"%PDF")])
def test_the_ending_says_the_format(tmp_path: Path, name, begins):
    plot_model(chain(), str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_the_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ostinato.utils.plot_model(chain(), dpi=50)
    assert (tmp_path / "model.png").read_bytes().startswith(SIGNATURE)
    assert ostinato.utils.plot_model is ostinato.plots.plot_model


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: plot_model(torch.nn.Linear(2, 2)), TypeError, "expected a Model or a Sequential, got Linear"),
        (lambda: plot_model(layers.Dense(2)), TypeError, "got Dense"),
        (lambda: plot_model(Sequential([layers.Dense(2)], name="raw")), ValueError, "'raw' is not built"),
        (lambda: plot_model(Own(name="raw")), ValueError, "'raw' is not built"),
        (lambda: plot_model(chain(), rankdir="TD"), ValueError, "rankdir must be one of 'TB'.*'TD'"),
        (lambda: plot_model(chain(), "m.pgn"), ValueError, r"'.pgn'. Did you mean 'png'"),
        (lambda: plot_model(chain(), "m.png", dpi=20_000), ValueError, r"pass dpi=\d+ or less"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, error, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=match):
        call()
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ostinato\[plots\]'"):
        plot_model(chain(), None)
