"""How the language models end: a linear layer makes logits of channels, and its loss."""
from ..nn import functional as F


def logits_and_loss(head, x, targets=None, need_logits=True):
    """x (B, T, C), targets (B, T) or None -> logits (B, T, V), None if not needed, and their mean cross entropy or None."""
    if targets is None:
        return head(x), None
    if not need_logits:
        rows = x.reshape(-1, x.shape[-1])
        return None, F.linear_cross_entropy(rows, head.weight, targets.reshape(-1), linear_bias=head.bias)
    logits = head(x)
    return logits, F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
