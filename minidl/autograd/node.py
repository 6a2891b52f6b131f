"""What the tape writes down of one call. Compiled, a node is a C struct, declared in node.pxd."""
from itertools import count

from .tensor import defaults

sequence = count(1)


class Node:
    """One recorded call.

    name; rule(node, gradients of the outputs) -> gradients of the inputs. edges: for each input None or what `Tensor._edge`
    says. sequence: an operation's inputs have lower numbers. n_outputs. saved: what the rule needs, None once it is freed.
    versions: (counter, count) of the memory that must not change until then. hooks: {output index: [hook, ...]} or None.
    trace: where the call was made, under detect_anomaly.
    """

    def __init__(self, name, rule, edges, n_outputs=1):
        self.name, self.rule, self.edges, self.n_outputs = name, rule, edges, n_outputs
        self.sequence = next(sequence)
        self.saved = self.versions = ()

    def __repr__(self):
        return f"<tape {self.sequence}: {self.name}>"


defaults(Node, hooks=None, trace=None)
