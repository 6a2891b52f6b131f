"""Residual networks: K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016.

Letters: N images, C channels, H x W pixels.
"""
from .. import nn
from ..nn import functional as F


def conv(in_channels, out_channels, kernel_size, stride=1):
    """A convolution that keeps the size, or divides it by the stride; a batch norm after it has the bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)


class BasicBlock(nn.Module):
    """relu(x + two 3x3 convolutions of x). Shapes: (N, C_in, H, W) -> (N, channels, H / stride, W / stride)."""

    expansion = 1

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """relu(x + convolutions 1x1, 3x3, 1x1 of x), the middle one on a quarter of the channels and with the stride.

    Shapes: (N, C_in, H, W) -> (N, 4 channels, H / stride, W / stride).
    """

    expansion = 4

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, 4 * channels, 1)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = shortcut(in_channels, 4 * channels, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def shortcut(in_channels, out_channels, stride):
    """What brings x to the shape of a block's result; None where it has it already."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class ResNet(nn.Module):
    """Four stages of residual blocks, the later ones with half the pixels and twice the channels.

    block: BasicBlock or Bottleneck; layers: how many of them in each stage. small_images: for 32x32 images, a first
    convolution of 3x3 and stride 1 without pooling (section 4.2 of the paper), instead of 7x7, stride 2 and pooling.
    Shapes: (N, 3, H, W) -> logits (N, num_classes).
    """

    def __init__(self, block, layers, num_classes=1000, small_images=False):
        super().__init__()
        self.small_images = small_images
        self.conv1 = conv(3, 64, 3) if small_images else conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.channels = 64
        self.layer1 = self.stage(block, 64, layers[0], 1)
        self.layer2 = self.stage(block, 128, layers[1], 2)
        self.layer3 = self.stage(block, 256, layers[2], 2)
        self.layer4 = self.stage(block, 512, layers[3], 2)
        self.fc = nn.Linear(self.channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stage(self, block, channels, count, stride):
        blocks = []
        for i in range(count):
            blocks.append(block(self.channels, channels, stride if i == 0 else 1))
            self.channels = channels * block.expansion
        return nn.Sequential(*blocks)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))                # (N, 64, H / 2, W / 2)
        if not self.small_images:
            x = F.max_pool2d(x, 3, 2, 1)                   # (N, 64, H / 4, W / 4)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))                     # the mean over all pixels


def resnet18(num_classes=1000, small_images=False):
    """18 layers with weights, 11.7 million parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, small_images)


def resnet34(num_classes=1000, small_images=False):
    """34 layers with weights, 21.8 million parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, small_images)


def resnet50(num_classes=1000, small_images=False):
    """50 layers with weights, 25.6 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, small_images)
