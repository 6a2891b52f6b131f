"""Layers that give images (and sequences and volumes) borders, other sizes and other orders of their parts."""
from .. import ops
from ..ops.image import pad_sides
from .module import Module


class Padding(Module):
    """The base of the layers of borders. padding: one width for all sides, or (left, right, top, bottom, front, back)."""

    def __init__(self, padding):
        super().__init__()
        padding = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * self.axes)
        if len(padding) != 2 * self.axes or not all(isinstance(p, int) for p in padding):
            raise ValueError(f"{type(self).__name__}: padding={padding}: a whole number, or {2 * self.axes} of them, expected")
        self.padding = padding

    def forward(self, input):
        return pad_sides(input, self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class ConstantPadding(Padding):
    """The base of ConstantPad1d, 2d and 3d: a border of one value."""

    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return pad_sides(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


def _layers(name, base, mode, what):
    """A border's layers for sequences, images and volumes."""
    return [type(f"{name}{n}d", (base,), {"axes": n, "mode": mode, "__module__": __name__,
                                          "__doc__": f"{what} around {things}."})
            for n, things in ((1, "a sequence"), (2, "an image"), (3, "a volume"))]


ConstantPad1d, ConstantPad2d, ConstantPad3d = _layers("ConstantPad", ConstantPadding, "constant", "One value")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _layers("ZeroPad", Padding, "constant", "Zeros")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _layers("ReflectionPad", Padding, "reflect", "The mirror's picture")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _layers("ReplicationPad", Padding, "replicate", "The outermost values")
CircularPad1d, CircularPad2d, CircularPad3d = _layers("CircularPad", Padding, "circular", "The values of the other side")


class Upsample(Module):
    """Its input at another size; the options as in functional.interpolate. Shapes: (N, C, ...), one to three sizes."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        if isinstance(scale_factor, (tuple, list)):
            scale_factor = tuple(float(f) for f in scale_factor)
        elif scale_factor is not None:
            scale_factor = float(scale_factor)
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input):
        return ops.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self):
        to = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{to}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """An image at another size, each pixel that of its nearest."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """An image at another size by bilinear interpolation, its corners kept."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """Channels as pixels: (..., C r r, H, W) -> (..., C, H r, W r)."""

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input):
        return ops.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Pixels as channels: (..., C, H r, W r) -> (..., C r r, H, W)."""

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input):
        return ops.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """The channels in the order first of each group, second of each group, and so on. Shape: (N, C, ...), kept."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        return ops.channel_shuffle(input, self.groups)

    def extra_repr(self):
        return f"groups={self.groups}"


class Unfold(Module):
    """The patches under a window that moves over images. Shape: (N, C, H, W) -> (N, C kh kw, windows), or without N."""

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input):
        return ops.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Unfold):
    """The sum of patches, each added where Unfold would have read it. Shape: (N, C kh kw, windows) -> (N, C, *output_size)."""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input):
        return ops.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"output_size={self.output_size}, {super().extra_repr()}"
