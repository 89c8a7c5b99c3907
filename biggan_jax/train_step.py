"""One training step: `num_d_steps` discriminator updates, one generator update, the moving average (Brock et al. 2018,
Appendix C).

Pure functions of arrays. They are written for one device and the whole batch; under `jit` on a mesh XLA divides the
work, so that BatchNorm statistics and gradients are those of the global batch. Micro-batches and discriminator steps
are Python loops: they are few, and the gradient of a convolution inside `lax.scan` is some thirty times slower on
CPU.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
import optax

from biggan_jax.devices import sharding
from biggan_jax.gans import averages as ema, latents
from biggan_jax.gan import GAN
from biggan_jax.train_state import GANState, NetState


def jit_train_step(gan: GAN, mesh: Mesh):
    """`train_step` of `gan` for arrays on `mesh`, to be called or lowered within `jax.set_mesh(mesh)`.

    The state is donated: its buffers become those of the new one.
    """
    replicated = NamedSharding(mesh, sharding.REPLICATED)
    return jax.jit(functools.partial(train_step, gan), donate_argnums=0, out_shardings=replicated)


def train_step(
    gan: GAN, state: GANState, images: jax.Array, labels: jax.Array
) -> tuple[GANState, dict[str, jax.Array]]:
    """The state after one step, and its metrics (float32 scalars); `finite` is 1 where all others are finite, else 0.

    `images` uint8 [num_d_steps * accumulation_steps, B, H, W, 3] and `labels` int32 [num_d_steps *
    accumulation_steps, B], B being the micro-batch; every real image is used once. Latents and fake labels are drawn
    afresh for every micro-batch of every update.
    """
    d_key, g_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    g, d = state.g, state.d
    for i in range(gan.num_d_steps):
        micro_batches = slice(i * gan.accumulation_steps, (i + 1) * gan.accumulation_steps)
        g, d, d_metrics = d_update(
            gan, g, d, images[micro_batches], labels[micro_batches], jax.random.fold_in(d_key, i)
        )
    g, d, g_metrics = g_update(gan, g, d, images.shape[1], g_key)
    step = state.step + 1
    average = ema.update(state.ema, g.variables, step, gan.ema_decay, gan.ema_start)
    metrics = d_metrics | g_metrics
    finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
    return state.replace(step=step, g=g, d=d, ema=average), metrics | {"finite": finite.astype(jnp.float32)}


def d_update(
    gan: GAN, g: NetState, d: NetState, images, labels, key
) -> tuple[NetState, NetState, dict[str, jax.Array]]:
    """One discriminator update on micro-batches `images` [accumulation_steps, B, H, W, 3] of real images against as
    many fakes.
    """
    gradients, metrics = [], []
    for i in range(gan.accumulation_steps):
        flip_key, latent_key = jax.random.split(jax.random.fold_in(key, i))
        z, fake_labels = sample_latents(gan, latent_key, images.shape[1])
        fake, g = apply_train(gan.generator, g, z, fake_labels)
        real = to_float(images[i])
        if gan.flip:
            real = random_flip(flip_key, real)

        def loss_fn(params, d=d, real=real, fake=jax.lax.stop_gradient(fake), i=i, fake_labels=fake_labels):
            logits, new_d = apply_train(
                gan.discriminator, d.replace(params=params), interleave(real, fake), interleave(labels[i], fake_labels)
            )
            real_logits, fake_logits = logits.reshape(-1, 2).T  # a strided slice would gather them
            loss = gan.loss.d(real_logits, fake_logits)
            return loss, (
                new_d.stats,
                {"loss/d": loss, "logits/real": real_logits.mean(), "logits/fake": fake_logits.mean()},
            )

        gradient, (stats, metric) = jax.grad(loss_fn, has_aux=True)(d.params)
        d = d.replace(stats=stats)
        gradients.append(gradient)
        metrics.append(metric)
    gradient = mean(gradients)
    d = apply_gradient(gan.d_optimizer, d, gradient)
    return g, d, mean(metrics) | {"grad_norm/d": optax.tree.norm(gradient)}


def g_update(
    gan: GAN, g: NetState, d: NetState, batch_size: int, key
) -> tuple[NetState, NetState, dict[str, jax.Array]]:
    """One generator update on `accumulation_steps` micro-batches of `batch_size` fakes. The discriminator's singular
    vectors move on too.
    """
    gradients, metrics = [], []
    for i in range(gan.accumulation_steps):
        z, labels = sample_latents(gan, jax.random.fold_in(key, i), batch_size)

        def loss_fn(params, g=g, d=d, z=z, labels=labels):
            fake, new_g = apply_train(gan.generator, g.replace(params=params), z, labels)
            logits, new_d = apply_train(gan.discriminator, d, fake, labels)
            loss = gan.loss.g(logits)
            return loss, (new_g.stats, new_d.stats, {"loss/g": loss})

        gradient, (g_stats, d_stats, metric) = jax.grad(loss_fn, has_aux=True)(g.params)
        g, d = g.replace(stats=g_stats), d.replace(stats=d_stats)
        gradients.append(gradient)
        metrics.append(metric)
    gradient, metric = mean(gradients), mean(metrics)
    if gan.g_regularizer is not None:
        # A function of the weights alone: once per update, not once per micro-batch.
        penalty, penalty_gradient = jax.value_and_grad(gan.g_regularizer)(g.params)
        gradient = jax.tree.map(jnp.add, gradient, penalty_gradient)
        metric["loss/g_regularizer"] = penalty
    g = apply_gradient(gan.g_optimizer, g, gradient)
    return g, d, metric | {"grad_norm/g": optax.tree.norm(gradient)}


def apply_train(net, state: NetState, *inputs) -> tuple[jax.Array, NetState]:
    """The net's output in training mode, and its state with the statistics this pass left."""
    output, stats = net.apply(state.variables, *inputs, train=True, mutable=list(state.stats))
    return output, state.replace(stats={**state.stats, **stats})


def apply_gradient(optimizer, net: NetState, gradient) -> NetState:
    updates, opt_state = optimizer.update(gradient, net.opt_state, net.params)
    return net.replace(params=optax.apply_updates(net.params, updates), opt_state=opt_state)


def interleave(a: jax.Array, b: jax.Array) -> jax.Array:
    """One batch of two: a[0], b[0], a[1], b[1], ... Every pair stays on its device; a concatenation along the sharded
    axis would move half of the images to another.
    """
    return jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:])


def sample_latents(gan: GAN, key, batch_size: int):
    return latents.sample_batch(key, batch_size, gan.generator.z_dim, gan.generator.num_classes)


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image [N, H, W, 3] left to right with probability one half."""
    mirror = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(mirror, images[:, :, ::-1], images)


def mean(trees: list):
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trees)
