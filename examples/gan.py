"""A generative adversarial network that learns a Gaussian in the plane (Goodfellow et al., 2014).

The generator turns noise into points; the discriminator says which points are real. The generator has no loss of its
own: ``discriminator.backward`` returns ∂L/∂(its input), and ``generator.backward`` goes on from there.
"""

import numpy as np

import scratch as s

STEPS, BATCH, MEAN, DEVIATION = 2000, 256, np.array([2.0, -1.0]), np.array([0.5, 1.5])
rng = np.random.default_rng(0)
adam, decay, loss = s.Adam(0.003, betas=(0.5, 0.99)), s.LinearDecay(STEPS), s.BCEWithLogits()
real, fake = np.ones((BATCH, 1)), np.zeros((BATCH, 1))


def start(network):
    """A network's parameters, a place for their gradients, and the optimizer's state."""
    params = s.initial_parameters(network, rng)
    return params, params.gradients(), adam.slots(params.trained)


generator, discriminator = s.mlp((2, 32, 2), s.Tanh()), s.mlp((2, 32, 32, 1), s.LeakyReLU(0.2))
G, G_grads, G_slots = start(generator)
D, D_grads, D_slots = start(discriminator)

for step in range(STEPS):
    lr = adam.lr * decay(step)
    # The discriminator learns to tell real points from made ones.
    made, G_caches = generator.apply(G, rng.standard_normal((BATCH, 2)))
    points = np.concatenate([rng.normal(MEAN, DEVIATION, (BATCH, 2)), made])
    logits, D_caches = discriminator.apply(D, points)
    _, dlogits = loss(logits, np.concatenate([real, fake]))
    discriminator.backward(dlogits, D_caches, *D_grads.arrays, need_dx=False)
    adam.update(D.trained, D_grads.vector, D_slots, lr, step + 1)
    # The generator learns to have its points taken for real ones.
    logits, D_caches = discriminator.apply(D, made)
    _, dlogits = loss(logits, real)
    dmade = discriminator.backward(dlogits, D_caches, *D_grads.arrays)  # D_grads are overwritten in the next step
    generator.backward(dmade, G_caches, *G_grads.arrays, need_dx=False)
    adam.update(G.trained, G_grads.vector, G_slots, lr, step + 1)

made, _ = generator.apply(G, rng.standard_normal((10_000, 2)))
print("target:    mean {:5.2f} {:5.2f}, deviation {:.2f} {:.2f}".format(*MEAN, *DEVIATION))
print("generated: mean {:5.2f} {:5.2f}, deviation {:.2f} {:.2f}".format(*made.mean(axis=0), *made.std(axis=0)))
