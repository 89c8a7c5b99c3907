"""The shared part of all commands: reads a config with its overrides, turns errors into one line and an exit code."""

import contextlib
import importlib.util
import os
import sys
import traceback

from absl import flags, logging
from ml_collections import config_flags

from biggan_jax import config as configs
from biggan_jax.errors import BigGANError, DataError, StorageError, UsageError


def run(main) -> None:
    """Calls `main(arguments)` and exits with its code; a BigGANError becomes one line on stderr and its own code. So
    does a file that the system will not open, read or write, code 3, whoever asked for it. Output that nobody reads
    ends nothing.
    """
    sys.unraisablehook = _without_late_reads
    logging.set_verbosity(logging.FATAL)  # Orbax logs hundreds of lines of what it raises as well
    with contextlib.redirect_stdout(_Output(sys.stdout)), contextlib.redirect_stderr(_Output(sys.stderr)):
        code = _run(main)
        sys.stdout.flush()
    sys.exit(code)


def _run(main) -> int:
    try:
        return main(sys.argv[1:]) or 0
    except BigGANError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        if isinstance(error, StorageError):
            sys.stderr.flush()
            os._exit(error.exit_code)  # threads of Orbax would wait ten minutes for a save that cannot end
        return error.exit_code
    except OSError as error:
        if not error.filename:  # not a file's fault
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return DataError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


class _Output:
    """Standard output or error. When its reader leaves, as `head` does, or where it is closed, what is written goes
    nowhere; what its encoding lacks is written as an escape.
    """

    def __init__(self, stream):
        self._stream = stream or open(os.devnull, "w")
        self._stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        with self._to_nobody():
            self._stream.write(text)
        return len(text)

    def flush(self):
        with self._to_nobody():
            self._stream.flush()

    @contextlib.contextmanager
    def _to_nobody(self):
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def _without_late_reads(unraisable) -> None:
    """Orbax reads arrays side by side; when one cannot be read, the others report to an event loop that is gone. The
    first error says it all.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def add_config_argument(parser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:key=value,...]", help="an experiment, see experiments/"
    )
    parser.epilog = "Any key of the config can be changed: --config.batch_size=64 --config.model.channels=32"


def parse(parser, arguments, complete=lambda config: None):
    """`(options, config)`: the parser's options, and the validated config of `--config` with its `--config.key=value`
    overrides. `complete(config)` sets what the config leaves open, before it is validated.
    """
    options, rest = parser.parse_known_args(arguments)
    for argument in rest:
        if not argument.startswith("--config."):
            parser.error(f"unrecognized argument {argument}")
    config = override(load_config(options.config), rest)
    complete(config)
    configs.validate(config)
    return options, config


def load_config(spec: str):
    """The config of `FILE.py` or `FILE.py:variant`. Raises UsageError when there is none."""
    module, variant = load_module("config", spec)
    if not hasattr(module, "get_config"):
        raise UsageError(f"--config={spec}: that file has no get_config")
    return call("config", spec, module.get_config, variant)


def load_paper(spec: str) -> dict:
    """The published figures of the experiment `FILE.py` or `FILE.py:variant`, by name; none where it has none."""
    module, variant = load_module("config", spec)
    return call("config", spec, module.get_paper, variant) if hasattr(module, "get_paper") else {}


def load_module(option: str, spec: str):
    """`(module, variant)` of `FILE.py` or `FILE.py:variant`, the value of --`option`. Raises UsageError."""
    path, _, variant = spec.partition(".py:")
    path = path if path.endswith(".py") else path + ".py"
    if not os.path.isfile(path):
        raise UsageError(f"--{option}={spec}: there is no file {path}")
    module_spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(module_spec)
    call(option, spec, module_spec.loader.exec_module, module)
    return module, variant


def call(option: str, spec: str, function, *arguments):
    """`function(*arguments)`, of a user's file: what it raises becomes a UsageError that names the place in it."""
    try:
        return function(*arguments)
    except BigGANError:
        raise
    except Exception as error:
        found = error if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1]
        where = f"{found.filename}, line {found.lineno}"
        raise UsageError(f"--{option}={spec}: {where}: {type(error).__name__}: {error}") from error


def override(config, arguments):
    """`config` with `--config.key=value` arguments; another recipe, nets or data set bring their own keys first.

    Raises UsageError for unknown keys and wrong types.
    """
    given = dict(argument.removeprefix("--config.").partition("=")[::2] for argument in arguments)
    config = configs.choose(config, given)
    for name in given:
        configs.require_key(config, name)
    values = flags.FlagValues()
    command_line = ["biggan_jax", *arguments]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=command_line)
        values(command_line)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        message = error.args[0] if error.args else error  # str(KeyError) would quote the message
        raise UsageError(f"{' '.join(arguments)}: {message}") from error
    return config
