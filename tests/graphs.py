"""What a compiler makes of a call."""


class Seen:
    """A backend of `torch.compile` that runs each graph as it is, and keeps it."""

    def __init__(self):
        self.graphs = []

    def __call__(self, module, example_inputs):
        self.graphs.append(module)
        return module.forward

    @property
    def operators(self):
        """The names of our operators in the graphs, in order."""
        return [name for graph in self.graphs for name in operators_in(graph.graph)]


def operators_in(graph):
    """The names of our operators in a graph, in order."""
    targets = [str(node.target) for node in graph.nodes]
    return [target.split(".")[1] for target in targets if target.startswith("ostinato.")]
