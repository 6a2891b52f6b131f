"""A small convolutional network for images of 28 x 28 pixels: the one in the README, and the tutorials of other libraries."""
from .. import nn


class SmallCNN(nn.Sequential):
    """Three convolutions and two linear layers, 93,322 parameters. Shapes: (N, 1, 28, 28) -> logits (N, num_classes)."""

    def __init__(self, num_classes=10):
        super().__init__(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),     # (N, 32, 13, 13)
            nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),    # (N, 64, 5, 5)
            nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),       # (N, 64 * 3 * 3)
            nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, num_classes))
