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


generator, discriminator = s.mlp((2, 32, 2), s.Tanh()), s.mlp((2, 32, 32, 1), s.LeakyReLU(0.2))
G = s.State.start(s.initial_parameters(generator, rng), adam)
D = s.State.start(s.initial_parameters(discriminator, rng), adam)
G_grads, D_grads = G.params.gradients(), D.params.gradients()

for step in range(STEPS):
    lr = adam.lr * decay(step)
    # The discriminator learns to tell real points from made ones.
    made, G_caches = generator.apply(G.params, rng.standard_normal((BATCH, 2)))
    points = np.concatenate([rng.normal(MEAN, DEVIATION, (BATCH, 2)), made])
    logits, D_caches = discriminator.apply(D.params, points)
    _, dlogits = loss(logits, np.concatenate([real, fake]))
    discriminator.backward(dlogits, D_caches, *D_grads.arrays, need_dx=False)
    D.step(adam, D_grads, lr)
    # The generator learns to have its points taken for real ones.
    logits, D_caches = discriminator.apply(D.params, made)
    _, dlogits = loss(logits, real)
    dmade = discriminator.backward(dlogits, D_caches, *D_grads.arrays)  # D_grads are overwritten in the next step
    generator.backward(dmade, G_caches, *G_grads.arrays, need_dx=False)
    G.step(adam, G_grads, lr)

made, _ = generator.apply(G.params, rng.standard_normal((10_000, 2)))
print("target:    mean {:5.2f} {:5.2f}, deviation {:.2f} {:.2f}".format(*MEAN, *DEVIATION))
print("generated: mean {:5.2f} {:5.2f}, deviation {:.2f} {:.2f}".format(*made.mean(axis=0), *made.std(axis=0)))
