"""How a model predicts and is evaluated: by a plan of minidl.compile where the weights rest, else layer by layer."""
import numpy as np

from ..plan import Compiled
from ..train import Trainer

WORTH_IT = 8  # batches in one call for which a plan is prepared at once


class Predictor:
    """The outputs of a module for arrays. Its plan is prepared at the second call with the same weights, or for many batches.

    A change of the weights is noticed, so a loop that trains and predicts in turn prepares nothing in vain.
    """

    def __init__(self, module):
        self.module = module
        self._compiled, self._seen = None, []

    def __call__(self, inputs, batch_size):
        """A NumPy array, or a list of them for several outputs, for arrays of as many samples."""
        count = len(inputs[0])
        starts = range(0, max(count, 1), batch_size)
        compiled = self.plan(len(starts))
        if compiled is None:
            trainer = Trainer(self.module)
            if len(inputs) == 1:
                return trainer.predict(inputs[0], min(batch_size, max(count, 1)))
            return trainer.predict([[x[i:i + batch_size] for x in inputs]] for i in starts)
        if len(starts) == 1:
            outputs = compiled(*inputs)
            return outputs if isinstance(outputs, np.ndarray) else list(outputs)
        outputs = [compiled(*[x[i:i + batch_size] for x in inputs]) for i in starts]
        if isinstance(outputs[0], np.ndarray):
            return np.concatenate(outputs)
        return [np.concatenate(parts) for parts in zip(*outputs)]

    def plan(self, batches):
        """The compiled module where it is worth it for so many batches, with the weights of this moment; else None."""
        for tensor, array, changes in self._seen:
            if tensor.array is not array or tensor._cell.changes != changes:
                break
        else:
            if self._seen and self._compiled is None:
                self._compiled = Compiled(self.module)
            if self._compiled is not None:
                return self._compiled
        tensors = [*self.module.parameters(), *self.module.buffers()]
        self._seen = [(x, x.array, x._cell.changes) for x in tensors]
        self._compiled = Compiled(self.module) if batches >= WORTH_IT else None
        return self._compiled

    def __reduce__(self):  # a copy prepares its own plans
        return Predictor, (self.module,)
