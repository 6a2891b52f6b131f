"""MobileNetV2: M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.

Letters: N images, C channels, H x W pixels.
"""
from .. import nn

# expansion t, channels c, blocks n, stride s of the first: table 2 of the paper
STAGES = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)


def conv_norm(in_channels, out_channels, kernel_size, stride=1, groups=1):
    """A convolution without bias and its batch norm."""
    return [nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels)]


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, depthwise 3x3, 1x1 down to few without activation; plus x where shapes agree.

    Shapes: (N, C_in, H, W) -> (N, channels, H / stride, W / stride).
    """

    def __init__(self, in_channels, channels, stride, expansion):
        super().__init__()
        self.residual = stride == 1 and in_channels == channels
        wide = in_channels * expansion
        up = [nn.Sequential(*conv_norm(in_channels, wide, 1), nn.ReLU6())] if expansion != 1 else []
        depthwise = nn.Sequential(*conv_norm(wide, wide, 3, stride, wide), nn.ReLU6())
        self.conv = nn.Sequential(*up, depthwise, *conv_norm(wide, channels, 1))

    def forward(self, x):
        y = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """3.5 million parameters, most of its arithmetic in 1x1 convolutions. Shapes: (N, 3, H, W) -> logits (N, num_classes).

    dropout: of the features before the last layer, in training.
    """

    def __init__(self, num_classes=1000, dropout=0.2):
        super().__init__()
        features = [nn.Sequential(*conv_norm(3, 32, 3, 2), nn.ReLU6())]
        channels = 32
        for expansion, out_channels, count, stride in STAGES:
            for i in range(count):
                features.append(InvertedResidual(channels, out_channels, stride if i == 0 else 1, expansion))
                channels = out_channels
        features.append(nn.Sequential(*conv_norm(channels, 1280, 1), nn.ReLU6()))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        x = self.features(x)                               # (N, 1280, H / 32, W / 32)
        return self.classifier(x.mean((2, 3)))
