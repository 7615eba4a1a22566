"""The Lightning twin with a Trainer of your own: its weights are those that scratch learns by hand."""

import lightning as L
import numpy as np
from sklearn.datasets import load_digits

import scratch as s
from torch_impl import parameters_of
from torch_impl.lit import LitTwin, loader

x, y = load_digits(return_X_y=True)
x = x / 16
network = s.mlp((64, 32, 10), s.GELU(), dropout=0.1)
recipe = s.Recipe(loss=s.CrossEntropy(), optimizer=s.AdamW(0.01), epochs=3, batch_size=128, max_norm=1.0)
params = s.initial_parameters(network, np.random.default_rng(0))

module = LitTwin(network, recipe, params)
trainer = L.Trainer(
    max_epochs=recipe.epochs,
    gradient_clip_val=recipe.max_norm,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, loader(recipe, x, y))

state = s.State.start(params, recipe)
losses = [record.loss for record in s.fit(network, recipe, x, y, state)]
theirs = parameters_of(module.twin)
print(f"loss of the last step: {losses[-1]:.4f} by hand, {trainer.callback_metrics['train_loss']:.4f} in Lightning")
print(f"largest difference of a weight: {np.abs(state.params.vector - theirs.vector).max():.0e}")
