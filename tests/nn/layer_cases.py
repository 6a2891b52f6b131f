"""Layers with an input: what the tests of layers and of minidl.compile go through."""
import pytest


def pairs(*cases):
    """(layers' name, arguments, keyword arguments, input shape)"""
    return [pytest.param(*c, id=f"{c[0]}-{i}") for i, c in enumerate(cases)]


LAYERS = pairs(
    ("Linear", (5, 3), {}, (4, 5)), ("Linear", (5, 3), {"bias": False}, (2, 4, 5)), ("Linear", (5, 3), {}, (5,)),
    ("Conv2d", (3, 6, 3), {}, (2, 3, 8, 7)), ("Conv2d", (4, 6, (3, 2)), {"groups": 2, "bias": False}, (2, 4, 8, 7)),
    ("Conv2d", (3, 5, 3, 2, 1), {"dilation": (1, 2)}, (2, 3, 9, 9)), ("Conv2d", (3, 5, 3), {"padding": "same"}, (2, 3, 6, 5)),
    ("Conv2d", (3, 5, (4, 2)), {"padding": "same", "dilation": (1, 3)}, (2, 3, 6, 7)),
    ("Conv2d", (3, 5, 3), {"padding": "valid"}, (3, 6, 5)),
    ("MaxPool2d", (2,), {}, (2, 3, 7, 8)), ("MaxPool2d", (3, 2, 1), {"ceil_mode": True}, (2, 3, 8, 8)),
    ("MaxPool2d", ((2, 3), 1), {"dilation": 2}, (3, 9, 9)),
    ("AvgPool2d", (2,), {}, (2, 3, 7, 8)), ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, (3, 7, 7)),
    ("AdaptiveAvgPool2d", ((3, 2),), {}, (2, 3, 7, 8)), ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 7, 8)),
    ("AdaptiveAvgPool2d", ((None, 5),), {}, (3, 7, 8)),
    ("Flatten", (), {}, (2, 3, 4, 5)), ("Flatten", (0, 1), {}, (2, 3, 4)), ("Unflatten", (1, (2, 3)), {}, (4, 6)),
    ("Unflatten", (-1, (2, -1)), {}, (4, 6)), ("Identity", (), {}, (3,)),
    ("ReLU", (), {}, (3, 4)), ("ReLU", (True,), {}, (3, 4)), ("ReLU6", (), {}, (30,)), ("LeakyReLU", (0.2,), {}, (3, 4)),
    ("ELU", (0.7,), {}, (3, 4)), ("Hardtanh", (-0.5, 0.3), {}, (3, 4)), ("Sigmoid", (), {}, (3, 4)), ("Tanh", (), {}, (3, 4)),
    ("SiLU", (), {}, (3, 4)), ("GELU", (), {}, (3, 4)), ("GELU", ("tanh",), {}, (3, 4)), ("Softplus", (), {}, (3, 4)),
    ("Softplus", (2.0, 0.5), {}, (3, 4)), ("Softmax", (1,), {}, (3, 4)), ("LogSoftmax", (0,), {}, (3, 4)),
    ("Dropout", (0.0,), {}, (3, 4)), ("BatchNorm1d", (3,), {}, (5, 3)), ("BatchNorm1d", (3,), {"momentum": 0.3}, (5, 3, 2)),
    ("BatchNorm2d", (3,), {"eps": 1e-3}, (2, 3, 4, 4)), ("BatchNorm2d", (3,), {"momentum": None}, (2, 3, 4, 4)),
    ("BatchNorm2d", (3,), {"bias": False}, (2, 3, 4, 4)), ("BatchNorm2d", (3,), {"affine": False}, (2, 3, 4, 4)),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, (2, 3, 4, 4)),
    ("LayerNorm", (7,), {}, (3, 2, 7)), ("LayerNorm", ((4, 7),), {"eps": 1e-3, "bias": False}, (3, 4, 7)),
    ("LayerNorm", (40,), {"elementwise_affine": False}, (5, 40)), ("RMSNorm", (7,), {}, (3, 2, 7)),
    ("RMSNorm", ((4, 7),), {"eps": 1e-3}, (3, 4, 7)), ("RMSNorm", (40,), {"elementwise_affine": False}, (5, 40)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4, 5)), ("GroupNorm", (3, 6), {"eps": 1e-3, "bias": False}, (3, 6, 7)),
    ("GroupNorm", (2, 40), {"affine": False}, (5, 40)), ("InstanceNorm1d", (3,), {}, (2, 3, 9)),
    ("InstanceNorm1d", (3,), {"affine": True}, (3, 9)), ("InstanceNorm2d", (3,), {"affine": True}, (2, 3, 4, 5)),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, (2, 3, 4, 5)),
    ("InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": 0.3}, (3, 4, 5)),
)
