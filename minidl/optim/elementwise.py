"""What optimizers share that are written in array operations, one parameter at a time."""
from .optimizer import Optimizer, zeros_like


class Elementwise(Optimizer):
    """The base of optimizers that change one parameter after the other.

    A subclass says in `states(group)` which arrays of the parameter's shape it keeps, and in `apply(p, g, state, group)`, with
    p the parameter and g its gradient, how p and the state change. state["step"] counts from 1.
    Options: "weight_decay" adds that share of p to g, or, with "decoupled_weight_decay", takes lr times it off p itself;
    "maximize" turns the gradient round.
    """

    def states(self, group):
        """The names of the arrays of a parameter's state. To be written by the subclass."""
        raise NotImplementedError(f"{type(self).__name__}: an optimizer must define states(group)")

    def begin(self, state, group):
        """Sets the first values of a state other than 0."""

    def update(self, params, grads, group):
        for p, g in zip(params, grads):
            if not self.state[p]:
                self.state[p] = {"step": 0, **{name: zeros_like(p) for name in self.states(group)}}
                self.begin(self.state[p], group)
            state = self.state[p]
            state["step"] = int(state["step"]) + 1
            if group.get("maximize"):
                g = -g
            if group.get("decoupled_weight_decay"):
                p *= 1 - group["lr"] * group["weight_decay"]
            elif group.get("weight_decay"):
                g = g + group["weight_decay"] * p
            self.apply(p, g, state, group)
