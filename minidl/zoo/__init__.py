"""Networks from the literature, made of `minidl.nn`. Each file is one architecture and reads from top to bottom.

The classes of images use only names that PyTorch has too, so the same file runs there with its imports changed; parameters
have the names and layouts of torchvision's models, so that their weights load here.
"""
from .cnn import SmallCNN
from .gpt import GPT
from .llama import Llama
from .mobilenet import MobileNetV2
from .resnet import ResNet, resnet18, resnet34, resnet50
from .rnn import CharLSTM

__all__ = ["GPT", "CharLSTM", "Llama", "MobileNetV2", "ResNet", "SmallCNN", "resnet18", "resnet34", "resnet50"]
