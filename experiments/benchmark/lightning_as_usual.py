"""A contender of the benchmark: Lightning as tutorials have it, with single samples, a DataLoader and many logs."""

from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import scratch
from experiments.benchmark.cases import Work
from torch_impl import twin

IMAGE = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


def train(work: Work) -> np.ndarray:
    """A data set of single samples, transforms, a DataLoader, a log at every step."""
    module = Classifier(work)
    kind = work.case.device.partition(":")[0]
    where: Any = {"accelerator": kind, "devices": 1, "default_root_dir": work.folder}
    trainer = L.Trainer(max_epochs=work.recipe.epochs, callbacks=[Turns(work)], **where)
    trainer.fit(module, DataLoader(Samples(work), batch_size=work.case.batch_size, shuffle=True))
    x = torch.from_numpy(work.test_x)
    if work.case.sizes[0] == 784:  # as the transforms make them
        low, high = work.x.min(), work.x.max()
        x = (x - low) / (high - low) * 2 - 1
    with torch.no_grad():
        return scratch.predicted_classes(module.cpu().net(x).numpy())


class Samples(Dataset[Any]):
    """MNIST as torchvision gives it (its pixels bytes, its transforms per sample); rows of an array otherwise."""

    def __init__(self, work: Work) -> None:
        self.images = None
        if work.case.sizes[0] == 784:
            low, high = work.x.min(), work.x.max()
            pixels = ((work.x - low) / (high - low) * 255).astype(np.uint8).reshape(-1, 28, 28)
            self.images = [Image.fromarray(a) for a in pixels]
        self.x, self.y = torch.from_numpy(work.x), torch.from_numpy(work.y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return (self.x[i] if self.images is None else IMAGE(self.images[i])), self.y[i]


class Classifier(L.LightningModule):
    """The network, its loss and its optimizer."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), *twin(work.network, work.initial))
        self.binary = work.binary

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        x, y = batch
        logits = self.net(x)
        loss = F.binary_cross_entropy_with_logits(logits, y) if self.binary else F.cross_entropy(logits, y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Turns(L.Callback):
    """Trains a turn when it is told to."""

    def __init__(self, work: Work) -> None:
        self.turns, self.epochs = work.turns, work.case.epochs

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if trainer.current_epoch % self.epochs == 0:
            next(self.turns)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        next(self.turns, None)
