"""What the tape writes down of one call. Compiled, a node is a C struct, declared in node.pxd."""
from itertools import count

from .tensor import Cell, Fields, defaults

sequence = count(1)


class Node:
    """One recorded call.

    name; rule(node, gradients of the outputs) -> gradients of the inputs. edges: for each input None or its Edge. sequence: an
    operation's inputs have lower numbers. n_outputs. saved: the arguments that the rule needs, None once they are freed; out:
    the output's array, if it needs that; noted: what else it needs. cells: the counters of memory that must not change until
    then, beside that of tensors in `saved`; changes: what all of these counted to when the call was made. hooks: {output
    index: [hook, ...]} or None. trace: where the call was made, under detect_anomaly.
    """

    def __init__(self, name, rule, edges, n_outputs=1):
        self.name, self.rule, self.edges, self.n_outputs = name, rule, edges, n_outputs
        self.sequence = next(sequence)
        self.saved = self.cells = ()

    def count_changes(self):
        """How often the memory that backward needs was changed in place. It only grows, so the sum tells of any change."""
        changes = 0
        for kept in self.cells:
            cell: Cell = kept
            changes += cell.changes
        for kept in self.saved:
            if isinstance(kept, Fields):
                tensor: Fields = kept
                changes += tensor._cell.changes
        return changes

    def __repr__(self):
        return f"<tape {self.sequence}: {self.name}>"


defaults(Node, out=None, noted=None, changes=0, hooks=None, trace=None)
