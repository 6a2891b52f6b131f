"""minidl: a loop written by hand over `minidl.nn` and `minidl.optim`, or the Keras face."""

import numpy as np

import minidl
from benchmarks.peers import network
from minidl import nn, optim
from minidl.nn import functional as F


class Peer:
    modes = ("train", "predict")
    epsilon_hat = False

    def __new__(cls, variant: str, threads: int):
        return super().__new__(KerasFace if variant == "keras" else HandWritten)

    def __init__(self, variant: str, threads: int):
        minidl.set_num_threads(threads)
        self.versions = {"minidl": minidl.__version__, "numpy": np.__version__}


class HandWritten(Peer):
    def load(self, weights, images, labels):
        self.model = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        names = list(self.model.state_dict())
        self.model.load_state_dict(
            {name: minidl.tensor(w) for name, w in zip(names, network.channels_first(weights), strict=True)}
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=network.LEARNING_RATE, eps=network.EPSILON)
        self.classifier = nn.Sequential(self.model, nn.Softmax(-1))
        self.prepared = None
        self.images = [minidl.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2))) for x in images]
        self.labels = [minidl.tensor(y) for y in labels]

    def train(self, step):
        x, y = self.images[step % len(self.images)], self.labels[step % len(self.labels)]
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.prepared = None
        return loss.detach()

    def predict(self, step):
        x = self.images[step % len(self.images)]
        if self.prepared is None:
            self.prepared = minidl.compile(self.classifier, x)
        return self.prepared(x)

    def numpy(self, result):
        return result.numpy()


class KerasFace(Peer):
    def load(self, weights, images, labels):
        from minidl import layers, models

        self.model = models.Sequential([
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=network.IMAGE),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ])  # fmt: skip
        self.model.set_weights(weights)
        # Its default Adam has Keras's epsilon, 1e-7.
        self.model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        self.images, self.labels = list(images), list(labels)

    def train(self, step):
        return self.model.train_on_batch(self.images[step % len(self.images)], self.labels[step % len(self.labels)])

    def predict(self, step):
        return self.model.predict_on_batch(self.images[step % len(self.images)])

    def numpy(self, result):
        return np.asarray(result)
