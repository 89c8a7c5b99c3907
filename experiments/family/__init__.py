"""BigGAN's relatives: each file has `get_config(variant="")`, by default small enough for minutes on two CPU cores."""
