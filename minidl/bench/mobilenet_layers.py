"""MobileNetV2 as a list of layers, for the libraries in which a network is a function of named weights."""
from collections.abc import Iterator

from minidl.zoo.mobilenet import STAGES


def layers_of_blocks(w: dict) -> Iterator[list[tuple[str, str, int, bool]]]:
    """Of each block its convolutions: the convolution's name, its norm's, the stride, and whether a ReLU6 follows.

    A block whose result has the shape of what it was given adds that.
    """
    yield [("features.0.0", "features.0.1", 2, True)]
    strides = [stride if i == 0 else 1 for _, _, count, stride in STAGES for i in range(count)]
    for i, stride in enumerate(strides, 1):
        block = f"features.{i}.conv"
        widens = int(f"{block}.3.weight" in w)  # a 1x1 convolution comes before the depthwise one
        first = [(f"{block}.0.0", f"{block}.0.1", 1, True)] * widens
        yield [*first, (f"{block}.{widens}.0", f"{block}.{widens}.1", stride, True),
               (f"{block}.{widens + 1}", f"{block}.{widens + 2}", 1, False)]
    last = f"features.{len(strides) + 1}"
    yield [(f"{last}.0", f"{last}.1", 1, True)]
