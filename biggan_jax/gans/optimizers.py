"""Adam and learning-rate schedules from config values."""

import optax


def schedule(rate: float, kind: str, warmup_steps: int, num_steps: int, updates_per_step: int = 1):
    """Learning rate as a function of the number of updates, of which a training step makes `updates_per_step`.

    A linear warm-up is followed by `kind`.
    """
    decay_steps = max(num_steps - warmup_steps, 1)
    after = {
        "constant": optax.constant_schedule(rate),
        "linear": optax.linear_schedule(rate, 0.0, decay_steps),
        "cosine": optax.cosine_decay_schedule(rate, decay_steps),
    }[kind]
    by_step = (
        optax.join_schedules([optax.linear_schedule(0.0, rate, warmup_steps), after], [warmup_steps])
        if warmup_steps
        else after
    )
    return lambda updates: by_step(updates // updates_per_step)


def adam(rate, beta1: float, beta2: float, eps: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015). With beta1 = 0, BigGAN's setting, the first moment is the gradient and is not stored."""
    if beta1 == 0.0:
        second_moment = optax.scale_by_rms(decay=beta2, eps=eps, eps_in_sqrt=False, bias_correction=True)
        return optax.chain(second_moment, optax.scale_by_learning_rate(rate))
    return optax.adam(rate, b1=beta1, b2=beta2, eps=eps)
