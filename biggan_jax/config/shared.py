"""Keys that every config has."""

from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, Check, Key, at_least, optional

LOGGERS = ("tensorboard", "wandb")

KEYS = {
    "seed": Key(0, Check(lambda n: 0 <= n < 2**31, "0 or more and less than 2**31"),
                "of the weights, the latents and the order of the data"),
    "init_from": Key("", ANYTHING, "a run or converted weights to start from: DIR or DIR@STEP"),
    "num_steps": Key(150_000, at_least(1), "generator updates", may_change=True),  # with constant rates
    "batch_size": Key(2048, at_least(1), "images per discriminator update, over all devices"),
    "accumulation_steps": Key(1, at_least(1), "micro-batches a batch is cut into; BatchNorm sees one at a time"),
    "num_classes": Key(1000, optional(at_least(0)), "0: unconditional; None: those that the data have", or_none=int),
    "dataset": Key("tfds:imagenet2012", ANYTHING,
                   "digits | shapes | image_folder | arrays | idx | hdf5 | prepared | tfds:NAME | points | "
                   "points_file"),
    "gan.name": Key("biggan", ANYTHING, "the recipe: one of config.gans.TABLES"),
    "model.name": Key("biggan", ANYTHING, "the nets: one of config.models.TABLES"),
    "optimizer.name": Key("adam", ANYTHING, "of all nets: one of config.optimizers.TABLES"),
}  # fmt: skip

# What a run does besides its steps. It may go on with other values of all of these.
RUN = {
    "evaluate_every": Key(0, at_least(0), "steps between scores in WORKDIR/eval, the last is scored too; 0: never"),
    "evaluate_samples": Key(10_000, at_least(20), "images generated for each"),
    "log_every": Key(100, at_least(1), "steps between records in metrics.jsonl"),
    "loggers": Key("tensorboard", Check(lambda names: not names or set(names.split(",")) <= set(LOGGERS),
                   f"empty or some of {','.join(LOGGERS)}"), "that are told the records and pictures too; wandb: in "
                   "WORKDIR/wandb, offline"),
    "compilation_cache": Key("auto", ANYTHING, "folder of compiled programs, with which a second start begins sooner; "
                             "auto: xla in data.cache_dir, or in WORKDIR on gs://; empty: none"),
    "progress_seconds": Key(10.0, POSITIVE, "between lines that say how far a run is, where there is no terminal"),
    "sample_every": Key(1000, at_least(0), "steps between sample grids; 0: only at the end"),
    "checkpoint_every": Key(1000, at_least(1), "steps"),
    "keep_checkpoints": Key(3, at_least(1), "newest checkpoints to keep"),
    "keep_every": Key(10_000, at_least(0), "checkpoints at multiples of this are kept for good; 0: none"),
    "monitor_every": Key(1000, at_least(0), "steps between looks at all singular values, what D tells apart and the "
                         "variety of samples; 0: never"),
    "monitor_split": Key("", ANYTHING, 'held-out split, such as "test", from which D is not to tell what it trains on'),
    # A run has diverged beyond one of these, as if it were not finite; 0: never.
    "divergence.max_loss": Key(1e6, FINITE, "of any loss, without its sign"),
    "divergence.max_grad_norm": Key(1e8, FINITE, "of the gradient of any net"),
    "divergence.max_weight": Key(1e5, FINITE, "of any weight, without its sign"),
    # A run ends with code 4 beyond one of these; 0: never.
    "collapse.max_sigma": Key(0.0, FINITE, "of sigma/g_first, the top singular value of G's first layer"),
    # 0.5: D's outputs tell nothing apart, 1: all. At 20 looks each at short runs on digits, monitor_split=test:
    #   digits.py, 1500 steps, healthy         samples 0.56 to 0.93, held_out 0.47 to 0.58
    #   family/wgan_gp.py, 800, healthy        samples 0.71 to 0.97, held_out 0.47 to 0.57
    #   family/gan.py, 3000, variety 0.9 then  samples 0.92 to 1.00, held_out 0.47 to 0.53
    #   family/gan.py:loss=saturating, 2000    samples 1.00 always, held_out 0.48 to 0.51: D has won, G stands still
    #   "100 digits, none" of effects_data.py, 1000    held_out 0.9 from step 600 on, 0.96 at the end: D has memorized
    "collapse.max_d_auc": Key(0.0, FINITE, "of d_auc/samples, how well D tells what it trains on from samples"),
    "collapse.max_d_auc_held_out": Key(0.0, FINITE, "of d_auc/held_out, from held-out images: the paper's sign"),
    "collapse.min_variety": Key(0.0, FINITE, "of samples, relative to real images"),
    "collapse.max_fid_ratio": Key(0.0, FINITE, "of FID (of points, of EM) over the run's least, with evaluate_every"),
    "max_rollbacks": Key(3, at_least(0), "times a run goes back to its newest checkpoint, with other randomness, "
                         "when it diverges"),
    "max_restarts": Key(10, at_least(0), "starts in a row without a new checkpoint after which a run refuses to "
                        "start; 0: no limit"),
    "standing_stats_batches": Key(100, at_least(0), "batches averaged into BatchNorm's sampling statistics (Brock et "
                                  "al. 2018, Appendix C); 0: the running ones"),
    "standing_stats_batch_size": Key(64, at_least(1), "images in each"),
    "recognition": Key(False, ANYTHING, "finish with an independent classifier's count of recognised samples (up to "
                       "32 pixels)"),
}  # fmt: skip
KEYS |= {f"run.{name}": key._replace(may_change=True) for name, key in RUN.items()}
